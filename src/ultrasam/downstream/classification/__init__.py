"""Image classification over the image encoder."""
