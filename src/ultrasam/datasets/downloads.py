"""Data sets from where they are published, for those that need no account; words for the others."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from ultrasam.datasets.archives import is_archive, unpack
from ultrasam.datasets.description import Info, RawDataset
from ultrasam.download import ChecksumError, check_reachable, download
from ultrasam.errors import DataError

_LISTINGS = {
    "zenodo": "https://zenodo.org/api/records/{}",
    "mendeley": "https://data.mendeley.com/public-api/datasets/{}/files?folder_id=root&version={}",
    "github": "https://github.com/{}/archive/HEAD.zip",
}


@dataclass(frozen=True, slots=True)
class Remote:
    """A file to download: its name and address, and its size and checksum where the host tells them."""

    name: str
    url: str
    size: int | None = None
    checksum: str | None = None


def fetch(data: RawDataset, folder: Path, *, keep_archives: bool = False) -> list[Path]:
    """Download and unpack a data set into ``folder/<id>``; what is there already is not fetched again.

    Args:
        keep_archives: leave the archives beside what was unpacked.

    Returns:
        What lies in the data set's folder.

    Raises:
        DataError: it needs an account; there is no network; or what came is not what was published.
    """
    info = data.info
    if info.download is None:
        raise DataError(f"{info.name} cannot be downloaded by a program: {how_to_get(info)}")
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
                f"{remote.name} of {info.name} is not the file that was published ({error}); try again, "
                "and beware of proxies that rewrite downloads."
            ) from error
        except Exception as error:
            raise DataError(_failed(info, error)) from error
        if is_archive(path.name):
            unpack(path, target)
            done.touch()
            if not keep_archives:
                path.unlink()
    return sorted(p for p in target.iterdir() if not p.name.startswith("."))


def list_files(info: Info) -> list[Remote]:
    """The files of a data set, as its host lists them.

    Raises:
        DataError: the host's answer is not understood.
        OSError: there is no network, or the host refuses.
    """
    assert info.download is not None
    host, record = info.download.host, info.download.record
    if host == "direct":
        return [Remote(record.rsplit("/", 1)[-1], record)]
    if host == "github":
        name = record.split("/")[1]
        return [Remote(f"{name}.zip", _LISTINGS["github"].format(record))]
    url = _LISTINGS[host].format(*record.split("/"))
    answer = _ask(url)
    try:
        if host == "zenodo":
            return [
                Remote(str(f["key"]), str(f["links"]["self"]), int(f["size"]), f.get("checksum"))
                for f in answer["files"]
            ]
        return [
            Remote(
                str(f["filename"]),
                str(f["content_details"]["download_url"]),
                int(f["size"]),
                f"sha256:{f['content_details']['sha256_hash']}",
            )
            for f in answer
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"The list of files at {url} is not as it was; download {info.name} yourself from {info.url}."
        ) from error


def how_to_get(info: Info) -> str:
    """What a person does to have a data set."""
    ways = {
        "open": f"download it from {info.url}",
        "registration": f"register at {info.url}, accept the terms and download it there",
        "request": f"ask its authors for it, as {info.url} says",
        "kaggle": f"log in to Kaggle, accept the terms at {info.url} and download it there",
    }
    if info.download is not None:
        return f"run: ultrasam data fetch {info.id}"
    return f"{ways[info.access]}; put it, unpacked or not, into a folder called {info.id}."


def _ask(url: str) -> Any:
    check_reachable(url)
    request = Request(url, headers={"Accept": "application/json", "User-Agent": "ultrasam"})
    with urlopen(request, timeout=60) as answer:
        return json.load(answer)


def _inside(folder: Path, name: str) -> Path:
    plain = Path(name.replace("\\", "/")).name
    if not plain or plain.startswith("."):
        raise DataError(f"The host lists a file called '{name}'; it was not downloaded.")
    return folder / plain


def _failed(info: Info, error: Exception) -> str:
    return (
        f"{info.name} could not be downloaded ({type(error).__name__}); go online and try again (it "
        f"resumes), or download it yourself from {info.url}."
    )
