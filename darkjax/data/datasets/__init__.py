"""The datasets as people have them on disk: a file for each family, and the tables they share."""
