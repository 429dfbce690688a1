"""Readers of the layouts that several data sets share."""
