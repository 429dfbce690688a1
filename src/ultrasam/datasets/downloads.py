"""Download data sets that need no account, and explain how to get the others."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from ultrasam.datasets.archives import is_archive, unpack
from ultrasam.datasets.beyond import rows
from ultrasam.datasets.description import UNKNOWN, DatasetInfo
from ultrasam.download import ChecksumError, check_reachable, download
from ultrasam.errors import DataError, one_line

_LISTINGS = {
    "zenodo": "https://zenodo.org/api/records/{}",
    "mendeley": "https://data.mendeley.com/public-api/datasets/{}/files?folder_id=root&version={}",
    "github": "https://github.com/{}/archive/HEAD.zip",
}


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file to download.

    Attributes:
        name: file name.
        url: download URL.
        size: in bytes; None if the host does not list it.
        checksum: ``algorithm:hex``; None if the host does not list it.
    """

    name: str
    url: str
    size: int | None = None
    checksum: str | None = None


def fetch(info: DatasetInfo, folder: Path, *, keep_archives: bool = False) -> list[Path]:
    """Download and unpack a data set into ``folder/<id>``, skipping files that are already there.

    Args:
        info: the data set.
        folder: parent of the data set's folder.
        keep_archives: keep the archives after unpacking.

    Returns:
        The files and folders in the data set's folder.

    Raises:
        DataError: The data set needs an account, the host is unreachable, or a checksum differs.
    """
    if info.download is None:
        raise DataError(f"{info.name} cannot be downloaded automatically: {how_to_get(info)}")
    target = folder / info.id
    try:
        files = list_files(info)
    except DataError:
        raise
    except Exception as error:
        raise DataError(_failed(info, error)) from error
    for remote in files:
        done = target / f".{remote.name}.done"
        path = _inside(target, remote.name)
        if done.exists() or (path.exists() and not is_archive(path.name)):
            continue
        try:
            if not path.exists():
                download(remote.url, path, size=remote.size, checksum=remote.checksum)
        except ChecksumError as error:
            raise DataError(
                f"Checksum mismatch for {remote.name} of {info.name} ({error}). Try again; a proxy may "
                "have altered the download."
            ) from error
        except Exception as error:
            raise DataError(_failed(info, error)) from error
        if is_archive(path.name):
            unpack(path, target)
            done.touch()
            if not keep_archives:
                path.unlink()
    return sorted(p for p in target.iterdir() if not p.name.startswith("."))


def list_files(info: DatasetInfo) -> list[RemoteFile]:
    """Query the host for the files of a data set.

    Raises:
        DataError: The response of the host has an unknown format.
        OSError: The host is unreachable or refuses the request.
    """
    assert info.download is not None
    host, record = info.download.host, info.download.record
    if host == "direct":
        return [RemoteFile(record.rsplit("/", 1)[-1], record)]
    if host == "github":
        name = record.split("/")[1]
        return [RemoteFile(f"{name}.zip", _LISTINGS["github"].format(record))]
    url = _LISTINGS[host].format(*record.split("/"))
    answer = _ask(url)
    try:
        if host == "zenodo":
            return [
                RemoteFile(
                    str(f["key"]), str(f["links"]["self"]), int(f["size"]), f.get("checksum")
                )
                for f in answer["files"]
            ]
        return [
            RemoteFile(
                str(f["filename"]),
                str(f["content_details"]["download_url"]),
                int(f["size"]),
                f"sha256:{f['content_details']['sha256_hash']}",
            )
            for f in answer
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"Unexpected response from {url}; download {info.name} manually from {info.url}."
        ) from error


def how_to_get(info: DatasetInfo) -> str:
    """Instructions for obtaining a data set."""
    if info.download is not None:
        return f"run: ultrasam data fetch {info.id} -o DIR"
    if info.url == UNKNOWN:
        step = "where it is published is not known; ask its authors"
    else:
        step = {
            "open": f"download it from {info.url}",
            "registration": f"register at {info.url}, accept the terms, and download it there",
            "request": f"request it from the authors (see {info.url})",
            "agreement": f"sign the agreement of the authors (see {info.url})",
            "kaggle": f"log in to Kaggle, accept the terms at {info.url}, and download it there",
            UNKNOWN: f"see {info.url}",
        }[info.access]
    if info.id in rows():
        return f"{step}."  # no reader would find it by the name of its folder
    return f"{step}; put it in a folder named {info.id} (archives need not be unpacked)."


def _ask(url: str) -> Any:
    check_reachable(url)
    request = Request(url, headers={"Accept": "application/json", "User-Agent": "ultrasam"})
    with urlopen(request, timeout=60) as answer:
        return json.load(answer)


def _inside(folder: Path, name: str) -> Path:
    plain = Path(name.replace("\\", "/")).name
    if not plain or plain.startswith("."):
        raise DataError(f"The host lists the unsafe file name '{name}'; nothing was downloaded.")
    return folder / plain


def _failed(info: DatasetInfo, error: Exception) -> str:
    return (
        f"Cannot download {info.name} ({one_line(error)}). Check the network and try again (the "
        f"download resumes), or download it manually from {info.url}."
    )
