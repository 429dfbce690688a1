"""CUBS: the intima-media complex of the common carotid artery, between two boundaries drawn as polylines.

A file has the points of a boundary, the lumen-intima (LI) or the media-adventitia (MA): x and y in pixels, in
two rows or two columns. Another file has the size of a pixel in mm. The first reader's boundaries are read,
who is the reference of the study.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import numpy.typing as npt

from ultrasam.datasets.annotated_image import Case, CaseImage, Instance
from ultrasam.datasets.description import (
    MISSING_IMAGE,
    MISSING_MASK,
    DatasetInfo,
    DatasetSpec,
    Download,
    bibtex,
)
from ultrasam.datasets.file_tree import FileEntry, FileTree, Skip, SkipReport
from ultrasam.datasets.readers.tables import number
from ultrasam.errors import DataError
from ultrasam.images.masks import polygon_mask
from ultrasam.images.raster import decode_frame
from ultrasam.text import decode_text

Points = npt.NDArray[np.float64]

INFO = DatasetInfo(
    id="cubs",
    name="CUBS",
    url="https://data.mendeley.com/datasets/fpv535fss7/1",
    access="open",
    license="CC BY 4.0",
    organ="carotid artery",
    structures=("intima_media",),
    kind="still",
    size="2,176 images of 1,088 patients, 2 sites",
    layout="IMAGES/clin_<NNNN>_<L|R>.tiff, SEGMENTATIONS/Manual-A1/<image>-<LI|MA>.txt, "
    "CF/<image>_CF.txt; the technical part (m7ndn58sv6): images/tech_<NNN>.tiff, LIMA-Profiles/Manual-A1/…",
    folders=("CUBS", "DATASET_CUBS_tech"),
    download=Download("mendeley", "fpv535fss7/1"),
    citation=bibtex(
        "article",
        "meiburger2021",
        author="Meiburger, Kristen M. and Zahnd, Guillaume and Faita, Francesco and others",
        title="Carotid ultrasound boundary study (CUBS): An open multicenter analysis of computerized "
        "intima-media thickness measurement systems and their clinical impact",
        journal="Ultrasound in Medicine and Biology",
        year=2021,
    ),
    note="Only the boundaries by the first reader (Manual-A1) are read. Whether the first pixel is 0 or 1 is "
    "not stated, so masks may be off by one pixel. The thickness in mm is the distance between the first "
    "reader's boundaries by the polyline distance method, which the source uses.",
    part_of_paper=False,
)

_STEM = r"(?P<stem>((?P<subject>clin_\d+)_[LR]|tech_\d+))"


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    boundaries: dict[str, dict[str, FileEntry]] = {}
    pattern = rf"/(segmentations|lima-profiles)/manual-a1/{_STEM}-(?P<what>LI|MA)\.txt$"
    for entry, groups in tree.match(pattern):
        found = boundaries.setdefault(groups["stem"].casefold(), {})
        found.setdefault(groups["what"].upper(), entry)
    read = {entry.path for found in boundaries.values() for entry in found.values()}
    for entry, _ in tree.match(r"/(segmentations|lima-profiles(-interpolated)?)/[^/]+/[^/]+\.txt$"):
        if entry.path not in read:
            report.skip(entry, "boundary by another reader or method", what="file")
    scales = {g["stem"].casefold(): e for e, g in tree.match(rf"/CF/{_STEM}_CF\.txt$")}
    for image, groups in tree.match(rf"/images/{_STEM}\.tiff?$"):
        key = groups["stem"].casefold()
        found = boundaries.pop(key, {})
        if found.keys() != {"LI", "MA"}:
            report.skip(image, MISSING_MASK if not found else "only one of two boundaries")
            continue
        scale = scales.get(key)
        if scale is None:
            report.skip(image, "image without a pixel size", what="annotation")
        walls = (found["LI"], found["MA"])
        sources = (image, *walls) if scale is None else (image, *walls, scale)
        yield Case(
            INFO.id,
            key,
            sources,
            partial(_read, image, walls, scale),
            subject=groups.get("subject", "").casefold() or None,
        )
    for found in boundaries.values():
        for entry in found.values():
            report.skip(entry, MISSING_IMAGE, what="file")


def _read(
    image: FileEntry, walls: tuple[FileEntry, FileEntry], scale: FileEntry | None
) -> Iterator[CaseImage | Skip]:
    pixels = decode_frame(image.read(), image.path)
    shape: tuple[int, int] = pixels.shape[0], pixels.shape[1]
    intima, adventitia = (_boundary(entry, shape) for entry in walls)
    if not np.median(intima[:, 1]) < np.median(adventitia[:, 1]):
        raise DataError(
            "the lumen-intima boundary does not lie above the media-adventitia boundary"
        )
    mask = polygon_mask([np.concatenate([intima, adventitia[::-1]])], shape)
    instances = (Instance("intima_media", mask),)
    if scale is None:
        yield CaseImage(pixels, instances)
        return
    mm = number(decode_text(scale.read()).strip())
    if mm is None or mm <= 0:
        raise DataError(f"{scale.path} is not a pixel size in mm")
    measurements = {"intima_media_thickness_mm": mm * thickness(intima, adventitia)}
    yield CaseImage(pixels, instances, spacing=(mm, mm), measurements=measurements)


def thickness(first: Points, second: Points) -> float:
    """Mean distance between two boundaries in pixels, by the polyline distance method.

    Each point of a boundary counts with its distance to the other boundary, where both have the same x.

    Args:
        first, second: points [N, 2] of (x, y), sorted by x.

    Raises:
        DataError: The boundaries have no x in common.
    """
    start = max(first[0, 0], second[0, 0])
    end = min(first[-1, 0], second[-1, 0])
    distances = []
    for points, other in ((first, second), (second, first)):
        inside = points[(points[:, 0] >= start) & (points[:, 0] <= end)]
        distances.append(_distances(inside, other))
    every = np.concatenate(distances)
    if not len(every):
        raise DataError("the two boundaries have no part above each other")
    return float(every.mean())


def _distances(points: Points, line: Points) -> Points:
    """Distance [N] of each point [N, 2] to a polyline [M, 2]."""
    start, along = line[:-1], np.diff(line, axis=0)  # [M-1, 2]
    length = np.maximum((along**2).sum(axis=1), 1e-12)
    offset = points[:, None] - start[None]  # [N, M-1, 2]
    place = np.clip((offset * along).sum(axis=2) / length, 0, 1)
    gaps = np.linalg.norm(offset - place[..., None] * along, axis=2)
    return np.asarray(gaps.min(axis=1))


def _boundary(entry: FileEntry, shape: tuple[int, int]) -> Points:
    """The points [N, 2] of a boundary in pixels, sorted by x.

    Raises:
        DataError: The file has no boundary in the image, or rows and columns cannot be told apart.
    """
    lines = [line.split() for line in decode_text(entry.read()).splitlines() if line.strip()]
    cells = [[number(cell) for cell in line] for line in lines]
    if not cells or any(len(line) != len(cells[0]) or None in line for line in cells):
        raise DataError(f"{entry.path} is not a table of numbers")
    table = np.array(cells, np.float64)
    if table.shape[0] == 2 and table.shape[1] > 2:
        table = table.T
    elif table.shape[1] != 2 or table.shape[0] < 3:
        size = f"{table.shape[0]} × {table.shape[1]}"
        raise DataError(
            f"{entry.path} has {size} numbers; two rows or columns of x and y are needed"
        )
    if (table < 0).any() or (table[:, 0] > shape[1]).any() or (table[:, 1] > shape[0]).any():
        raise DataError(f"{entry.path} leaves the image")
    return table[np.argsort(table[:, 0], kind="stable")]


DATASET = DatasetSpec(INFO, _cases)
