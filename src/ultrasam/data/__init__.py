"""Raw data sets, phantoms, and training samples."""
