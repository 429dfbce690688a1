"""Load and save weights: model names, file formats, downloads and adapters."""
