"""De-identify files: DICOM images and cines, still pictures, and videos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np

from ultrasam.errors import ConfigError, ScanError, UltraSamError, one_line
from ultrasam.extras import needs
from ultrasam.files import atomic_file, atomic_write
from ultrasam.images.masks import BoolMask
from ultrasam.images.pixels import Frame, gray
from ultrasam.images.quiet import quiet_warnings
from ultrasam.images.reading import kind_of, read_scan
from ultrasam.images.scan import Scan
from ultrasam.images.sector import Box, find_sector
from ultrasam.images.writing.overlay import write_overlay
from ultrasam.images.writing.png import encode_png
from ultrasam.images.writing.video import write_lossless
from ultrasam.morphology import dilate

if TYPE_CHECKING:
    from ultrasam.images.deidentification.header import Change

Keep = Box | Literal["all"] | None
_STILLS = ("png", "jpeg", "bmp", "tiff", "gif")
_VIDEOS = ("mp4", "avi", "gif")
_BRIGHT = 170  # of text
_IMPRECISE = 0.005  # of the picture's longer side: so near to the edge, echoes may lie outside
_CROSSING = 3  # bright pixels on each side of the edge of what is kept; less is an echo at the edge
_MIN_SEARCHED = 6  # characters; shorter words stand in pixels by chance
_TISSUE, _DATA = ("1",), ("2", "3")  # kinds of ultrasound regions: images; M-mode and spectra


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What is kept of a file.

    Attributes:
        path: the file.
        scan: its content.
        kept: [H, W], the pixels that are kept in every frame; None if all are.
        sector: what kind of sector was found, or "box" or "all" if the user said what to keep.
        is_crossed: something bright reaches across the edge of the sector that was found, as text does that
            touches the image: a part of it stays.
    """

    path: Path
    scan: Scan
    kept: BoolMask | None
    sector: str
    is_crossed: bool = False

    @property
    def suffix(self) -> str:
        """Of the result."""
        if kind_of(self.path) == "dicom":
            return ".dcm"
        return ".avi" if self.is_video else ".png"

    @property
    def is_video(self) -> bool:
        """Whether the result is a video without loss."""
        kind = kind_of(self.path)
        return kind in _VIDEOS and (kind != "gif" or self.scan.num_frames > 1)


@dataclass(frozen=True, slots=True)
class Deidentified:
    """What was removed from a file.

    Attributes:
        changes: the elements of the header.
        stored: how the pixels are stored now, as the end of a sentence.
    """

    changes: Sequence[Change]
    stored: str


def parse_keep(text: str | None) -> Keep:
    """What to keep: x0,y0,x1,y1 or ``all``; None stays None.

    Raises:
        ConfigError: The text is neither.
    """
    if text is None or text == "all":
        return text  # type: ignore[return-value]
    try:
        x0, y0, x1, y1 = (int(part) for part in text.split(","))
    except ValueError:
        x0 = y0 = x1 = y1 = 0
    if not (0 <= x0 < x1 and 0 <= y0 < y1):
        raise ConfigError(f"'{text}' is not a box; give x0,y0,x1,y1 in whole pixels, or all.")
    return x0, y0, x1, y1


def plan(path: Path, keep: Keep = None) -> Plan:
    """Read a file, and decide which pixels to keep: those of the sector, if the user does not say.

    Of a DICOM file that states ultrasound regions, only these are searched.

    Raises:
        ScanError: The file cannot be read, is of a format that is not supported, or no sector is found.
        MissingDependencyError: The extra 'outputs' is not installed.
    """
    kind = kind_of(path)
    if kind not in ("dicom", *_STILLS, *_VIDEOS):
        raise ScanError(
            f"{path} is a volume, which cannot be de-identified here: what its header and its neighbors hold "
            "differs with each program. Save it anew with the tool that made it, without its fields."
        )
    scan = read_scan(path)
    if kind in _STILLS and kind not in _VIDEOS and scan.num_frames > 1:
        raise ScanError(f"{path} has {scan.num_frames} frames; save them as single PNG files.")
    if keep == "all":
        return Plan(path, scan, None, "all")
    mask = np.zeros((scan.height, scan.width), bool)
    if keep is not None:
        x0, y0, x1, y1 = keep
        if x1 > scan.width or y1 > scan.height:
            raise ScanError(
                f"{path} is {scan.width} × {scan.height} pixels; the box reaches beyond it."
            )
        mask[y0:y1, x0:x1] = True
        return Plan(path, scan, mask, "box")
    images, data = _regions(path, scan) if kind == "dicom" else ([], [])
    found = find_sector(scan, regions=images)
    if found is None:
        raise ScanError(
            f"{path}: no scanned sector is found that stands out from its surroundings; say what to keep "
            "with --keep x0,y0,x1,y1, or keep all pixels with --keep all if no text is burnt in."
        )
    mask |= found.mask
    crossed = _is_crossed(scan, found.mask)
    for x0, y0, x1, y1 in data:
        mask[y0:y1, x0:x1] = True
    return Plan(path, scan, mask, found.kind, crossed)


