"""Published weights that are on this machine already."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from platformdirs import user_cache_path

from ultrasam.weights.registry import Weights

HUB_FILES = ("model.safetensors", "model.safetensors.index.json")


def cache_path(weights: Weights, *, cache: Path | None = None) -> Path:
    """Where the file of weights with an address of their own is kept.

    Args:
        cache: a folder; by default the user's cache folder.
    """
    assert weights.url is not None
    return (cache or user_cache_path("ultrasam") / "weights") / weights.url.rsplit("/", 1)[-1]


def cached_file(weights: Weights, *, cache: Path | None = None) -> Path | None:
    """The file of published weights on this machine, or None.

    Args:
        cache: a folder; by default the user's cache folder, and the Hugging Face hub's.
    """
    if weights.url is None:
        assert weights.repository is not None
        try:
            from huggingface_hub import hf_hub_download
            from huggingface_hub.errors import LocalEntryNotFoundError
        except ImportError:
            return None  # what looks into the hub's cache is what fills it
        with suppress(LocalEntryNotFoundError, OSError):
            return Path(hf_hub_download(weights.repository, HUB_FILES[0], local_files_only=True))
        return None
    path = cache_path(weights, cache=cache)
    return path if path.exists() else None
