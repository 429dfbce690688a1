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
from ultrasam.datasets.split_names import split_of, split_of_path
from ultrasam.text import name_key

# Words of folders that say what kind of files they hold, and not whose.
_OF_ANNOTATIONS = frozenset({
    "anno", "annos", "annot", "annots", "annotation", "annotations", "coco", "cvat", "default", "export",
    "exports", "ground", "groundtruth", "gt", "instances", "json", "jsons", "label", "labelme", "labels",
    "labelstudio", "mask", "masks", "meta", "metadata", "polygon", "polygons", "result", "results", "seg",
    "segmentation", "segmentations", "truth", "via",
})  # fmt: skip
_OF_IMAGES = frozenset({
    "bmp", "data", "default", "file", "files", "frame", "frames", "gray", "image", "images", "img",
    "imgs", "input", "inputs", "jpeg", "jpegimages", "jpg", "media", "original", "originals", "pic",
    "pics", "picture", "pictures", "photo", "photos", "png", "raw", "rgb", "scan", "scans", "tif",
    "tiff", "ultrasound", "upload", "uploads", "us", "video", "videos",
})  # fmt: skip

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
        self._folders: dict[Parts, set[str]] = defaultdict(set)
        for entries in self._by_name.values():
            for path, _ in entries:
                for k, child in enumerate(path):
                    self._folders[path[:k]] |= {child, _owner(path[k:])} - {""}
        self._named: dict[tuple[str, Parts], set[str]] = {}
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
            allowed, mirrored, foreign = [], [], False
            named = self._named_after(table.stem, base)
            for down, common, entry in inside:
                if named and not common and _owner(down) and not named & set(down):
                    continue  # p2.json means the images in p2/
                if any(base + down[:k] in self._claimed for k in range(1, len(down) + 1)):
                    foreign = True
                elif _of_another_split(down, splits):
                    continue
                elif _mirrored(across, down) and (common or not folders):
                    mirrored.append(entry)
                elif _may_belong(across, down, common, len(folders), unique):
                    allowed.append((down, common, entry))
            if mirrored:
                return _same_case(mirrored, listed)
            best = _best([c for c in allowed if named & set(c[0])] or allowed)
            if len(best) == 1 and foreign and not _of_images(best[0][0]) and not best[0][1]:
                return [entry for _, _, entry in inside]
            if best:
                return _same_case([entry for _, _, entry in best], listed)
        return []

    def _named_after(self, stem: str, base: Parts) -> set[str]:
        """The folders in ``base``, or in folders of images there, that an annotation file is named after."""
        key = (stem, base)
        if key not in self._named:
            self._named[key] = _named(stem, self._folders.get(base, set()))
        return self._named[key]


def is_annotation_folder(name: str) -> bool:
    """Whether a folder's name says that it holds annotations, as ``annotations_v2`` does."""
    return bool(_OF_ANNOTATIONS & set(_words(name)))


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W_]+", name.casefold())


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
    """Whether folders are such as ``images/train2017``, which hold everybody's images."""
    return all(
        split_of(word) or word in _OF_IMAGES for folder in folders for word in _words(folder)
    )


def _of_annotations(folders: Sequence[str]) -> bool:
    """Whether folders are such as ``coco_annotations``, which hold everybody's annotations."""
    return all(
        split_of(word) or word in _OF_ANNOTATIONS for folder in folders for word in _words(folder)
    )


def _owner(folders: Sequence[str]) -> str:
    """The first folder that says whose images it holds, as ``p1`` in ``images/p1``; '' without one."""
    return next((folder for folder in folders if not _of_images((folder,))), "")


def _mirrored(across: Sequence[str], down: Sequence[str]) -> bool:
    """Whether folders of annotations repeat those of images, as ``annotations/p1`` and ``images/p1`` do."""
    of_table = [f for f in across if not set(_words(f)) <= _OF_ANNOTATIONS]
    of_image = [f for f in down if not set(_words(f)) <= _OF_IMAGES]
    return bool(of_table) and of_table == of_image


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
    return _of_annotations(across) or (bool(down) and _of_images(down))


_Candidate = tuple[Parts, int, FileEntry]


def _named(stem: str, folders: Iterable[str]) -> set[str]:
    """The folders that an annotation file is named after, as ``instances_p2`` is after ``images_p2``."""
    text = f"_{'_'.join(_words(stem))}_"
    names = {
        f: [word for word in _words(f) if word not in _OF_IMAGES] or _words(f) for f in folders
    }
    return {f for f, words in names.items() if words and f"_{'_'.join(words)}_" in text}


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
