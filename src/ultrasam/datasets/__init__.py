"""What US-43d is, and how its files and one's own are read."""
