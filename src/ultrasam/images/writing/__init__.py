"""Masks and pictures out."""
