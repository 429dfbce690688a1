"""Which image a viewer means, and which it gets next."""

from __future__ import annotations

import re
import secrets
import threading
from pathlib import PurePosixPath
from typing import Any

from ultrasam.annotate.annotator import Annotator
from ultrasam.annotate.project.images import find_images
from ultrasam.errors import DataError
from ultrasam.images.reading import is_dicom
from ultrasam.serve.http.problems import NotFoundError

STRATEGIES = {
    "first": "The first image by name that is not labeled",
    "random": "An image that is not labeled, by chance",
    "uncertain": "The image that is not labeled and whose masks are the least certain",
}
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_NUMBER = re.compile(r"[0-9]{1,15}")


class Series:
    """Finds images by the SeriesInstanceUID of their DICOM files, which is kept in memory alone."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, int], str | None] = {}
        self._lock = threading.Lock()

    def images_of(self, app: Annotator, uid: str) -> list[int]:
        """The numbers of a series' images; the first time, the header of each DICOM file is read."""
        found = []
        rows = app.project.rows("SELECT id, path, size, mtime_ns FROM images WHERE missing = 0")
        with self._lock:
            for row in rows:
                key = row["path"], row["size"], row["mtime_ns"]
                if key not in self._known:
                    self._known[key] = self._read(app, row["path"])
                if self._known[key] == uid:
                    found.append(int(row["id"]))
        return found

    def _read(self, app: Annotator, path: str) -> str | None:
        file = app.project.folder / path
        try:
            if not is_dicom(file):
                return None
            import pydicom

            header = pydicom.dcmread(
                file, stop_before_pixels=True, force=True, specific_tags=["SeriesInstanceUID"]
            )
            return str(header.get("SeriesInstanceUID", "")) or None
        except (
            Exception
        ):  # pydicom raises of any class; the image's own problem is shown on the page
            return None


def image_named(app: Annotator, series: Series, name: str) -> int:
    """The number of an image: by itself, by the file's path in the folder, or by its DICOM series.

    Raises:
        NotFoundError: There is none.
        DataError: The series is in several files.
    """
    query = "SELECT id FROM images WHERE missing = 0 AND "
    row = app.project.row(query + "path = ?", name)
    if row is None and _NUMBER.fullmatch(name):
        row = app.project.row(query + "id = ?", int(name))
    if row is not None:
        return int(row["id"])
    found = series.images_of(app, name) if _UID.fullmatch(name) else []
    if len(found) > 1:
        raise DataError(
            f"The series has {len(found)} files in this project, one for each image; only series in one file "
            "can be segmented here."
        )
    if not found:
        raise NotFoundError(
            f"Image '{name[:80]}' is not in this project; /datastore/ lists the images."
        )
    return found[0]


def next_sample(app: Annotator, reader: str, strategy: str) -> dict[str, Any]:
    """The next image of a reader, or nothing if all are labeled.

    Raises:
        NotFoundError: There is no such strategy.
    """
    if strategy not in STRATEGIES:
        raise NotFoundError(f"There is no strategy '{strategy[:40]}'; use {', '.join(STRATEGIES)}.")
    order: Any = "uncertainty" if strategy == "uncertain" else "name"
    total, rows = find_images(app.project, reader, state="new", order=order, limit=1)
    if strategy == "random" and total:
        _, rows = find_images(
            app.project, reader, state="new", offset=secrets.randbelow(total), limit=1
        )
    return sample_json(app, rows[0]["id"]) if rows else {}


def sample_json(app: Annotator, id: int) -> dict[str, Any]:
    """An image as viewers list it; its name ends as the file that they get."""
    row = app.project.row("SELECT path FROM images WHERE id = ?", id)
    path = PurePosixPath(str(row["path"]) if row is not None else str(id))
    name = path.name
    if not name.lower().endswith((".nii", ".nii.gz", ".nrrd", ".mha", ".mhd")):
        name = f"{path.stem}.nii.gz"
    return {"id": str(id), "name": name, "path": "", "description": str(path)}
