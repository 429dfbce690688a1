"""Find the image that an annotation file means, among several of the same name.

Tools name images alike in every task (``frame_000000.png``), and state paths of other machines. What an
annotation file lists lies, in this order: where it says, relative to its own folder; in its own folder or
below; beside its folder, as in ``annotations/`` and ``images/``. An image beside an annotation file of its
own is never another one's, and where several images remain, none is taken.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from urllib.parse import unquote, urlsplit

from ultrasam.datasets.file_tree import FileEntry
from ultrasam.datasets.readers.listed_images import split_of, split_of_path
from ultrasam.text import name_key

# Folders that say what kind of files they hold, and not whose.
_OF_ANNOTATIONS = re.compile(
    r"anno|label|json|coco|via|export|result|ground|^gt|mask|segment|instances|polygon|meta|^default$"
)
_OF_IMAGES = re.compile(
    r"image|^img|pic|photo|scan|frames?$|jpe?g|png|bmp|tiff?$|^raw|^data$|video|ultraso|^us$|^default$"
    r"|^(train|val|valid|test|dev)(ing|idation|val)?(\d{4})?$|^upload"
)

Parts = tuple[str, ...]


class ImageFinder:
    """The images of a data set, by name.

    Args:
        images: all image files.
        tables: all annotation files.
    """

    def __init__(self, images: Iterable[FileEntry], tables: Iterable[FileEntry]) -> None:
        self._by_name: dict[str, list[tuple[Parts, FileEntry]]] = defaultdict(list)
        for entry in images:
            *folder, name = name_key(entry.path).split("/")
            self._by_name[name].append((tuple(folder), entry))
        self._claimed: set[Parts] = set()
        for table in tables:
            folder_of_table = _folder(table)
            self._claimed |= {folder_of_table[:k] for k in range(1, len(folder_of_table) + 1)}

    def find(self, table: FileEntry, listed: str, *, unique: bool = True) -> list[FileEntry]:
        """The image that ``table`` lists as ``listed``: none if it is missing, several if it is undecided.

        Args:
            table: the annotation file.
            listed: path or URL of the image.
            unique: whether the table lists one image of this file name only; otherwise the folders in
                ``listed`` must match.
        """
        for path in dict.fromkeys(_readings(listed)):
            found = self._find(_folder(table), table, path, unique)
            if found:
                return found
        return []

    def _find(self, home: Parts, table: FileEntry, listed: str, unique: bool) -> list[FileEntry]:
        parts = tuple(name_key(listed).split("/"))
        candidates = self._by_name.get(parts[-1], [])
        stated = _resolved(home, parts[:-1])
        exact = [entry for folder, entry in candidates if folder == stated]
        if exact:
            return _same_case(exact, listed)
        folders = tuple(part for part in parts[:-1] if part != "..")
        splits = {split_of_path(table.path), *map(split_of, folders)} - {None, "trainval"}
        for depth in range(len(home), -1, -1):
            base, across = home[:depth], home[depth:]
            inside = [
                (folder[depth:], _common(folder, folders), entry)
                for folder, entry in candidates
                if folder[:depth] == base
            ]
            allowed, foreign = [], False
            for down, common, entry in inside:
                if any(base + down[:k] in self._claimed for k in range(1, len(down) + 1)):
                    foreign = True
                elif _may_belong(across, down, common, len(folders), unique) and not (
                    _of_another_split(down, splits)
                ):
                    allowed.append((down, common, entry))
            best = _best(allowed)
            if len(best) == 1 and foreign and not _of_images(best[0][0]) and not best[0][1]:
                return [entry for _, _, entry in inside]
            if best:
                return _same_case([entry for _, _, entry in best], listed)
        return []


def is_annotation_folder(name: str) -> bool:
    """Whether a folder's name says that it holds annotations, as ``annotations`` does."""
    return _OF_ANNOTATIONS.search(name.casefold()) is not None


def _folder(entry: FileEntry) -> Parts:
    return tuple(name_key(entry.path).split("/")[:-1])


def _readings(listed: str) -> list[str]:
    """A listed path as it is, and as a URL."""
    text = listed.replace("\\", "/")
    readings = [text]
    if "://" in text:
        readings.append(urlsplit(text).path)
    readings.append(unquote(readings[-1]))
    # Label Studio: /data/local-files/?d=folder/a.png
    if "?d=" in text:
        readings.append(unquote(text.rpartition("?d=")[2]))
    return readings


def _resolved(home: Parts, folders: Parts) -> Parts | None:
    """Folders relative to ``home``; None above the root."""
    found = list(home)
    for part in folders:
        if part != "..":
            found.append(part)
        elif found:
            found.pop()
        else:
            return None
    return tuple(found)


def _common(folder: Parts, listed: Parts) -> int:
    """The number of last folders that two paths have in common."""
    count = 0
    for a, b in zip(reversed(folder), reversed(listed), strict=False):
        if a != b:
            break
        count += 1
    return count


def _of_images(folders: Sequence[str]) -> bool:
    return all(_OF_IMAGES.search(folder) for folder in folders)


def _may_belong(across: Parts, down: Parts, common: int, stated: int, unique: bool) -> bool:
    """Whether an image may be the one meant.

    Args:
        across: folders from the common one down to the annotation file.
        down: folders from the common one down to the image.
        common: the number of stated folders that the image is in.
        stated: the number of folders that the annotation file states.
        unique: whether no other image listed has the same file name.
    """
    if common:
        return True
    if stated and not (unique and _of_images(down)):
        return False  # the folders may be those of another machine, or the image another one
    if not across:
        return True
    of_annotations = all(is_annotation_folder(folder) for folder in across)
    return of_annotations or (bool(down) and _of_images(down))


_Candidate = tuple[Parts, int, FileEntry]


def _of_another_split(down: Parts, splits: set[str | None]) -> bool:
    """Whether an image is in the folder of a split, but not of one that was stated."""
    found = {split_of(folder) for folder in down} - {None}
    return bool(found and splits and not found & splits)


def _best(candidates: list[_Candidate]) -> list[_Candidate]:
    """The candidates in most of the stated folders; of these, the ones beside or in folders of images."""
    most = max((common for _, common, _ in candidates), default=0)
    best = [c for c in candidates if c[1] == most]
    return [c for c in best if not c[0]] or [c for c in best if _of_images(c[0])] or best


def _same_case(entries: list[FileEntry], listed: str) -> list[FileEntry]:
    """The entry whose name has the same case, if several differ in case alone."""
    name = unicodedata.normalize("NFC", listed.rpartition("/")[2])
    return [e for e in entries if e.name == name] or entries
