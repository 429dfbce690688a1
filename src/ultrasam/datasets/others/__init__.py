"""Data sets that have a reader and are not of the paper's 43: one module each, like those of `us43d`."""
