"""Instance segmentation without prompts."""
