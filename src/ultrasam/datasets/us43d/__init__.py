"""One module per data set, each with one `DATASET`: its facts, layout and labels."""
