"""Interactive training by recipe."""
