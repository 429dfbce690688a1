"""Custom data sets of images with mask files: which mask is whose, what its values mean, what is left out."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath

from ultrasam.datasets.annotated_image import Case, CaseImage, Instance
from ultrasam.datasets.annotation_files import custom_info
from ultrasam.datasets.description import (
    MISSING_IMAGE,
    MISSING_MASK,
    DatasetSpec,
)
from ultrasam.datasets.file_tree import FileEntry, FileTree, Skip, SkipReport
from ultrasam.datasets.readers.label_rules import resize_values
from ultrasam.datasets.readers.mask_labels import MaskLabels
from ultrasam.datasets.readers.mask_survey import apply_labels, guess_labels, survey
from ultrasam.errors import DataError
from ultrasam.images.mask_files import decode_mask
from ultrasam.images.mask_names import NamedMask, Pairing, pair_masks, without_role
from ultrasam.images.raster import decode_frame, read_orientation

_IMAGE_FILE = r"\.(png|jpe?g|bmp|tiff?|gif)$"
_OTHER_FILE = r"\.(dcm|dicom|nii|nii\.gz|mha|mhd|nrrd|mp4|avi|mov|mkv|webp)$"
TURNED = "turned or mirrored by an EXIF orientation; the mask is taken to fit the image as viewers show it"
# Kinds of files that are masks if they are where masks are, and anything otherwise.
_MASK_FILE = r"\.(npy|npz|mat|jp2|pgm|ppm|pbm|heic|avif)$"
NOT_A_PICTURE = "not a PNG, JPEG, BMP, TIFF or GIF file; convert it"
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif")
_LAYOUT = "images/<stem>.* with masks/<stem>.* or masks/<structure>/<stem>.*, or <stem>.* with <stem>_mask.*"


def image_mask_folder(
    name: str, *, structure: str | None = None, labels: Mapping[int, str] | None = None
) -> DatasetSpec:
    """Images with mask files of any making (see `images.mask_names` and `readers.mask_survey`).

    An image whose masks cannot be read with certainty is left out and reported. What the masks' values became
    is in the report's notes.

    Args:
        name: id of the data set.
        structure: the structure that the masks show, unless a folder or a file name gives it; defaults to
            ``name``.
        labels: the structure of each value (see `readers.mask_labels.parse_labels`); if None, the masks
            themselves must show what their values mean.
    """

    def cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
        entries, masks = _list(tree, report)
        rules, problems = _rules(masks, entries, structure or name, labels, report)
        _note_turned([entries[path] for path in masks], report)
        keys = _keys(masks)
        for path, named in masks.items():
            files = tuple((entries[mask.path], rules[mask.structure]) for mask in named)
            reason = next((problems[m.path] for m in named if m.path in problems), None)
            if reason is not None:
                report.skip(path, reason)
                continue
            sources = (entries[path], *(entry for entry, _ in files))
            yield Case(name, keys[path], sources, partial(read_with_masks, entries[path], files))

    def count(tree: FileTree, report: SkipReport) -> int:
        return len(_list(tree, report)[1])

    return DatasetSpec(custom_info(name, _LAYOUT), cases, version=2, count_cases=count)


def read_with_masks(
    image: FileEntry, masks: tuple[tuple[FileEntry, MaskLabels], ...]
) -> Iterator[CaseImage | Skip]:
    """Read one image with all of its masks.

    An image is left out if any of its masks is damaged, of another shape or of uncertain meaning: it would
    be annotated in part only.
    """
    data = image.read()
    pixels = decode_frame(data, image.path)
    height, width = pixels.shape[:2]
    instances: list[Instance] = []
    for entry, labels in masks:
        mask = decode_mask(entry.read(), entry.path)
        rows, columns = mask.codes.shape
        if not _same_aspect((height, width), (rows, columns)):
            turned = (rows, columns) == (width, height)
            hint = (
                "; it is turned, as by an EXIF orientation that only the image has: save both the same way up"
                if turned
                else "; masks are scaled to their images, but never stretched"
            )
            yield Skip(
                image.path,
                f"its mask has {columns} × {rows} pixels, and the image {width} × {height}{hint}",
                damage=True,
            )
            return
        try:
            found = labels(mask)
        except DataError as error:
            yield Skip(image.path, str(error), damage=True)
            return
        instances += [
            replace(i, mask=resize_values(i.mask, (height, width)).astype(bool)) for i in found
        ]
    yield CaseImage(pixels, tuple(instances))


def mask_pairs(folder: Path) -> list[tuple[PurePosixPath, PurePosixPath]]:
    """The images and masks in a folder that belong together, by paths relative to the folder."""
    return [
        (PurePosixPath(image), PurePosixPath(mask.path))
        for image, masks in _pairing(folder).masks.items()
        for mask in masks
    ]


def has_masks(folder: Path) -> bool:
    """Whether a folder holds images with masks, also if none is certain to be an image's."""
    pairing = _pairing(folder)
    return bool(pairing.masks or pairing.ambiguous)


def _pairing(folder: Path) -> Pairing:
    return pair_masks(
        [
            Path(place, name).relative_to(folder).as_posix()
            for place, _, files in os.walk(folder)
            for name in files
            if name.lower().endswith(_SUFFIXES)
        ]
    )


