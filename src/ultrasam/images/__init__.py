"""Read and write images and masks, independently of any model."""
