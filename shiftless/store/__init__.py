"""Features on disk: a folder with one file for each photo and reading, named by a key of its origin, with an index."""
