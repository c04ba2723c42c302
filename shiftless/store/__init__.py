"""Features on disk: a folder of one file a photo and reading, named by what made it, with an index."""
