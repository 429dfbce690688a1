"""The files that a command works on, how names in other files refer to them, and names for their results."""

from __future__ import annotations

import glob
import logging
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ultrasam.errors import ScanError, one_line
from ultrasam.images.mask_names import split_masks
from ultrasam.images.reading import is_dicom, scan_suffixes
from ultrasam.text import counted, name_key

logger = logging.getLogger(__name__)

# What `predict` and `track` write beside their table of results.
_RESULT = re.compile(
    r"_(mask_\d+(_small|_medium|_large)?|candidates_\d+|overlay|labels|contact)\.png$"
    r"|_overlay\.(mp4|webm|gif)$|_(seg|sr)\.dcm$|_masks(_\d+)?\.nii\.gz$",
    re.IGNORECASE,
)
_TABLES = ("predictions.json", "classes.csv")
_LISTED = 4  # names or kinds of files that a message lists


def find_inputs(names: Sequence[str]) -> list[Path]:
    """Expand files, folders (searched recursively) and globs into a list of files without duplicates.

    Of a folder, these are the files with a suffix of an image, and DICOM files of any name. What is left out
    is logged: masks (see `ultrasam.images.mask_names`), results of earlier predictions, and other files.

    Raises:
        ScanError: A name matches nothing, or a folder holds no image.
    """
    inputs: dict[Path, None] = {}
    for name in names:
        path = Path(name)
        if path.is_dir():
            inside = _images_in(path)
            if not inside:
                raise ScanError(f"The folder {path} holds no images.")
            inputs |= dict.fromkeys(inside)
        elif glob.has_magic(name) and not path.exists():
            matches = sorted(Path(p) for p in glob.glob(name, recursive=True))  # noqa: PTH207 - may be absolute
            files = [p for p in matches if p.is_file()]
            if not files:
                raise ScanError(f"No file matches {name}.")
            inputs |= dict.fromkeys(files)
        else:
            inputs[path] = None
    return _without_duplicates(inputs)


def _images_in(folder: Path) -> list[Path]:
    images, results, others = [], 0, Counter[str]()
    for path in _files_in(folder):
        if not path.is_file():
            others["broken link" if path.is_symlink() else "no file"] += 1
            continue
        if _RESULT.search(path.name) and any((path.parent / t).is_file() for t in _TABLES):
            results += 1
        elif path.name.lower().endswith(scan_suffixes()) or is_dicom(path):
            images.append(path)
        elif path.name not in _TABLES:
            others[path.suffix.lower() or "no suffix"] += 1
    images, masks = split_masks(images)
    if masks:
        example = f"{counted(len(masks), 'mask')}, such as {masks[0].relative_to(folder)}"
        logger.info("%s: left out %s; give them as files if they are images.", folder, example)
    if results:
        logger.info(
            "%s: left out %s.",
            folder,
            counted(results, "result of earlier predictions", "results of earlier predictions"),
        )
    if others and images:
        kinds = [f"{count} × {kind}" for kind, count in others.most_common(_LISTED)]
        more = len(others) - len(kinds)
        total = others.total()
        logger.info(
            "%s: left out %s (%s%s).",
            folder, "1 file that is not an image" if total == 1 else f"{total} files that are not images",
            ", ".join(kinds), f" and {more} other kinds" if more > 0 else "",
        )  # fmt: skip
    return images


def _files_in(folder: Path) -> list[Path]:
    """All files below a folder, sorted, without hidden ones; linked folders are read, each folder once."""
    files, seen = [], set[str]()

    def unreadable(error: OSError) -> None:
        logger.warning("Left out %s: %s.", error.filename, one_line(error))

    for root, folders, names in os.walk(folder, followlinks=True, onerror=unreadable):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [Path(root, name) for name in names if not name.startswith(".")]
    return sorted(files)


def _without_duplicates(paths: Iterable[Path]) -> list[Path]:
    """Each file once, by the first of its names."""
    found: dict[str, Path] = {}
    for path in paths:
        found.setdefault(os.path.abspath(path), path)  # noqa: PTH100 - keeps links as they are
    return list(found.values())


@dataclass(frozen=True, slots=True)
class Matches:
    """Which files the names in another file mean.

    Attributes:
        names: the name of each file that has one.
        ambiguous: files that cannot be told apart by the names, each with the reason.
        unused: names that mean none of the files.
    """

    names: dict[Path, str]
    ambiguous: dict[Path, str]
    unused: tuple[str, ...]


