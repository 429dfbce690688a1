"""Weights that others publish: how they get to this machine."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ultrasam.download import ChecksumError, check_reachable, download
from ultrasam.errors import CheckpointError
from ultrasam.extras import needs
from ultrasam.weights.cache import HUB_FILES, cache_path, cached_file
from ultrasam.weights.registry import Weights, known_names

with needs("Downloading weights", extra="hub"):
    from huggingface_hub import hf_hub_download
    from huggingface_hub.constants import ENDPOINT
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

# A zip archive and a bare pickle: what torch.save writes.
_TORCH_FILES = (b"PK\x03\x04", b"\x80")


def fetch(weights: Weights, *, cache: Path | None = None) -> Path:
    """The file of published weights, downloaded once: with a progress bar, resumed where it broke off,
    checked.

    Args:
        cache: a folder; by default the user's cache folder.

    Raises:
        CheckpointError: offline, refused, or the file is not the one that was published.
    """
    found = cached_file(weights, cache=cache)
    if found is not None:
        return found
    if weights.url is None:
        assert weights.repository is not None
        return fetch_hub(weights.repository)
    path = cache_path(weights, cache=cache)
    try:
        download(
            weights.url,
            path,
            size=weights.bytes,
            checksum=f"sha256:{weights.sha256}" if weights.sha256 else None,
            starts_with=_TORCH_FILES,
        )
    except ChecksumError as error:
        raise CheckpointError(
            f"The file at {weights.url} is not the one that was published: {error}. Try again; a proxy may "
            "have altered the download."
        ) from error
    except Exception as error:
        raise CheckpointError(
            f"Cannot download '{weights.name}' ({weights.description}) from {weights.url}: "
            f"{type(error).__name__}. Connect to the network and try again (it resumes), or download the "
            "file yourself and give its path."
        ) from error
    return path


def fetch_hub(repository: str, *, revision: str | None = None) -> Path:
    """The safetensors of a repository on the Hugging Face hub; of a sharded model the index, its shards
    beside it.

    Raises:
        CheckpointError: offline, or there is no such repository or file.
    """
    for name in HUB_FILES:
        with suppress(LocalEntryNotFoundError):
            return Path(hf_hub_download(repository, name, revision=revision, local_files_only=True))
    try:
        check_reachable(ENDPOINT)
        try:
            return Path(hf_hub_download(repository, HUB_FILES[0], revision=revision))
        except EntryNotFoundError:
            return _fetch_shards(repository, revision)
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"'{repository}' is neither a file, nor a known model ({', '.join(known_names())}), "
            "nor a repository on the Hugging Face hub."
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        raise CheckpointError(
            f"Cannot download '{repository}' from the Hugging Face hub: {type(error).__name__}. Connect to "
            "the network and try again, or give the path of a file."
        ) from error


def _fetch_shards(repository: str, revision: str | None) -> Path:
    import json

    index = Path(hf_hub_download(repository, HUB_FILES[1], revision=revision))
    for shard in sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())):
        hf_hub_download(repository, shard, revision=revision)
    return index
