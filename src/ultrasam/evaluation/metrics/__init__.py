"""Segmentation metrics and their uncertainty."""