def match_names(paths: Sequence[Path], names: Iterable[str], *, folder: Path) -> Matches:
    """Find the file that each name means.

    A name is a path, or the end of one: ``a.png`` and ``x/a.png`` both may mean ``data/x/a.png``, and the
    longer one does if both are there. Case, Unicode form and slashes make no difference, unless files differ
    by them alone. If the end of several files' paths, a name means the one that it gives from the current
    folder or from ``folder``; if there is none, the files are ambiguous.

    Args:
        paths: the files.
        names: as in the other file.
        folder: of the other file.
    """
    ends = {name: _End.of(name, folder) for name in names}
    by_last: dict[str, list[Path]] = {}
    for path in paths:
        by_last.setdefault(name_key(path.name), []).append(path)
    meant: dict[Path, str] = {}
    ambiguous: dict[Path, str] = {}
    unused = []
    exact = {
        n for n, e in ends.items() if any(e.fits(p, exactly=True) for p in by_last.get(e.last, ()))
    }
    # Longer names first; of equal length, those that are some file's as they are written.
    turns = [
        (length, turn)
        for length in sorted({e.length for e in ends.values()})[::-1]
        for turn in (True, False)
    ]
    for length, exactly in turns:
        claims: dict[Path, list[str]] = {}
        for name, end in ends.items():
            if end.length != length or (name in exact) != exactly:
                continue
            found = [p for p in by_last.get(end.last, ()) if end.fits(p, exactly=exactly)]
            left = [path for path in found if path not in meant and path not in ambiguous]
            if len(left) > 1:
                left = [path for path in left if end.is_at(path)] or left
            if not left:
                unused.append(name)
            elif len(left) == 1:
                claims.setdefault(left[0], []).append(name)
            for path in left if len(left) > 1 else ():
                others = [str(other) for other in left if other != path]
                ambiguous[path] = f"'{name}' may mean {path} or {_some(others)}"
        for path, claimed in claims.items():
            if len(claimed) == 1:
                meant[path] = claimed[0]
            else:
                ambiguous[path] = f"'{claimed[0]}' and '{claimed[1]}' both mean {path}"
    for path in ambiguous:
        meant.pop(path, None)
    return Matches(meant, ambiguous, tuple(unused))


@dataclass(frozen=True, slots=True)
class _End:
    """A name in another file, as the end of paths.

    Attributes:
        texts: what paths must end with, one of these.
        whole: paths must equal it.
        places: the paths that it means from the current folder, and from the other file's.
    """

    texts: tuple[str, ...]
    whole: bool
    places: tuple[str, ...]

    @classmethod
    def of(cls, name: str, folder: Path) -> _End:
        text = _composed(name)
        places = tuple(dict.fromkeys(_absolute(Path(start, text)) for start in (".", folder)))
        whole = Path(text).is_absolute() or ".." in text.split("/")
        return cls(places if whole else ("/".join(_parts(text)),), whole, places)

    @property
    def length(self) -> int:
        return max(len(_parts(text)) for text in self.texts)

    @property
    def last(self) -> str:
        return name_key(self.texts[0]).rsplit("/", 1)[-1]

    def fits(self, path: Path, *, exactly: bool = False) -> bool:
        """Whether a path ends so; ``exactly``: in case, too."""
        place = _parts(_absolute(path))
        for text in self.texts:
            wanted = _parts(text)
            found = place if self.whole else place[-len(wanted) :]
            if found == wanted or (not exactly and _keys(found) == _keys(wanted)):
                return True
        return False

    def is_at(self, path: Path) -> bool:
        """Whether it is the path of the file from the current folder, or from the other file's."""
        return _keys(_parts(_absolute(path))) in [_keys(_parts(place)) for place in self.places]


def _some(names: Sequence[str]) -> str:
    more = len(names) - 1
    return names[0] if not more else f"{names[0]} or {more} others"


def _absolute(path: Path) -> str:
    return _composed(os.path.abspath(path))  # noqa: PTH100 - keeps links as they are


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text.replace("\\", "/"))


def _parts(text: str) -> list[str]:
    return [part for part in text.split("/") if part not in ("", ".")]


def _keys(parts: Sequence[str]) -> list[str]:
    return [name_key(part) for part in parts]


class ResultNames:
    """Names for results, each given out once; case and Unicode form do not tell names apart on all disks."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, wanted: str) -> str:
        """The wanted name, with a number appended if it is taken."""
        name, number = wanted, 1
        while name_key(name) in self._taken:
            number += 1
            name = f"{wanted}_{number}"
        self._taken.add(name_key(name))
        return name


def stem_of(path: Path) -> str:
    """A file's name without the suffix of an image format; other dots, as in a UID, are part of it."""
    name = path.name
    longest = sorted(scan_suffixes(), key=len, reverse=True)
    found = next((s for s in longest if name.lower().endswith(s) and len(name) > len(s)), "")
    return name[: len(name) - len(found)]
