"""A recipe as arrays before a camera: the posed hand and its texture."""
