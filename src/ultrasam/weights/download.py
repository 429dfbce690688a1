"""Download published weights."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ultrasam.download import ChecksumError, check_reachable, download
from ultrasam.errors import CheckpointError, one_line
from ultrasam.extras import needs
from ultrasam.weights.cache import HUB_FILES, cache_path, cached_file
from ultrasam.weights.image_processor import PROCESSOR_FILE
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

# Signatures of torch.save's files: a zip archive or a pickle.
_TORCH_FILES = (b"PK\x03\x04", b"\x80")


def fetch(weights: Weights, *, cache: Path | None = None) -> Path:
    """Download published weights unless they are cached; resumable and verified.

    Args:
        cache: cache folder; the user's by default.

    Raises:
        CheckpointError: The download fails, or the file differs from the published one.
    """
    cached = cached_file(weights, cache=cache)
    if cached is not None:
        return cached
    if weights.url is None:
        assert weights.repository is not None
        return fetch_hub(weights.repository, model=weights.name)
    path = cache_path(weights, cache=cache)
    try:
        download(
            weights.url,
            path,
            size=weights.num_bytes,
            checksum=f"sha256:{weights.sha256}" if weights.sha256 else None,
            starts_with=_TORCH_FILES,
        )
    except ChecksumError as error:
        raise CheckpointError(
            f"The file from {weights.url} is not the published one: {error}. Try again; a proxy may have "
            "altered the download."
        ) from error
    except Exception as error:
        raise CheckpointError(
            f"Cannot download '{weights.name}' ({weights.description}) from {weights.url}: "
            f"{one_line(error)}. Check the network connection and try again (the download resumes), or "
            "download the file yourself and give its path."
        ) from error
    return path


def fetch_hub(repository: str, *, revision: str | None = None, model: str | None = None) -> Path:
    """Download the safetensors of a Hugging Face repository unless they are cached.

    Args:
        model: name of the known model that the repository holds, for messages.

    Returns:
        The file; for a sharded model its index, with the shards in the same folder.

    Raises:
        CheckpointError: The download fails, or the repository or file does not exist.
    """
    for name in HUB_FILES:
        with suppress(LocalEntryNotFoundError):
            return Path(hf_hub_download(repository, name, revision=revision, local_files_only=True))
    try:
        check_reachable(ENDPOINT)
        with suppress(EntryNotFoundError):  # read by `ultrasam.weights.image_processor`
            hf_hub_download(repository, PROCESSOR_FILE, revision=revision)
        try:
            return Path(hf_hub_download(repository, HUB_FILES[0], revision=revision))
        except EntryNotFoundError:
            return _fetch_shards(repository, revision)
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"'{repository}' is neither a file, nor a known model ({', '.join(known_names())}), nor a "
            "repository on the Hugging Face hub."
        ) from error
    except (EntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        # The local kind is raised if the network fails.
        if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            raise CheckpointError(
                f"'{repository}' on the Hugging Face hub has no {HUB_FILES[0]}; download its weights file "
                "yourself and give its path."
            ) from error
        if model is not None:
            raise CheckpointError(
                f"Cannot download '{model}' from {repository} on the Hugging Face hub: {one_line(error)}. "
                "Check the network connection and try again, or download the file yourself and give its path."
            ) from error
        raise CheckpointError(
            f"'{repository}' is neither a file nor a folder, and it cannot be downloaded from the Hugging "
            f"Face hub: {one_line(error)}. Check the network connection, or the path."
        ) from error


def _fetch_shards(repository: str, revision: str | None) -> Path:
    import json

    index = Path(hf_hub_download(repository, HUB_FILES[1], revision=revision))
    for shard in sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())):
        hf_hub_download(repository, shard, revision=revision)
    return index
