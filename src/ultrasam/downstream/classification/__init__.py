"""Image classification with the image encoder."""
