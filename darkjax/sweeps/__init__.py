"""darkjax.sweeps: many runs of a config, and the table that they fill."""
