"""The project file: what readers have labeled, in one SQLite file beside the images."""
