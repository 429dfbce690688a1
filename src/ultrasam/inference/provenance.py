"""What made the masks of a run: the model and its weights."""

from __future__ import annotations

from typing import Any

from ultrasam.images.writing.segmentation import Provenance, now
from ultrasam.weights.hashing import weights_hash


def provenance_of(model: str, loaded: Any, *, created: str | None = None) -> Provenance:
    """What makes masks: the model's name, and the hash of its weights if it has some.

    Args:
        model: its name or path, as it was given.
        loaded: the model, its backend, or a predictor.
        created: the time that results state, ISO 8601; by default now.
    """
    network = getattr(getattr(loaded, "backend", loaded), "model", loaded)
    weights = weights_hash(network) if hasattr(network, "state_dict") else None
    return Provenance(model, weights, created=created or now())
