"""One short file per data set: its layout and labels. Each has one `DATASET`."""