def _is_crossed(scan: Scan, kept: BoolMask) -> bool:
    """Whether bright pixels that hang together lie on both sides of the edge of what is kept."""
    bright = (gray(scan.frame(0)) >= _BRIGHT).astype(np.uint8)
    count, parts = cv2.connectedComponents(bright, connectivity=8)
    inside = np.bincount(parts[kept], minlength=count)[1:]
    beyond = ~dilate(kept, max(2, round(_IMPRECISE * max(kept.shape))))
    outside = np.bincount(parts[beyond], minlength=count)[1:]
    return bool(((inside >= _CROSSING) & (outside >= _CROSSING)).any())


def _regions(path: Path, scan: Scan) -> tuple[list[Box], list[Box]]:
    """The boxes of images, and of M-modes and spectra, that a DICOM file states; none if one is malformed."""
    from ultrasam.images.dicom_file import parse
    from ultrasam.images.dicom_header import MalformedError, items, strings, whole_number

    boxes: dict[bool, list[Box]] = {True: [], False: []}
    try:
        for region in items(parse(path).dataset, "SequenceOfUltrasoundRegions"):
            kind = tuple(strings(region, "RegionSpatialFormat"))
            names = ("MinX0", "MinY0", "MaxX1", "MaxY1")
            edges = [whole_number(region, f"RegionLocation{name}") for name in names]
            if None in edges or kind not in (_TISSUE, *((one,) for one in _DATA)):
                continue
            x0, y0, x1, y1 = (int(edge or 0) for edge in edges)
            box = (max(0, x0), max(0, y0), min(scan.width, x1 + 1), min(scan.height, y1 + 1))
            if box[0] < box[2] and box[1] < box[3]:
                boxes[kind == _TISSUE].append(box)
    except MalformedError:
        return [], []
    return boxes[True], boxes[False]


def preview(made: Plan, path: Path) -> None:
    """Draw the first frame with the outline of what is kept; the picture shows what is to be removed.

    Raises:
        UltraSamError: The file cannot be written.
    """
    frame = made.scan.frame(0)
    kept = np.ones(frame.shape[:2], bool) if made.kept is None else made.kept
    write_overlay(path, frame, [kept])


def deidentify(made: Plan, out: Path | None) -> Deidentified:
    """De-identify a file.

    Args:
        made: what is kept.
        out: the result; None writes nothing, to tell what would be removed.

    Raises:
        ScanError: The file is damaged, or its pixels are of a kind that cannot be blanked.
        UltraSamError: The result cannot be written, or would still hold a word of the identity.
    """
    if kind_of(made.path) == "dicom":
        return _dicom(made, out)
    if made.is_video:
        return _video(made, out)
    frame = made.scan.frame(0).copy()
    if made.kept is not None:
        frame[~made.kept] = 0
    if out is not None:
        atomic_write(out, encode_png(frame if frame.ndim == 2 else frame[..., ::-1]))
    return Deidentified((), "its pixels are a PNG without metadata")


def _video(made: Plan, out: Path | None) -> Deidentified:
    if out is not None:
        write_lossless(out, _blanked(made), frame_time=made.scan.frame_time)
    return Deidentified((), "its frames are an AVI (FFV1, without loss) without metadata and sound")


def _blanked(made: Plan) -> Iterator[Frame]:
    """The frames [H, W, 3] with nothing but what is kept."""
    for pixels in made.scan:
        frame = pixels.copy()
        if made.kept is not None:
            frame[~made.kept] = 0
        yield frame if frame.ndim == 3 else np.repeat(frame[..., None], 3, axis=2)


def _dicom(made: Plan, out: Path | None) -> Deidentified:
    with needs("De-identification", extra="outputs"):
        from ultrasam.images.deidentification import header
    import pydicom
    from pydicom.dataset import FileMetaDataset

    try:
        with quiet_warnings():  # of values that go
            dataset = pydicom.dcmread(made.path, force=True)
            for name in ("SOPClassUID", "SOPInstanceUID"):  # some scanners name them in front only
                if name not in dataset:
                    setattr(dataset, name, dataset.file_meta[f"MediaStorage{name}"].value)
            words = header.identity_of(dataset)
            stored = "its pixels are as they were"
            if out is not None and made.kept is not None:
                from ultrasam.images.deidentification.pixels import blank_outside

                stored = blank_outside(dataset, made.scan, made.kept)
            changes = header.clean_header(dataset)
            header.mark(dataset, pixels=made.kept is not None)
    except UltraSamError:
        raise
    except Exception as error:  # pydicom raises of any class on damaged files
        raise ScanError(
            f"{made.path} is damaged ({one_line(error)}), so it cannot be de-identified; export it again."
        ) from error
    if out is None:
        return Deidentified(changes, stored)
    syntax = dataset.file_meta.TransferSyntaxUID
    # The preamble and the file's own header name programs and stations.
    dataset.preamble = b"\0" * 128
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    with quiet_warnings(), atomic_file(out) as file:
        pydicom.dcmwrite(file, dataset, enforce_file_format=True)
        file.flush()
        _require_absent(made.path, Path(file.name), words)
    return Deidentified(changes, stored)


def _require_absent(source: Path, written: Path, words: frozenset[str]) -> None:
    """Refuse a result whose bytes hold a word of the identity.

    Raises:
        UltraSamError: They do.
    """
    data: Any = written.read_bytes()
    for word in words:
        if len(word) < _MIN_SEARCHED:
            continue
        for encoding in ("utf-8", "latin-1"):
            if word.encode(encoding, "ignore") in data:
                raise UltraSamError(
                    f"{source}: '{word}' would still be in the result, so nothing is written; please report "
                    "which element holds it."
                )
