"""The paper's 43 data sets: one module each, with one `DATASET`: its facts, layout and labels."""
