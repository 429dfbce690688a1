"""What a server says of the network that it runs, and how much its embeddings take."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ultrasam.runtimes.backend import Backend


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What runs.

    Attributes:
        name: as it was given.
        weights: SHA-256, or None if it is not known.
        runtime: such as ``torch``.
    """

    name: str
    weights: str | None
    runtime: str

    @property
    def title(self) -> str:
        """The name with the beginning of the hash, as provenance states it."""
        return self.name if self.weights is None else f"{self.name} {self.weights[:12]}"


def runtime_of(backend: Backend) -> str:
    """What a network runs in, such as ``torch``."""
    return type(backend).__name__.removesuffix("Backend").lower()


def precision_of(backend: Backend) -> str:
    """The number format of the image encoder, as far as a backend says it."""
    model = getattr(backend, "model", None)
    if model is not None:
        return str(next(model.image_encoder.parameters()).dtype).removeprefix("torch.")
    return str(getattr(backend, "precision", None) or "float32")


def weights_hash_of(backend: Backend) -> str | None:
    """SHA-256 of a network's weights, or of an exported folder's graphs; None if there are neither."""
    model = getattr(backend, "model", None)
    if model is not None:
        from ultrasam.weights.hashing import weights_hash

        return weights_hash(model)
    exported = getattr(backend, "exported", None)
    if exported is None:
        return None
    files = [
        entry["sha256"] for graph in exported.content["graphs"].values() for entry in graph["files"]
    ]
    return hashlib.sha256("".join(sorted(files)).encode()).hexdigest()


def size_of(embeddings: Sequence[Any]) -> int:
    """About how many bytes embeddings take with what their first click adds."""
    total = 0
    for embedding in embeddings:
        image = getattr(embedding, "image", None)
        if image is not None:
            parts = (image.image, *image.high_res)
            total += 4 * sum(part.numel() for part in parts) + 40 * 4 * image.image[0].numel() // 4
        else:
            total += sum(values.nbytes for values in embedding.values())
    return total