def _list(
    tree: FileTree, report: SkipReport
) -> tuple[dict[str, FileEntry], dict[str, tuple[NamedMask, ...]]]:
    """All picture files by path, and the masks of each image that has some; nothing is opened."""
    entries: dict[str, FileEntry] = {}
    for entry, _ in tree.match(_IMAGE_FILE):
        if entry.path in entries:
            report.skip(entry, "another file has this name in another Unicode form")
        entries.setdefault(entry.path, entry)
    for entry, _ in tree.match(_OTHER_FILE):
        report.skip(entry, NOT_A_PICTURE)
    left_out = {s.where: s.reason for s in report.skips if s.what == "image"}
    _report_other_masks(tree, [*entries, *left_out], report, left_out)
    pairing = pair_masks([*entries, *sorted(left_out.keys() - entries.keys())])
    _report_masks(pairing, entries, report)
    return entries, _readable(pairing, entries, left_out, report)


def _same_aspect(image: tuple[int, int], mask: tuple[int, int]) -> bool:
    """Whether a mask is the image scaled, up to rounding by less than a pixel; each (height, width)."""
    return abs(mask[0] * image[1] - mask[1] * image[0]) <= max(*image, *mask)


def _report_masks(pairing: Pairing, entries: Mapping[str, FileEntry], report: SkipReport) -> None:
    """Report all files without a partner, and that damaged masks are no images."""
    masks = {m.path for found in pairing.masks.values() for m in found}
    masks |= {*pairing.without_image, *pairing.ambiguous_masks, *pairing.others}
    report.skips = [
        replace(skip, what="file") if skip.where in masks and skip.what == "image" else skip
        for skip in report.skips
    ]

    def skip(paths: Iterable[str], reason: str, *, mask: bool = False) -> None:
        for path in paths:
            if path in entries:
                report.skip(path, reason, what="file" if mask else "image")

    skip(pairing.without_mask, MISSING_MASK)
    skip(pairing.without_image, MISSING_IMAGE, mask=True)
    skip(pairing.ambiguous_masks, "mask of an image that is left out", mask=True)
    skip(pairing.others, "picture of masks, or masks of single objects", mask=True)
    for path, reason in pairing.ambiguous.items():
        skip([path], reason)


def _report_other_masks(
    tree: FileTree, pictures: Sequence[str], report: SkipReport, left_out: dict[str, str]
) -> None:
    """Report the masks of kinds that are not read, so that their images do not count as without one."""
    expression = re.compile(_MASK_FILE, re.IGNORECASE)
    others = {entry.path: entry for entry in tree.entries if expression.search(entry.path)}
    for masks in pair_masks([*pictures, *others]).masks.values():
        for mask in masks if all(mask.path in others for mask in masks) else ():
            for entry, _ in tree.match(f"/{re.escape(mask.path)}$"):
                report.skip(entry, NOT_A_PICTURE, what="file")
                left_out[entry.path] = NOT_A_PICTURE


def _readable(
    pairing: Pairing,
    entries: Mapping[str, FileEntry],
    left_out: Mapping[str, str],
    report: SkipReport,
) -> dict[str, tuple[NamedMask, ...]]:
    """The images and masks of which no file is left out; ``left_out`` tells why."""
    readable = {}
    for path, masks in pairing.masks.items():
        if path not in entries:
            for mask in masks:
                if mask.path in entries:
                    report.skip(mask.path, "mask of an image that is left out", what="file")
            continue
        reason = next((left_out[m.path] for m in masks if m.path not in entries), None)
        if reason is None:
            readable[path] = masks
        else:
            report.skip(path, f"its mask is left out ({reason})", damage=True)
    return readable


def _rules(
    masks: Mapping[str, tuple[NamedMask, ...]],
    entries: Mapping[str, FileEntry],
    name: str,
    labels: Mapping[int, str] | None,
    report: SkipReport,
) -> tuple[dict[str | None, MaskLabels], dict[str, str]]:
    """What the values mean in the masks of each structure, and which masks cannot be read."""
    groups: dict[str | None, list[FileEntry]] = defaultdict(list)
    for found in masks.values():
        for mask in found:
            groups[mask.structure].append(entries[mask.path])
    if labels is not None and masks and None not in groups:
        named = ", ".join(sorted(str(group) for group in groups)[:4])
        raise DataError(f"The masks already have names ({named}); --labels does not apply.")
    rules: dict[str | None, MaskLabels] = {}
    problems: dict[str, str] = {}
    for group, files in sorted(groups.items(), key=lambda item: item[0] or ""):
        where = "Masks" if group is None else f"Masks of {group}"
        profiles = survey(files)
        if labels is not None and group is None:
            surveyed = apply_labels(profiles, labels, where)
        else:
            surveyed = guess_labels(profiles, group or name, where)
        rules[group] = surveyed.labels
        problems |= surveyed.problems
        report.notes += surveyed.notes
    return rules, problems


def _note_turned(images: Iterable[FileEntry], report: SkipReport) -> None:
    """Say which images are turned in a way that the shape of their masks cannot show."""
    for entry in images:
        if len(entry.chain) == 1 and entry.name.lower().endswith(
            (".jpg", ".jpeg", ".tif", ".tiff")
        ):
            orientation, (width, height) = read_orientation(Path(entry.chain[0]))
            if orientation in (2, 3, 4) or (orientation > 4 and width == height):
                report.skip(entry, TURNED, what="note")


def _keys(images: Iterable[str]) -> dict[str, str]:
    """A key of each image that is unique, and as short as its path allows."""
    paths = list(images)
    short = {path: without_role(path) for path in paths}
    count = Counter(short.values())
    return {path: key if count[key] == 1 else path for path, key in short.items()}
