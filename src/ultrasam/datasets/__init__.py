"""The US-43d catalogue, and readers for its data sets and for custom ones."""
