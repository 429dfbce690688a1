"""The store: build data sets into one, validate it, read it, and export it."""
