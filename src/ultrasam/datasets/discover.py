"""Which data sets lie in the folders that a person points at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ultrasam.datasets.archives import is_archive
from ultrasam.datasets.catalogue import catalogue, dataset, recognise
from ultrasam.datasets.description import RawDataset
from ultrasam.errors import DataError

_DEPTH = 4


def find_datasets(raw: Sequence[str], *, only: Sequence[str] = ()) -> list[tuple[RawDataset, Path]]:
    """The data sets in folders: NAME=FOLDER says which; else folders' and archives' names tell.

    A folder may hold one data set or many, each by itself, at most four levels down.

    Raises:
        DataError: a folder is missing, none is recognised, or one data set is found in two places.
    """
    wanted = {dataset(name).info.id for name in only}
    found: dict[str, tuple[RawDataset, Path]] = {}
    for text in raw:
        for data, path in _resolve(text, wanted):
            if wanted and data.info.id not in wanted:
                continue
            other = found.get(data.info.id, (data, path))[1]
            if other.resolve() != path.resolve():
                raise DataError(
                    f"{data.info.name} is in {other} and in {path}; say which with "
                    f"{data.info.id}=FOLDER."
                )
            found[data.info.id] = (data, path)
    missing = wanted - set(found)
    if missing and found:
        raise DataError(
            f"{', '.join(sorted(missing))} was asked for but is not in {', '.join(raw)}; say where with "
            f"{min(missing)}=FOLDER."
        )
    if not found:
        raise DataError(
            f"No data set is recognised in {', '.join(raw)}; name the folder as in ultrasam data list, "
            "or say NAME=FOLDER, for example busi=downloads/breast."
        )
    return [found[key] for key in sorted(found)]


def _resolve(text: str, wanted: set[str]) -> Iterator[tuple[RawDataset, Path]]:
    name, equals, folder = text.partition("=")
    if equals and not Path(text).exists():
        path = Path(folder).expanduser()
        _require(path)
        yield dataset(name), path
        return
    path = Path(text).expanduser()
    _require(path)
    yielded = list(_search(path, _DEPTH))
    if not yielded and len(wanted) == 1:
        # Asked for by name: the folder is taken for it, whatever it is called.
        yield catalogue()[next(iter(wanted))], path
        return
    yield from yielded


def _require(path: Path) -> None:
    if not path.exists():
        raise DataError(f"There is no {path}; give the folder where the data are unpacked.")


def _search(path: Path, depth: int) -> Iterator[tuple[RawDataset, Path]]:
    """The folder itself by its name, else what is in it."""
    known = recognise(path.resolve().name)
    if known is not None:
        yield known, path
        return
    if not path.is_dir() or not depth:
        return
    for child in sorted(path.iterdir()):
        if not child.name.startswith((".", "__MACOSX")) and (
            child.is_dir() or is_archive(child.name)
        ):
            yield from _search(child, depth - 1)
