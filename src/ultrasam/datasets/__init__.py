"""The US-43d catalog, and readers for its data sets and for custom ones."""
