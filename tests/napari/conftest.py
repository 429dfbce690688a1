"""The folder that is served, for the plug-in."""

from tests.annotate.serving import served

__all__ = ["served"]
