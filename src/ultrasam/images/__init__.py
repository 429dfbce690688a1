"""Pixels in and out; nothing here knows a model."""
