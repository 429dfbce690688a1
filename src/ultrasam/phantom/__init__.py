"""Simulate B-mode ultrasound images with exact masks."""
