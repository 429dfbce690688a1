"""Metrics of an inference server, as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ultrasam._version import __version__
from ultrasam.extras import needs

with needs("The server", extra="serve"):
    from prometheus_client import (
        CollectorRegistry,
        Counter,
        Gauge,
        Histogram,
        Info,
        PlatformCollector,
        ProcessCollector,
        generate_latest,
    )

if TYPE_CHECKING:
    from ultrasam.serve.served_model import ServedModel

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """One server's; nothing in them tells images or clients apart."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "ultrasam_requests", "Requests that were answered.", ("route", "method", "status"),
            registry=registry,
        )  # fmt: skip
        self.request_seconds = Histogram(
            "ultrasam_request_seconds", "From a request's head to the end of its answer.", ("route",),
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.queue_seconds = self._seconds("queue", "Waiting for the model.")
        self.encode_seconds = self._seconds("encode", "The image encoder, per frame.")
        self.decode_seconds = self._seconds("decode", "From prompts to masks, per request.")
        self.batch_images = Histogram(
            "ultrasam_batch_images", "Images that were encoded at once.", buckets=(1, 2, 4, 8, 16),
            registry=registry,
        )  # fmt: skip
        self.embeddings = Counter(
            "ultrasam_embeddings", "Where embeddings came from.", ("source",), registry=registry
        )
        self.dropped = Counter(
            "ultrasam_dropped", "Encodings that nobody waited for any more.", registry=registry
        )
        self._model = Info("ultrasam_model", "What runs.", registry=registry)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)

    def gauge(self, name: str, about: str, value: Callable[[], float]) -> None:
        """Add a figure that is looked up when it is asked for."""
        Gauge(f"ultrasam_{name}", about, registry=self.registry).set_function(value)

    def model_is(self, model: ServedModel) -> None:
        """Say what runs."""
        self._model.info(
            {
                "name": model.info.name, "weights": model.info.weights or "", "version": __version__,
                "runtime": model.info.runtime, "precision": model.precision,
            }
        )  # fmt: skip

    def text(self) -> bytes:
        """All of them, in Prometheus' text format."""
        return generate_latest(self.registry)

    def _seconds(self, name: str, about: str) -> Histogram:
        return Histogram(
            f"ultrasam_{name}_seconds", about, buckets=_SECONDS, registry=self.registry
        )
