"""Find the data sets in the folders that a user names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ultrasam.datasets.archives import is_archive
from ultrasam.datasets.beyond import no_reader
from ultrasam.datasets.catalogue import catalogue, dataset, recognize, without_reader
from ultrasam.datasets.description import DatasetSpec
from ultrasam.errors import DataError

_DEPTH = 4


def find_datasets(
    raw: Sequence[str],
    *,
    only: Sequence[str] = (),
    left_out: Callable[[str], object] = lambda _reason: None,
) -> list[tuple[DatasetSpec, Path]]:
    """Identify data sets by ``NAME=FOLDER``, or by the names of folders and archives.

    A folder may contain several data sets, up to four levels down.

    Args:
        raw: folders to search, or ``NAME=FOLDER`` pairs.
        only: ids or names of the data sets to keep; if empty, all are kept.
        left_out: called with a sentence for each folder that is named as a data set without a reader, and for
            each subfolder of ``raw`` in which no data set was found.

    Returns:
        Each data set with its folder, sorted by id.

    Raises:
        DataError: A folder does not exist, contains no known data set, or two folders contain the same one.
    """
    selected = {dataset(name).info.id for name in only}
    locations: dict[str, tuple[DatasetSpec, Path]] = {}
    unread: dict[Path, str] = {}
    found: list[Path] = []
    for text in raw:
        for spec, path in _resolve(text, selected, unread):
            if selected and spec.info.id not in selected:
                continue
            other = locations.get(spec.info.id, (spec, path))[1]
            if other.resolve() != path.resolve():
                raise DataError(
                    f"{spec.info.name} is in both {other} and {path}; choose one with "
                    f"{spec.info.id}=FOLDER."
                )
            locations[spec.info.id] = (spec, path)
            found.append(path)
    missing = selected - set(locations)
    if missing and locations:
        raise DataError(
            f"{', '.join(sorted(missing))} not found in {', '.join(raw)}; give the folder with "
            f"{min(missing)}=FOLDER."
        )
    if not locations and unread:
        path, why = next(iter(unread.items()))
        raise DataError(f"{path} cannot be read: {why}.")
    for path, why in unread.items():
        left_out(f"{path} is left out: {why}.")
    for path in [] if selected else _unknown(raw, [*found, *unread]):
        left_out(
            f"{path} is left out: no data set of the catalog has this name. If it is one, add NAME={path}; "
            "'ultrasam data import' reads images and masks of your own."
        )
    if not locations:
        raise DataError(
            f"No known data set in {', '.join(raw)}. Rename the folder to an id from "
            "'ultrasam data list', or use NAME=FOLDER, for example busi=downloads/breast."
        )
    return [locations[key] for key in sorted(locations)]


def _resolve(
    text: str, selected: set[str], unread: dict[Path, str]
) -> Iterator[tuple[DatasetSpec, Path]]:
    """The data sets that a text names; in ``unread`` goes why others are not read."""
    name, equals, folder = text.partition("=")
    if equals and not Path(text).exists():
        path = Path(folder).expanduser()
        _require(path)
        yield dataset(name), path
        return
    path = Path(text).expanduser()
    _require(path)
    matches = list(_search(path, _DEPTH, unread))
    if not matches and len(selected) == 1:
        # The only data set selected is the one in this folder, whatever the folder's name.
        yield catalogue()[next(iter(selected))], path
        return
    yield from matches


def _unknown(raw: Sequence[str], known: Sequence[Path]) -> Iterator[Path]:
    """The folders and archives directly in ``raw`` that neither are, hold nor belong to a known data set."""
    places = [path.resolve() for path in known]
    for text in raw:
        path = Path(text).expanduser()
        if not path.is_dir():
            continue
        for child in sorted(path.iterdir()):
            own = child.resolve()
            if (
                not child.name.startswith((".", "__MACOSX"))
                and (child.is_dir() or is_archive(child.name))
                and not any(own.is_relative_to(p) or p.is_relative_to(own) for p in places)
            ):
                yield child


def _require(path: Path) -> None:
    if not path.exists():
        raise DataError(f"{path} does not exist; give the folder that contains the data.")


def _search(path: Path, depth: int, unread: dict[Path, str]) -> Iterator[tuple[DatasetSpec, Path]]:
    """Match the folder's own name, else search its contents."""
    known = recognize(path)
    if known is not None:
        yield known, path
        return
    found = False
    if path.is_dir() and depth:
        for child in sorted(path.iterdir()):
            if not child.name.startswith((".", "__MACOSX")) and (
                child.is_dir() or is_archive(child.name)
            ):
                for match in _search(child, depth - 1, unread):
                    found = True
                    yield match
    info = without_reader(path)
    if info is not None and not found:
        unread[path] = no_reader(info)
