"""Python clients of our servers, without PyTorch: `Client` of the annotator, `RemoteSegmenter` of any."""

from __future__ import annotations

from ultrasam.client.annotator import Client
from ultrasam.client.connection import ConflictError
from ultrasam.client.remote import RemoteSegmenter, open_server

__all__ = ["Client", "ConflictError", "RemoteSegmenter", "open_server"]
