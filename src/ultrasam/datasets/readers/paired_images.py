"""Stills with mask files: the layout that most data sets have.

Images and masks are found by two patterns on their paths; the named groups that both have pair them.
Some names of groups have a meaning: `subject`, `study`, `split`, `class_label`; `number` is compared as
a number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ultrasam.datasets.annotated_image import Case, Instance, Picture, Spacing
from ultrasam.datasets.description import NO_OBJECT
from ultrasam.datasets.file_tree import Entry, RawTree, Report, Skip
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
MEANINGS = ("subject", "study", "split", "class_label")


@dataclass(frozen=True, slots=True)
class MaskStyle:
    """What happens between a mask file and its instances.

    Attributes:
        resize: a mask of another size is scaled to its image (nearest); else it is left out.
        turn: image and mask are turned by 180 degrees.
        skip_empty: images without any object are left out.
        fit: changes a mask's values to fit its image, given the image's (height, width).
        clean: changes one instance's mask, given the image.
    """

    resize: bool = False
    turn: bool = False
    skip_empty: bool = False
    fit: Callable[[Values, tuple[int, int]], Values] | None = None
    clean: Callable[[BoolMask, Frame], BoolMask] | None = None


def paired(
    dataset: str,
    tree: RawTree,
    report: Report,
    *,
    image: str,
    mask: str,
    labels: LabelRule | Callable[[Groups], LabelRule | None],
    style: MaskStyle = MaskStyle(),
    unmasked: str = "image without a mask",
    excluding: Mapping[str, str] | None = None,
    describe: Describe | None = None,
    spacing: Mapping[str, Spacing] | None = None,
) -> Iterator[Case]:
    """Cases of images and masks that share the values of their patterns' groups.

    Args:
        image, mask: patterns of paths (see `RawTree.match`).
        labels: a rule, or what gives one (or None, to leave the mask out) from the mask's groups.
        unmasked: the reason reported for an image without a mask.
        excluding: patterns of files to leave out, each with the reason.
        describe: the image's groups to `MEANINGS`, where the groups alone don't say.
        spacing: by the image's file name.
    """
    left_out = set()
    for pattern, reason in (excluding or {}).items():
        for entry, _ in tree.match(pattern):
            left_out.add(entry.path)
            report.skip(entry, reason)
    masks: list[tuple[Entry, dict[str, str]]] = [
        found for found in tree.match(mask) if found[0].path not in left_out
    ]
    taken = {entry.path for entry, _ in masks}
    images = [
        found
        for found in tree.match(image)
        if found[0].path not in left_out and found[0].path not in taken
    ]
    shared = shared_groups(image, mask)
    by_key: dict[tuple[str, ...], list[tuple[Entry, LabelRule]]] = {}
    for entry, groups in masks:
        rule = labels if isinstance(labels, RULES) else labels(groups)
        if rule is not None:
            by_key.setdefault(key_of(groups, shared), []).append((entry, rule))
        else:
            by_key.setdefault(key_of(groups, shared), [])
            report.skip(entry, "a structure that is off by default")
    paired_keys = set()
    for entry, groups in images:
        key = key_of(groups, shared)
        if key not in by_key:
            report.skip(entry, unmasked)
            continue
        if key in paired_keys:
            report.skip(entry, "the same image is there twice")
            continue
        paired_keys.add(key)
        yield Case(
            dataset,
            "/".join(part for part in key if part),
            (entry, *(e for e, _ in by_key[key])),
            partial(
                read_pair,
                entry,
                tuple(by_key[key]),
                style,
                (spacing or {}).get(entry.name.casefold()),
            ),
            **meaning_of(groups, describe),
        )
    for key, found in by_key.items():
        if key not in paired_keys:
            for entry, _ in found:
                report.skip(entry, "mask without an image")


def read_pair(
    image: Entry,
    masks: tuple[tuple[Entry, LabelRule], ...],
    style: MaskStyle,
    spacing: Spacing | None,
) -> Iterator[Picture | Skip]:
    """One image with all of its masks; a damaged mask costs the image, which it would leave unlabelled."""
    pixels = decode_frame(image.read(), image.path)
    shape = pixels.shape[:2]
    instances: list[Instance] = []
    for entry, rule in masks:
        values = decode_values(entry.read(), entry.path, indices=isinstance(rule, ByValue))
        if style.fit is not None:
            values = style.fit(values, shape)
        if style.resize:
            values = resize_values(values, shape)
        require_shape(values, shape, entry.path)
        instances.extend(rule(values))
    yield finish(image.path, pixels, instances, style, spacing=spacing)


def finish(
    where: str,
    pixels: Frame,
    instances: list[Instance],
    style: MaskStyle,
    *,
    spacing: Spacing | None = None,
    frame: int | None = None,
) -> Picture | Skip:
    """Clean and turn as ``style`` says; a skip if nothing is left that should be."""
    if style.clean is not None:
        instances = [Instance(i.name, style.clean(i.mask, pixels)) for i in instances]
    if style.skip_empty and not any(i.mask.any() for i in instances):
        return Skip(where if frame is None else f"{where} frame {frame}", NO_OBJECT)
    if style.turn:
        pixels = half_turn(pixels)
        instances = [Instance(i.name, half_turn(i.mask)) for i in instances]
    return Picture(pixels, tuple(instances), frame, spacing)


def half_turn(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Both axes of [H, W, …] flipped."""
    return np.ascontiguousarray(array[::-1, ::-1])


def clear_black(mask: BoolMask, pixels: Frame) -> BoolMask:
    """The mask where the image is not black."""
    black = pixels == 0 if pixels.ndim == 2 else (pixels == 0).all(axis=2)
    return np.asarray(mask & ~black)


def shared_groups(*patterns: str) -> list[str]:
    """Names of the groups that all patterns have."""
    return sorted(set.intersection(*(set(re.compile(p).groupindex) for p in patterns)))


def key_of(groups: Mapping[str, str], shared: list[str]) -> tuple[str, ...]:
    """What pairs an image with its masks: the shared groups' values, without regard to case."""
    values = []
    for name in shared:
        value = groups.get(name, "")
        values.append(str(int(value)) if name == "number" and value else value.casefold())
    return tuple(values)


def meaning_of(groups: dict[str, str], describe: Describe | None) -> dict[str, str | None]:
    """Subject, study, split and class of an image, by its groups and what ``describe`` adds."""
    meaning: dict[str, str | None] = {name: groups.get(name) for name in MEANINGS}
    if "class_label" in groups:
        meaning["class_label"] = groups["class_label"].casefold()
    return meaning if describe is None else meaning | dict(describe(groups))
