"""Features, and fine-tuning for classification and instance segmentation."""
