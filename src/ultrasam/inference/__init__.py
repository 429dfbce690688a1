"""Segment scans with prompts."""
