"""Simulated ultrasound images with exact masks."""
