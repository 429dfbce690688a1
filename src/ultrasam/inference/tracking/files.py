"""Write a track: masks, a table, a video and a contact sheet."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ultrasam.files import write_json
from ultrasam.images.mask_sequence import MaskSequence
from ultrasam.images.masks import bounding_box, coco_result
from ultrasam.images.pixels import Frame
from ultrasam.images.scan import Scan
from ultrasam.images.writing.formats import MaskFormat, write_masks
from ultrasam.images.writing.frame_sheet import write_frame_sheet
from ultrasam.images.writing.overlay import draw_overlay
from ultrasam.images.writing.png import write_mask
from ultrasam.images.writing.segmentation import Provenance, Segmentation
from ultrasam.images.writing.video import write_video
from ultrasam.inference.exports import BY_FRAME
from ultrasam.inference.tracking.source import FrameSource
from ultrasam.inference.tracking.track import Track
from ultrasam.measure.report import shape_measurements
from ultrasam.progress import OnProgress, no_progress

_TILES = 20  # frames of a contact sheet
_UNSURE = 0.5  # confidence; masks below are marked


@dataclass(frozen=True, slots=True)
class TrackFiles:
    """What was written.

    Attributes:
        table: the COCO results file; None if it was not asked for.
        sheet: the contact sheet.
        video: None if none was asked for.
        others: files of the other formats.
        notes: sentences about what a format could not hold.
    """

    table: Path | None
    sheet: Path
    video: Path | None
    others: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def write_track(
    track: Track,
    out: Path,
    name: str,
    *,
    video: str | None,
    provenance: Provenance,
    formats: Collection[MaskFormat] = (MaskFormat.png, MaskFormat.coco),
    on_progress: OnProgress = no_progress,
) -> TrackFiles:
    """Write the masks of a track to a folder.

    These are ``<name>_frame_<index>_mask_<object>.png``, ``predictions.json``, what
    `ultrasam.images.writing.formats.write_masks` writes in other formats, ``<name>_overlay.<video>`` and
    ``<name>_contact.png``. Masks are those of the stored frames; the pictures show the frames that
    were followed.

    Args:
        track: the masks.
        out: the folder.
        name: of the scan.
        video: suffix of the video, with its dot; None for none.
        provenance: what made the masks.
        formats: of the masks.
        on_progress: called after each frame of the video.

    Raises:
        UltraSamError: A file cannot be written.
    """
    entries, others, notes = write_track_masks(track, out, name, provenance, formats)
    table = out / "predictions.json" if MaskFormat.coco in formats else None
    if table is not None:
        write_json(table, entries)
    sheet = out / f"{name}_contact.png"
    write_frame_sheet(
        sheet, [(_drawn(track, index), _caption(track, index)) for index in _chosen(track)]
    )
    film = None
    if video is not None:
        film = out / f"{name}_overlay{video}"
        write_video(film, _film(track, on_progress), frame_time=track.scan.frame_time)
    return TrackFiles(table, sheet, film, others, notes)


def write_track_masks(
    track: Track,
    out: Path,
    name: str,
    provenance: Provenance,
    formats: Collection[MaskFormat],
) -> tuple[list[dict[str, Any]], tuple[Path, ...], tuple[str, ...]]:
    """Write the masks of a track alone.

    Returns:
        The entry of each mask, frame by frame, as in `predictions.json`; the files of formats that hold all
        frames together; and sentences about what these could not hold.

    Raises:
        UltraSamError: A file cannot be written.
    """
    stored = track.stored_masks
    entries = _write_masks(
        track, stored, out, name, provenance.as_dict(), png=MaskFormat.png in formats
    )
    others, notes = _write_others(track, stored, out, name, provenance, formats)
    return entries, others, notes


def _write_others(
    track: Track,
    stored: MaskSequence,
    out: Path,
    name: str,
    provenance: Provenance,
    formats: Collection[MaskFormat],
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """The masks in formats that hold all frames together."""
    wanted = [one for one in formats if one not in BY_FRAME]
    if not wanted:
        return (), ()
    scan = track.stored_scan
    measured = shape_measurements(stored, scan)
    result = Segmentation(scan, stored, provenance, measurements=measured)
    files, notes = write_masks(out, name, result, wanted)
    return tuple(files), notes


def _write_masks(
    track: Track,
    stored: MaskSequence,
    out: Path,
    name: str,
    provenance: Mapping[str, Any],
    *,
    png: bool,
) -> list[dict[str, Any]]:
    digits = len(str(stored.num_frames - 1))
    entries = []
    for frame in stored.frames:
        for number, mask in enumerate(stored.masks(frame)):
            if not mask.any():
                continue
            extra: dict[str, Any] = {
                "file_name": str(track.scan.source or name), "frame": frame,
                "object": number, "name": track.names[number],
            }  # fmt: skip
            if png:
                file = out / f"{name}_frame_{frame:0{digits}d}_mask_{number}.png"
                write_mask(file, mask)
                extra["mask"] = file.name
            origin = None if track.axis else track.origin(frame, number)
            if origin is not None:
                extra |= {
                    "origin": origin.source,
                    "keys": list(origin.keys),
                    "corrected": origin.corrected,
                }
            # A stored slice crosses many of those that were followed along another axis.
            score = track.confidence(frame, number) if origin else _mean_confidence(track, number)
            extra["low_confidence"] = score < _UNSURE
            entries.append(
                coco_result(mask, image_id=frame + 1, score=score, extra={**extra, **provenance})
            )
    return entries


def _mean_confidence(track: Track, number: int) -> float:
    values = track.confidences[number]
    return float(np.nanmean(values)) if np.isfinite(values).any() else 0.0


def _chosen(track: Track) -> list[int]:
    """Frames for the contact sheet: evenly spaced, among those from the first mask to the last."""
    held = sorted({frame for number in range(len(track)) for frame in track.frames(number)})
    first, last = held[0], held[-1]
    count = min(_TILES, last - first + 1)
    return [int(n) for n in np.linspace(first, last, count).round()]


def _film(track: Track, on_progress: OnProgress) -> Iterator[Frame]:
    for index in range(track.scan.num_frames):
        yield _drawn(track, index)
        on_progress(index + 1, track.scan.num_frames)


def _drawn(track: Track, index: int) -> Frame:
    scan: Scan = track.scan
    pixels = FrameSource(scan).read(index).pixels
    if pixels is None:
        pixels = np.zeros((scan.height, scan.width), np.uint8)
    masks, colors, texts = [], [], []
    for number in range(len(track)):
        mask = track.mask(index, number)
        if not mask.any():
            continue
        masks.append(mask)
        colors.append(number)
        x, y = bounding_box(mask)[:2].tolist()
        mark = "" if track.confidence(index, number) >= _UNSURE else "?"
        texts.append((f"{number}{mark}", x, y))
    return draw_overlay(pixels, masks, colors=colors, texts=texts)


def _caption(track: Track, index: int) -> str:
    parts = []
    for number in range(len(track)):
        origin = track.origin(index, number)
        if origin is None:
            parts.append("none")
        elif origin.source == "key":
            parts.append("key")
        else:
            keys = "+".join(str(key) for key in origin.keys)
            parts.append(f"from {keys}, {track.confidence(index, number):.2f}")
    return f"{index}: " + "; ".join(parts)
