"""From a name to weights: one table, one way of reading a name, one `load`."""
