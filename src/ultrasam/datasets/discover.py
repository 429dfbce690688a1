"""Find the data sets in the folders that a user names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ultrasam.datasets.archives import is_archive
from ultrasam.datasets.catalogue import catalogue, dataset, recognize
from ultrasam.datasets.description import DatasetSpec
from ultrasam.errors import DataError

_DEPTH = 4


def find_datasets(
    raw: Sequence[str], *, only: Sequence[str] = ()
) -> list[tuple[DatasetSpec, Path]]:
    """Identify data sets by ``NAME=FOLDER``, or by the names of folders and archives.

    A folder may contain several data sets, up to four levels down.

    Args:
        raw: folders to search, or ``NAME=FOLDER`` pairs.
        only: ids or names of the data sets to keep; if empty, all are kept.

    Returns:
        Each data set with its folder, sorted by id.

    Raises:
        DataError: A folder does not exist, contains no known data set, or two folders contain the same one.
    """
    selected = {dataset(name).info.id for name in only}
    locations: dict[str, tuple[DatasetSpec, Path]] = {}
    for text in raw:
        for spec, path in _resolve(text, selected):
            if selected and spec.info.id not in selected:
                continue
            other = locations.get(spec.info.id, (spec, path))[1]
            if other.resolve() != path.resolve():
                raise DataError(
                    f"{spec.info.name} is in both {other} and {path}; choose one with "
                    f"{spec.info.id}=FOLDER."
                )
            locations[spec.info.id] = (spec, path)
    missing = selected - set(locations)
    if missing and locations:
        raise DataError(
            f"{', '.join(sorted(missing))} not found in {', '.join(raw)}; give the folder with "
            f"{min(missing)}=FOLDER."
        )
    if not locations:
        raise DataError(
            f"No known data set in {', '.join(raw)}. Rename the folder to an id from "
            "'ultrasam data list', or use NAME=FOLDER, for example busi=downloads/breast."
        )
    return [locations[key] for key in sorted(locations)]


def _resolve(text: str, selected: set[str]) -> Iterator[tuple[DatasetSpec, Path]]:
    name, equals, folder = text.partition("=")
    if equals and not Path(text).exists():
        path = Path(folder).expanduser()
        _require(path)
        yield dataset(name), path
        return
    path = Path(text).expanduser()
    _require(path)
    matches = list(_search(path, _DEPTH))
    if not matches and len(selected) == 1:
        # The only data set selected is the one in this folder, whatever the folder's name.
        yield catalogue()[next(iter(selected))], path
        return
    yield from matches


def _require(path: Path) -> None:
    if not path.exists():
        raise DataError(f"{path} does not exist; give the folder that contains the data.")


def _search(path: Path, depth: int) -> Iterator[tuple[DatasetSpec, Path]]:
    """Match the folder's own name, else search its contents."""
    known = recognize(path)
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
