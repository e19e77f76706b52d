"""Weight files read without executing what they hold: `reader.read` is the way in."""
