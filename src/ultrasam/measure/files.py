"""Measure the structures of many files; a file or an object that fails is reported and stops no other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ultrasam.errors import DiskFullError, MeasurementError, UltraSamError
from ultrasam.images.mask_reading import is_mask_image
from ultrasam.images.scan import Scan
from ultrasam.inference.frames import FrameChoice, choose_frames
from ultrasam.inference.processing import Open, describe_failure, open_file
from ultrasam.inference.prompts_file import AssignedPrompts
from ultrasam.inference.segmenter import Segmenter
from ultrasam.measure.calibration import Calibration
from ultrasam.measure.cine import MaskedCine, measure_beats, missing_frames
from ultrasam.measure.measuring import Measured, kind_of, measure
from ultrasam.measure.objects import (
    masks_of_files,
    masks_of_model,
    masks_of_predictions,
    masks_of_sequences,
    only_object,
)
from ultrasam.measure.outline import Spacing

_WITH_DEPTH = ("shape", "lesion")  # kinds that look for the transducer's surface
_EJECTION = "ejection-fraction"


@dataclass(frozen=True, slots=True)
class Result:
    """The numbers of one object in one frame, or of a structure in several planes.

    Attributes:
        paths: the files of its planes.
        frames: the frame of each plane.
        name: of the object.
        kind: of structure.
        calibrations: of the planes.
        measured: the numbers.
        times: milliseconds from the first frame, of each plane; None if unknown.
    """

    paths: tuple[Path, ...]
    frames: tuple[int, ...]
    name: str
    kind: str
    calibrations: tuple[Calibration, ...]
    measured: Measured
    times: tuple[float | None, ...] = (None,)


@dataclass(frozen=True, slots=True)
class FileMeasured:
    """What was measured in a file, or in several that belong together.

    Attributes:
        path: the file, or the first of them.
        results: the numbers.
        errors: sentences about what could not be measured.
        notes: sentences about what should be known.
        mask_notes: the same about the masks, which the results hold, too.
    """

    path: Path
    results: list[Result] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    mask_notes: list[str] = field(default_factory=list)


class MaskSource(Protocol):
    """Gives the objects of a file."""

    def objects(
        self, path: Path, scan: Scan, frames: FrameChoice
    ) -> tuple[list[MaskedCine], tuple[str, ...], tuple[str, ...]]:
        """The objects in the chosen frames; what was refused, and what should be known, as sentences."""


@dataclass(frozen=True, slots=True)
class MaskFiles:
    """Masks from mask files: images of one frame, or DICOM-SEG, NIfTI, MHA or NRRD of the whole scan.

    Attributes:
        files: of each image; of one kind.
        spacing: (row, column) in mm, if the user states it.
    """

    files: Mapping[Path, Sequence[Path]]
    spacing: Spacing | None = None

    def objects(
        self, path: Path, scan: Scan, frames: FrameChoice
    ) -> tuple[list[MaskedCine], tuple[str, ...], tuple[str, ...]]:
        """As in `MaskSource`.

        Raises:
            MeasurementError: Several frames are asked for, and an image shows one; or none has a mask.
        """
        files = self.files[path]
        if not is_mask_image(files[0]):
            frame = frames if isinstance(frames, int) else None
            found = masks_of_sequences(scan, files, frame=frame, spacing=self.spacing)
            return found, (), ()
        if frames == "all" and scan.num_frames > 1:
            raise MeasurementError(
                f"{path} has {scan.num_frames} frames, but an image of masks shows one; give --frame NUMBER."
            )
        (chosen,), notes = choose_frames(scan, None if frames == "all" else frames, path)
        scan.frame(chosen)
        return masks_of_files(scan, files, frame=chosen, spacing=self.spacing), (), notes


@dataclass(frozen=True, slots=True)
class Predictions:
    """Masks from the results of an earlier predict; without a chosen frame, those of all frames.

    Attributes:
        entries: of each image.
        spacing: (row, column) in mm, if the user states it.
    """

    entries: Mapping[Path, Sequence[Mapping[str, Any]]]
    spacing: Spacing | None = None

    def objects(
        self, path: Path, scan: Scan, frames: FrameChoice
    ) -> tuple[list[MaskedCine], tuple[str, ...], tuple[str, ...]]:
        """As in `MaskSource`.

        Raises:
            MeasurementError: The image has no predictions.
        """
        if path not in self.entries:
            raise MeasurementError(f"The predictions have no mask for {path}.")
        frame = frames if isinstance(frames, int) else None
        found = masks_of_predictions(scan, self.entries[path], frame=frame, spacing=self.spacing)
        return found, (), ()


@dataclass(frozen=True, slots=True)
class ModelMasks:
    """Masks from a model.

    Attributes:
        segmenter: the model.
        prompts: of each image.
        spacing: (row, column) in mm, if the user states it.
    """

    segmenter: Segmenter
    prompts: AssignedPrompts
    spacing: Spacing | None = None

    def objects(
        self, path: Path, scan: Scan, frames: FrameChoice
    ) -> tuple[list[MaskedCine], tuple[str, ...], tuple[str, ...]]:
        """As in `MaskSource`.

        Raises:
            MeasurementError: The image has no prompts.
            PromptError: None of them can be used.
        """
        if path in self.prompts.missing:
            raise MeasurementError(self.prompts.missing[path])
        chosen, notes = choose_frames(scan, frames, path)
        entries = self.prompts.entries[path]
        found, refused = masks_of_model(scan, self.segmenter, entries, chosen, spacing=self.spacing)
        return found, refused, notes


def measure_files(
    kind: str,
    paths: Sequence[Path],
    source: MaskSource,
    *,
    frames: FrameChoice = None,
    factor: float | None = None,
    opened: Open = open_file,
) -> Iterator[FileMeasured]:
    """Measure each file by itself, or, for a kind that has several planes, all files together.

    An ejection fraction is measured in a cine of each view, or in stills of end-diastole and end-systole.

    Args:
        frames: as in `ultrasam.inference.frames.choose_frames`; of a cine whose ejection fraction is
            measured, None means all.
        factor: as in `ultrasam.measure.measuring.measure`.
        opened: opens a file, and closes it once it is measured.

    Raises:
        DiskFullError: The disk is full.
        MeasurementError: The kind is unknown, or has another number of planes than there are files.
    """
    views = kind_of(kind).views
    if len(views) == 1:
        for path in paths:
            yield _one_plane(kind, path, source, frames, factor, opened)
        return
    cines = kind.startswith(_EJECTION) and len(paths) == len(views) // 2
    if not cines and len(paths) != len(views):
        or_cines = f", or {len(views) // 2} as cines" if kind.startswith(_EJECTION) else ""
        raise MeasurementError(
            f"{kind} is measured in {len(views)} images ({', '.join(views)}){or_cines}, in this order; "
            f"{len(paths)} given."
        )
    found = FileMeasured(paths[0])
    try:
        with ExitStack() as stack:
            scans = [(path, stack.enter_context(opened(path))) for path in paths]
            if cines:
                _cycle(kind, scans, source, "all" if frames is None else frames, found)
            else:
                _planes(kind, scans, source, frames, factor, found)
    except DiskFullError:
        raise  # of a copy out of an archive: no other file could be read
    except Exception as error:
        found.errors.append(_failure(paths, error))
    yield found


def is_of_one_file(kind: str) -> bool:
    """Whether a kind can be measured in each file by itself: in one image, or in one cine.

    Raises:
        MeasurementError: The kind is unknown.
    """
    views = len(kind_of(kind).views)
    return views == 1 or (kind.startswith(_EJECTION) and views == 2)


def _failure(paths: Sequence[Path], error: Exception) -> str:
    """An error as a sentence that names the files."""
    text = describe_failure(paths[0], error)
    named = any(str(path) in text for path in paths)
    return text if named else f"{' + '.join(str(path) for path in paths)}: {text}"


def _objects(
    path: Path, scan: Scan, source: MaskSource, frames: FrameChoice, found: FileMeasured
) -> list[MaskedCine]:
    objects, refused, notes = source.objects(path, scan, frames)
    found.errors.extend(refused)
    found.notes.extend(notes)
    return objects


def _one_plane(
    kind: str,
    path: Path,
    source: MaskSource,
    frames: FrameChoice,
    factor: float | None,
    opened: Open,
) -> FileMeasured:
    found = FileMeasured(path)
    try:
        with opened(path) as scan:
            for item in _objects(path, scan, source, frames, found):
                for frame in item.frames:
                    _measure_frame(kind, path, item, frame, factor, found)
    except DiskFullError:
        raise
    except Exception as error:
        found.errors.append(_failure([path], error))
    return found


def _measure_frame(
    kind: str,
    path: Path,
    item: MaskedCine,
    frame: int,
    factor: float | None,
    found: FileMeasured,
) -> None:
    where = f"{path}: {_where(item, frame)}"
    structure = item.structure(frame, with_surface=kind in _WITH_DEPTH)
    try:
        measured = measure(kind, [structure], factor=factor)
    except UltraSamError as error:
        found.errors.append(f"{where}: {error}")
        return
    found.mask_notes.extend(f"{where}: the mask {note}." for note in measured.notes)
    found.results.append(
        Result(
            (path,), (frame,), item.name, kind, (structure.calibration,), measured,
            (_time(item.scan, frame),),
        )
    )  # fmt: skip


def _where(item: MaskedCine, frame: int) -> str:
    prefix = f"frame {frame}, " if item.scan.num_frames > 1 else ""
    return f"{prefix}object {item.name}"


def _time(scan: Scan, frame: int) -> float | None:
    return None if scan.frame_time is None else frame * scan.frame_time


def _planes(
    kind: str,
    scans: Sequence[tuple[Path, Scan]],
    source: MaskSource,
    frames: FrameChoice,
    factor: float | None,
    found: FileMeasured,
) -> None:
    items = _one_object_each(scans, source, frames, found)
    for item, (path, _) in zip(items, scans, strict=True):
        if len(item.frames) > 1:
            raise MeasurementError(
                f"{path} has masks in {len(item.frames)} frames; give --frame NUMBER."
            )
    at = tuple(item.frames[0] for item in items)
    structures = [item.structure(frame) for item, frame in zip(items, at, strict=True)]
    measured = measure(kind, structures, factor=factor)
    found.mask_notes.extend(f"{kind}: the mask {note}." for note in measured.notes)
    calibrations = tuple(s.calibration for s in structures)
    times = tuple(_time(item.scan, frame) for item, frame in zip(items, at, strict=True))
    names = dict.fromkeys(item.name for item in items)
    name = " + ".join(names) if len(names) == 1 else kind
    found.results.append(
        Result(tuple(path for path, _ in scans), at, name, kind, calibrations, measured, times)
    )


def _one_object_each(
    scans: Sequence[tuple[Path, Scan]], source: MaskSource, frames: FrameChoice, found: FileMeasured
) -> list[MaskedCine]:
    return [only_object(_objects(path, scan, source, frames, found), path) for path, scan in scans]


def _cycle(
    kind: str,
    scans: Sequence[tuple[Path, Scan]],
    source: MaskSource,
    frames: FrameChoice,
    found: FileMeasured,
) -> None:
    items = _one_object_each(scans, source, frames, found)
    found.notes.extend(f"{note}." for item in items if (note := missing_frames(item)))
    for number, beat in enumerate(measure_beats(items, found.notes), 1):
        at = tuple(f for b in beat.beats for f in (b.end_diastole, b.end_systole))
        of_frames = [
            (path, item) for (path, _), item in zip(scans, items, strict=True) for _ in range(2)
        ]
        calibrations = tuple(
            item.structure(frame).calibration
            for (_, item), frame in zip(of_frames, at, strict=True)
        )
        times = tuple(
            _time(item.scan, frame) for (_, item), frame in zip(of_frames, at, strict=True)
        )
        found.mask_notes.extend(f"beat {number}: the mask {note}." for note in beat.measured.notes)
        found.results.append(
            Result(
                tuple(path for path, _ in of_frames), at, f"beat {number}", kind, calibrations,
                beat.measured, times,
            )
        )  # fmt: skip
    # The volumes over time, which show whether the beats are true.
    for (path, _), item in zip(scans, items, strict=True):
        for frame in item.frames:
            if item.levels(frame).mask.any():
                quiet = FileMeasured(path)
                _measure_frame("ventricle", path, item, frame, None, quiet)
                found.results.extend(quiet.results)
                found.errors.extend(quiet.errors)
