"""Where the masks to measure come from: mask files, the results of an earlier predict, or a model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ultrasam.errors import DataError, MeasurementError
from ultrasam.files import read_json
from ultrasam.images.mask_files import code_name
from ultrasam.images.mask_reading import read_mask_image, read_masks
from ultrasam.images.masks import decode_rle
from ultrasam.images.scan import Scan
from ultrasam.inference.batch import call_with_prompts
from ultrasam.inference.inputs import match_names, stem_of
from ultrasam.inference.predictor import Predictor
from ultrasam.inference.prompts_file import PromptEntry
from ultrasam.inference.segmenter import Segmenter
from ultrasam.measure.border import TIGHT, WIDE, LevelMasks
from ultrasam.measure.cine import MaskedCine, check_size
from ultrasam.measure.outline import Spacing

_NUMBER = re.compile(r"_mask_(\d+)\.png$")


def masks_of_files(
    scan: Scan, files: Sequence[Path], *, frame: int = 0, spacing: Spacing | None = None
) -> list[MaskedCine]:
    """The objects in mask files of one frame: all that is not black, or each value or color by itself.

    Args:
        frame: the frame that the masks show.
        spacing: (row, column) in mm, if the user states it.

    Raises:
        DataError: A file cannot be read, or is a picture.
        MeasurementError: A file has another size than the scan.
        ScanError: A file is damaged.
    """
    found = []
    for file in files:
        codes = read_mask_image(file)
        check_size(scan, codes > 0, str(file))
        values = np.unique(codes[codes > 0]).tolist()
        name = stem_of(file)
        if len(values) < 2:
            found.append(_still(scan, name, codes > 0, frame, spacing))
        for value in values if len(values) > 1 else ():
            found.append(_still(scan, f"{name} {code_name(value)}", codes == value, frame, spacing))
    return found


def masks_of_sequences(
    scan: Scan, files: Sequence[Path], *, frame: int | None = None, spacing: Spacing | None = None
) -> list[MaskedCine]:
    """The objects in files that hold the masks of several frames: DICOM-SEG, NIfTI, MHA and NRRD.

    Args:
        frame: only this frame; None for all that have masks.
        spacing: (row, column) in mm, if the user states it.

    Raises:
        DataError: A file holds no masks, or those of another scan.
        MeasurementError: No file has a mask of the frame.
        ScanError: A file is damaged.
    """
    found = []
    for file in files:
        masks = read_masks(file, scan)
        for index, name in enumerate(masks.names):
            frames = [n for n in masks.frames if frame in (None, n) and masks.masks(n)[index].any()]
            levels = {n: LevelMasks(masks.masks(n)[index]) for n in frames}
            if levels:
                found.append(MaskedCine.of(scan, name, levels, spacing=spacing))
    if not found:
        raise MeasurementError(f"{files[0]} has no mask of frame {frame}; choose another --frame.")
    return found


def _still(scan: Scan, name: str, mask: Any, frame: int, spacing: Spacing | None) -> MaskedCine:
    return MaskedCine.of(scan, name, {frame: LevelMasks(mask)}, spacing=spacing)


def read_predictions(file: Path) -> list[dict[str, Any]]:
    """The entries of a predictions.json of ``ultrasam predict``.

    Raises:
        DataError: The file cannot be read, or is not such a list.
    """
    entries = read_json(file)
    needed = {"file_name", "segmentation"}
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and needed <= set(entry) for entry in entries
    ):
        raise DataError(
            f"{file} is not a predictions.json of ultrasam predict: a list of objects with a file_name and a "
            "segmentation."
        )
    return entries


def entries_of_files(
    entries: Sequence[Mapping[str, Any]], paths: Sequence[Path], *, folder: Path
) -> dict[Path, list[Mapping[str, Any]]]:
    """The entries of each image that has some.

    Args:
        folder: of the predictions.

    Raises:
        DataError: No image has any.
    """
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for entry in entries:
        by_name.setdefault(str(entry["file_name"]), []).append(entry)
    names = match_names(paths, by_name, folder=folder).names
    found = {path: by_name[name] for path, name in names.items()}
    if not found:
        raise DataError(f"{folder} has no predictions for {paths[0]}; predict it first.")
    return found


def masks_of_predictions(
    scan: Scan,
    entries: Iterable[Mapping[str, Any]],
    *,
    frame: int | None = None,
    spacing: Spacing | None = None,
) -> list[MaskedCine]:
    """The objects of one image in a predictions.json; prompts of one number are one object in all frames.

    Args:
        frame: only this frame; None for all.
        spacing: (row, column) in mm, if the user states it.

    Raises:
        DataError: An entry's mask or frame is malformed.
        MeasurementError: A mask has another size than the scan, or no entry is of this frame.
    """
    objects: dict[str, MaskedCine] = {}
    for entry in entries:
        at = entry.get("frame", 0)
        if not isinstance(at, int) or not 0 <= at < scan.num_frames:
            raise DataError(
                f"{scan.source} has no frame {at!r}, of which the predictions have a mask."
            )
        if frame is not None and at != frame:
            continue
        mask = decode_rle(entry["segmentation"])
        name = _name(entry)
        check_size(scan, mask, name)
        others = [n for n in objects if n == name or n.startswith(f"{name} #")]
        free = next((n for n in others if at not in objects[n].frames), None)
        name = free or (f"{name} #{len(others) + 1}" if others else name)
        if name not in objects:
            objects[name] = MaskedCine.empty(scan, name, has_levels=False, spacing=spacing)
        objects[name].put(at, LevelMasks(mask))
    if not objects:
        where = "" if frame is None else f" of frame {frame}"
        raise MeasurementError(f"The predictions have no mask{where} for {scan.source}.")
    return list(objects.values())


def _name(entry: Mapping[str, Any]) -> str:
    number = _NUMBER.search(str(entry.get("mask", "")))
    named = entry.get("category") or entry.get("class")
    return str(named) if named else number[1] if number else "object"


def masks_of_model(
    scan: Scan,
    segmenter: Segmenter,
    entries: Sequence[PromptEntry],
    frames: Sequence[int],
    *,
    spacing: Spacing | None = None,
) -> tuple[list[MaskedCine], tuple[str, ...]]:
    """Segment the prompted objects in frames; of a promptable network also at the levels 0.3 and 0.7.

    Returns:
        The objects, and a sentence for each prompt that was refused.

    Raises:
        PromptError: No prompt can be used.
    """
    objects: dict[str, MaskedCine] = {}
    refused: dict[str, None] = {}
    path = scan.source or Path("the image")
    for frame in frames:
        segmenter.set_image(scan.frame(frame))

        def predict(prompts: list[Any]) -> Any:
            if isinstance(segmenter, Predictor):
                return segmenter.predict(prompts, levels=(WIDE, TIGHT))
            return segmenter.predict(prompts)

        used, prediction, sentences = call_with_prompts(predict, entries, path)
        refused |= dict.fromkeys(sentences)
        for row, entry in enumerate(used):
            name = (
                f"{entry.number}" if entry.category is None else f"{entry.number} {entry.category}"
            )
            at = prediction.at_levels
            others = (None, None) if at is None else (at[0, row, 0], at[1, row, 0])
            if name not in objects:
                objects[name] = MaskedCine.empty(
                    scan, name, has_levels=at is not None, spacing=spacing
                )
            objects[name].put(frame, LevelMasks(prediction.masks[row, 0], *others))
    return list(objects.values()), tuple(refused)


def only_object(objects: Sequence[MaskedCine], path: Path) -> MaskedCine:
    """The object of an image that must have one.

    Raises:
        MeasurementError: There are several.
    """
    if len(objects) != 1:
        names = ", ".join(item.name for item in objects)
        raise MeasurementError(
            f"{path} has {len(objects)} objects ({names}); planes that belong together need one each."
        )
    return objects[0]
