"""Find published weights that are already on this machine."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from platformdirs import user_cache_dir, user_cache_path

from ultrasam.weights.registry import Weights

HUB_FILES = ("model.safetensors", "model.safetensors.index.json")


def cache_folder(kind: str) -> Path:
    """The folder of what can be made again: ``kind`` in ``$ULTRASAM_CACHE`` or in the user's cache folder."""
    return Path(os.environ.get("ULTRASAM_CACHE") or user_cache_dir("ultrasam")) / kind


def cache_path(weights: Weights, *, cache: Path | None = None) -> Path:
    """The cache path of weights with a URL.

    Args:
        cache: cache folder; the user's by default.
    """
    assert weights.url is not None
    return (cache or user_cache_path("ultrasam") / "weights") / weights.url.rsplit("/", 1)[-1]


def cached_file(weights: Weights, *, cache: Path | None = None) -> Path | None:
    """The cached file of published weights, or None.

    Args:
        cache: cache folder; by default the user's, and that of the Hugging Face hub.
    """
    if weights.url is None:
        assert weights.repository is not None
        try:
            from huggingface_hub import hf_hub_download
            from huggingface_hub.errors import LocalEntryNotFoundError
        except ImportError:
            return None  # without huggingface_hub, nothing can have filled its cache
        with suppress(LocalEntryNotFoundError, OSError):
            return Path(hf_hub_download(weights.repository, HUB_FILES[0], local_files_only=True))
        return None
    path = cache_path(weights, cache=cache)
    return path if path.exists() else None
