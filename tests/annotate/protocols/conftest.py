"""The folder that is served, for all protocols."""

from tests.annotate.serving import predictor, served

__all__ = ["predictor", "served"]
