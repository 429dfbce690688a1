"""Weights that others publish: where they are, and how they come here."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.constants import ENDPOINT
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
from platformdirs import user_cache_path

from ultrasam.errors import CheckpointError
from ultrasam.transfer import ChecksumError, check_reachable, transfer

_META = "https://dl.fbaipublicfiles.com/segment_anything/"


@dataclass(frozen=True, slots=True)
class Published:
    """A file at a fixed address, or on the Hugging Face hub.

    Attributes:
        what: one line for people.
        url: the address, or None for a file on the hub.
        repo: the hub's repository, or None.
        size: bytes, and sha256, where known.
    """

    what: str
    url: str | None = None
    repo: str | None = None
    size: int | None = None
    sha256: str | None = None


PUBLISHED: dict[str, Published] = {
    "base": Published(
        "UltraSam ViT-B, as published with the paper",
        "https://s3.unistra.fr/camma_public/github/ultrasam/UltraSam.pth",
    ),
    "sam-base": Published(
        "SAM ViT-B (Meta)",
        _META + "sam_vit_b_01ec64.pth",
        size=375042383,
        sha256="ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    ),
    "sam-large": Published(
        "SAM ViT-L (Meta)",
        _META + "sam_vit_l_0b3195.pth",
        sha256="3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    ),
    "sam-huge": Published(
        "SAM ViT-H (Meta)",
        _META + "sam_vit_h_4b8939.pth",
        size=2564550879,
        sha256="a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
    ),
    "medsam": Published("MedSAM ViT-B", repo="wanglab/medsam-vit-base"),
}


def fetch(name: str, *, cache: Path | None = None) -> Path:
    """The file of a published model, downloaded once: with a progress bar, resumed where it broke off.

    Args:
        cache: a folder; the user's cache folder where None.

    Raises:
        CheckpointError: offline, refused, or the bytes are not those that were published.
    """
    published = PUBLISHED[name]
    if published.url is None:
        assert published.repo is not None
        return fetch_hub(published.repo)
    folder = cache or user_cache_path("ultrasam") / "weights"
    path = folder / published.url.rsplit("/", 1)[-1]
    if path.exists():
        return path
    try:
        transfer(
            published.url,
            path,
            size=published.size,
            checksum=f"sha256:{published.sha256}" if published.sha256 else None,
        )
    except ChecksumError as error:
        raise CheckpointError(
            f"What came from {published.url} is not the file that was published ({error}); "
            "try again, and beware of proxies that rewrite downloads."
        ) from error
    except Exception as error:
        raise CheckpointError(
            f"'{name}' ({published.what}) could not be downloaded from {published.url} "
            f"({type(error).__name__}); go online and try again (it resumes), or download the file "
            "yourself and give its path."
        ) from error
    return path


def fetch_hub(repo: str, *, revision: str | None = None) -> Path:
    """``model.safetensors`` of a repository on the Hugging Face hub.

    Raises:
        CheckpointError: offline, or there is no such repository or file.
    """
    name = "model.safetensors"
    with suppress(LocalEntryNotFoundError):
        return Path(hf_hub_download(repo, name, revision=revision, local_files_only=True))
    try:
        check_reachable(ENDPOINT)
        return Path(hf_hub_download(repo, name, revision=revision))
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"'{repo}' is neither a file, nor a model that is known here ({', '.join(known_names())}), "
            "nor a repository on the Hugging Face hub."
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        raise CheckpointError(
            f"'{repo}' could not be downloaded from the Hugging Face hub ({type(error).__name__}); go "
            "online and try again, or give the path of a file."
        ) from error


def known_names() -> list[str]:
    """Names that ``load`` takes."""
    return ["nano", *PUBLISHED]
