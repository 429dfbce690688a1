"""The network and its preprocessing; no image files, no weights files."""
