"""Readers for layouts that several data sets share."""
