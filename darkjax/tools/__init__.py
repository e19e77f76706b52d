"""One verb a file: python -m darkjax.tools.VERB."""
