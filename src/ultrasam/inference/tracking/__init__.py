"""Follow objects through the frames of a cine or the slices of a volume."""
