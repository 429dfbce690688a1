"""Read stills with mask files, the most common layout.

Two patterns find images and masks by path, and the named groups that both patterns share pair them. The
groups `subject`, `study`, `split` and `class_label` also set the metadata of an image; `number` is compared
as an integer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ultrasam.datasets.annotated_image import Case, CaseImage, Instance, Spacing
from ultrasam.datasets.description import (
    DUPLICATE_IMAGE,
    MISSING_IMAGE,
    MISSING_MASK,
    NO_OBJECT,
    OPTIONAL_STRUCTURE,
)
from ultrasam.datasets.file_tree import FileEntry, FileTree, Skip, SkipReport
from ultrasam.datasets.readers.label_rules import (
    RULES,
    ByValue,
    LabelRule,
    Values,
    require_shape,
    resize_values,
)
from ultrasam.images.masks import BoolMask
from ultrasam.images.pixels import Frame
from ultrasam.images.raster import decode_frame, decode_values

Groups = Mapping[str, str]
Describe = Callable[[dict[str, str]], Mapping[str, str | None]]
Measure = Callable[[Groups], Mapping[str, float]]
METADATA_GROUPS = ("subject", "study", "split", "class_label")


@dataclass(frozen=True, slots=True)
class MaskOptions:
    """How a mask file becomes instances.

    Attributes:
        resize: scale a mask of another size to its image (nearest neighbor); otherwise the image is skipped.
        rotate_180: rotate image and mask by 180 degrees.
        skip_empty: skip images without an object.
        fit: changes the values of a mask, given the (height, width) of its image.
        clean: changes the mask of an instance, given the image.
    """

    resize: bool = False
    rotate_180: bool = False
    skip_empty: bool = False
    fit: Callable[[Values, tuple[int, int]], Values] | None = None
    clean: Callable[[BoolMask, Frame], BoolMask] | None = None


def paired(
    dataset: str,
    tree: FileTree,
    report: SkipReport,
    *,
    image: str,
    mask: str,
    labels: LabelRule | Callable[[Groups], LabelRule | None],
    options: MaskOptions = MaskOptions(),
    missing_mask_reason: str = MISSING_MASK,
    exclude: Mapping[str, str] | None = None,
    describe: Describe | None = None,
    spacing: Mapping[str, Spacing] | None = None,
    measurements: Measure | None = None,
) -> Iterator[Case]:
    """List cases of images and masks whose patterns' shared groups have equal values.

    Args:
        dataset: id of the data set.
        tree, report: files to search, and where to report skipped ones.
        image, mask: path patterns (see `FileTree.match`).
        labels: a label rule, or a function of the mask's groups that returns one (None skips the mask).
        options: how masks become instances.
        missing_mask_reason: reason reported for an image without a mask.
        exclude: maps patterns of files to leave out to the reason.
        describe: maps the image's groups to `METADATA_GROUPS`, for metadata that is not in the groups.
        spacing: maps lower-case image file names to (row, column) mm.
        measurements: maps the image's groups to what the source measured in it.
    """
    excluded = set()
    for pattern, reason in (exclude or {}).items():
        for entry, _ in tree.match(pattern):
            excluded.add(entry.path)
            report.skip(entry, reason)
    masks: list[tuple[FileEntry, dict[str, str]]] = [
        (entry, groups) for entry, groups in tree.match(mask) if entry.path not in excluded
    ]
    not_images = excluded | {entry.path for entry, _ in masks}
    images = [
        (entry, groups) for entry, groups in tree.match(image) if entry.path not in not_images
    ]
    shared = shared_groups(image, mask)
    by_key: dict[tuple[str, ...], list[tuple[FileEntry, LabelRule]]] = {}
    for entry, groups in masks:
        rule = labels if isinstance(labels, RULES) else labels(groups)
        if rule is not None:
            by_key.setdefault(key_of(groups, shared), []).append((entry, rule))
        else:
            by_key.setdefault(key_of(groups, shared), [])
            report.skip(entry, OPTIONAL_STRUCTURE, what="file")
    paired_keys = set()
    for entry, groups in images:
        key = key_of(groups, shared)
        if key not in by_key:
            report.skip(entry, missing_mask_reason)
            continue
        if key in paired_keys:
            report.skip(entry, DUPLICATE_IMAGE)
            continue
        paired_keys.add(key)
        found = dict(measurements(groups)) if measurements is not None else {}
        # Without measurements the arguments, and so the shards' keys in a store's journal, are as ever.
        measured = {"measurements": found} if found else {}
        yield Case(
            dataset,
            "/".join(part for part in key if part),
            (entry, *(e for e, _ in by_key[key])),
            partial(
                read_pair,
                entry,
                tuple(by_key[key]),
                options,
                (spacing or {}).get(entry.name.casefold()),
                **measured,
            ),
            **metadata_of(groups, describe),
        )
    for key, unpaired in by_key.items():
        if key not in paired_keys:
            for entry, _ in unpaired:
                report.skip(entry, MISSING_IMAGE, what="file")


def read_pair(
    image: FileEntry,
    masks: tuple[tuple[FileEntry, LabelRule], ...],
    options: MaskOptions,
    spacing: Spacing | None,
    *,
    measurements: Mapping[str, float] | None = None,
) -> Iterator[CaseImage | Skip]:
    """Read one image with all of its masks.

    If a mask is damaged, the image is skipped, since it would be only partly annotated.
    """
    pixels = decode_frame(image.read(), image.path)
    shape = pixels.shape[:2]
    instances: list[Instance] = []
    for entry, rule in masks:
        values = decode_values(entry.read(), entry.path, indices=isinstance(rule, ByValue))
        if options.fit is not None:
            values = options.fit(values, shape)
        if options.resize:
            values = resize_values(values, shape)
        require_shape(values, shape, entry.path)
        instances.extend(rule(values))
    yield finish(image.path, pixels, instances, options, spacing=spacing, measurements=measurements)


def finish(
    where: str,
    pixels: Frame,
    instances: list[Instance],
    options: MaskOptions,
    *,
    spacing: Spacing | None = None,
    frame: int | None = None,
    measurements: Mapping[str, float] | None = None,
) -> CaseImage | Skip:
    """Apply ``options`` to an image [H, W] or [H, W, 3] and its instances; return a skip if none is left.

    Args:
        where: path of the image, for the skip.
        pixels: the image.
        instances: its instances.
        options: how masks become instances.
        spacing: (row, column) mm, if known.
        frame: 0-based index of the frame, if any.
        measurements: what the source measured, if anything.
    """
    if options.clean is not None:
        instances = [Instance(i.name, options.clean(i.mask, pixels)) for i in instances]
    if options.skip_empty and not any(i.mask.any() for i in instances):
        return Skip(where if frame is None else f"{where} frame {frame}", NO_OBJECT)
    if options.rotate_180:
        pixels = half_turn(pixels)
        instances = [Instance(i.name, half_turn(i.mask)) for i in instances]
    return CaseImage(pixels, tuple(instances), frame, spacing, measurements or {})


def half_turn(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Rotate [H, W, …] by 180 degrees."""
    return np.ascontiguousarray(array[::-1, ::-1])


def clear_black(mask: BoolMask, pixels: Frame) -> BoolMask:
    """Remove the mask pixels where the image is black."""
    black = pixels == 0 if pixels.ndim == 2 else (pixels == 0).all(axis=2)
    return np.asarray(mask & ~black)


def shared_groups(*patterns: str) -> list[str]:
    """Names of the groups that all patterns share."""
    return sorted(set.intersection(*(set(re.compile(p).groupindex) for p in patterns)))


def key_of(groups: Mapping[str, str], shared: list[str]) -> tuple[str, ...]:
    """The case-folded values of the shared groups, which pair an image with its masks."""
    values = []
    for name in shared:
        value = groups.get(name, "")
        values.append(str(int(value)) if name == "number" and value else value.casefold())
    return tuple(values)


def metadata_of(groups: dict[str, str], describe: Describe | None) -> dict[str, str | None]:
    """Subject, study, split and class of an image, from its groups and ``describe``."""
    metadata: dict[str, str | None] = {name: groups.get(name) for name in METADATA_GROUPS}
    if "class_label" in groups:
        metadata["class_label"] = groups["class_label"].casefold()
    return metadata if describe is None else metadata | dict(describe(groups))
