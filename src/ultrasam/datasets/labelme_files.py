"""Custom data sets annotated with LabelMe: one JSON file for each image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from typing import Any

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.annotation_files import IMAGE_FILE, case_keys, custom_info
from ultrasam.datasets.description import DatasetSpec
from ultrasam.datasets.file_tree import FileEntry, FileTree, SkipReport
from ultrasam.datasets.readers.image_finder import ImageFinder
from ultrasam.datasets.readers.labelme import is_labelme, read_labelme
from ultrasam.datasets.readers.listed_images import text_of
from ultrasam.datasets.readers.other_formats import other_json
from ultrasam.datasets.readers.tables import parse_json
from ultrasam.errors import DataError
from ultrasam.text import name_key

WITHOUT_FILE = "image without a LabelMe file"
WITHOUT_IMAGE = "LabelMe file without its image"
ONLY_INSIDE = "LabelMe file with its image inside; save the image beside it"
SEVERAL_FILES = "image with several LabelMe files"
OTHER_IMAGE = "LabelMe file of this name that states another image"
UNREADABLE_FILE = "image whose LabelMe file cannot be read"


def labelme_files(name: str) -> DatasetSpec:
    """LabelMe files: ``<stem>.json`` next to the image ``<stem>.*``, or where the file says it is.

    Each label is a structure.
    """

    def cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
        return _cases(name, tree, report)

    layout = "<stem>.json (LabelMe) next to <stem>.jpg"
    return DatasetSpec(custom_info(name, layout), cases, version=2)


def _cases(name: str, tree: FileTree, report: SkipReport) -> Iterator[Case]:
    images = [entry for entry, _ in tree.match(IMAGE_FILE)]
    finder = ImageFinder(images, ())
    beside: dict[str, list[FileEntry]] = defaultdict(list)
    for entry in images:
        beside[_stem(entry)].append(entry)
    found: dict[str, list[FileEntry]] = defaultdict(list)
    problems: dict[str, str] = {}
    others = []
    for file, _ in tree.match(r"\.json$"):
        same_name = beside[_stem(file)]
        try:
            content = parse_json(file)
        except DataError as error:
            report.skip(file, str(error), damage=True, what="file")
            problems |= {entry.path: UNREADABLE_FILE for entry in same_name}
            continue
        if not is_labelme(content):
            reason = (
                other_json(content, reading="labelme")
                or "no LabelMe file: it has no list of 'shapes'"
            )
            report.skip(file, reason, what="file")
            others.append(f"{file.path}: {reason}")
            continue
        stated = text_of(content.get("imagePath"))
        named = finder.find(file, stated) if stated is not None else []
        image = _image_of(named, same_name, stated)
        if image is not None:
            found[image.path].append(file)
            continue
        inside = content.get("imageData") and not same_name
        report.skip(file, ONLY_INSIDE if inside else WITHOUT_IMAGE, what="file")
        problems |= {entry.path: OTHER_IMAGE for entry in same_name}
    if others and not found:
        raise DataError(f"No LabelMe file in {tree.root}. Found: {'; '.join(others[:3])}.")
    keys = case_keys(images)
    for entry in images:
        files = found.get(entry.path, [])
        if len(files) == 1 and entry.path not in problems:
            read = partial(read_labelme, entry, files[0], {})
            yield Case(name, keys[entry.path], (entry, files[0]), read)
        elif files:
            report.skip(entry, problems.get(entry.path, SEVERAL_FILES))
        else:
            report.skip(entry, problems.get(entry.path, WITHOUT_FILE))


def _stem(entry: FileEntry) -> str:
    return name_key(entry.path.rpartition(".")[0])


def _image_of(named: list[FileEntry], same_name: list[FileEntry], stated: Any) -> FileEntry | None:
    """The image of a LabelMe file; None if there is none, or it is undecided.

    Args:
        named: images that the file states.
        same_name: images of the same name beside the file.
        stated: the path in the file.
    """
    if not same_name:
        return named[0] if len(named) == 1 else None
    both = [image for image in named if image in same_name]
    if len(both) == 1:
        return both[0]
    # Files are renamed without the path in them; but if it names an image that exists, either may be meant.
    return same_name[0] if len(same_name) == 1 and not named else None
