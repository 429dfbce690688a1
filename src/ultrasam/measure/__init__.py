"""Calibrated measurements of masks: areas, axes, thickness and ellipses, in mm if the pixel spacing is."""
