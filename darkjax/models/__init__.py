"""Flax modules, one family a file."""
