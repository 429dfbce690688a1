"""Write a project's masks in the formats of other tools, by default only what a person has accepted."""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ultrasam.annotate.coco_dataset import UNNAMED, CocoDataset
from ultrasam.annotate.jobs import CanceledError, Job
from ultrasam.annotate.project.images import EXPORT_FOLDER
from ultrasam.annotate.project.labels import labels_of
from ultrasam.annotate.project.masks import Content, masks_of
from ultrasam.annotate.project.objects import Object, objects_of
from ultrasam.annotate.project.project import Project
from ultrasam.annotate.project.readers import readers_of
from ultrasam.annotate.scans import Scans
from ultrasam.errors import DataError, UltraSamError
from ultrasam.images.mask_sequence import MaskSequence
from ultrasam.images.rle import decode
from ultrasam.images.scan import Scan
from ultrasam.images.writing.formats import MaskFormat, frame_names, write_masks
from ultrasam.images.writing.segmentation import Provenance, Segmentation
from ultrasam.text import counted

Which = Literal["accepted", "all"]
FORMATS = ("png", "coco", "yolo", "nifti", "seg", "sr", "csv", "store")
_DICOM = ("seg", "sr")
_IDENTITY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
_NOTES = 200  # sentences that a result holds


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """What to export.

    Attributes:
        formats: of `FORMATS`; ``coco`` is one data set with its pictures, ``store`` the one that
            `ultrasam train` reads, and the others are files for each image.
        which: masks that a person has made or accepted, or drafts, too.
        readers: whose; None takes all.
        identity: keep the patient's name and number in DICOM files, which refer to their images by UIDs in
            any case.
    """

    formats: tuple[str, ...]
    which: Which = "accepted"
    readers: tuple[str, ...] | None = None
    identity: bool = False


def export_project(
    project: Project, scans: Scans, job: Job, settings: ExportSettings, *, out: Path | None = None
) -> dict[str, Any]:
    """Write an export folder and a zip of it; both are complete or absent.

    Args:
        out: where the folder goes; by default ``ultrasam-export`` in the project's folder.

    Returns:
        ``name`` of the folder, counts, and ``notes`` about what a format could not hold, a sentence each.

    Raises:
        DataError: There is nothing to export, or a reader does not exist.
        CanceledError: The user canceled the job; nothing is left.
        DiskFullError: The disk is full.
    """
    readers = settings.readers or tuple(readers_of(project))
    unknown = sorted(set(readers) - set(readers_of(project)))
    if unknown:
        raise DataError(f"There is no reader '{unknown[0]}' in this project.")
    place = (out or project.folder / EXPORT_FOLDER).resolve()
    name = _free_name(place)
    part = place / f".{name}.part"
    try:
        exported = _Export(project, scans, settings, readers, part)
        exported.run(job)
        if not exported.masks and not exported.empty_frames:
            what = "accepted mask" if settings.which == "accepted" else "mask"
            raise DataError(
                f"The project has no {what} of {', '.join(readers)}, so there is nothing to export; accept "
                "drafts first, or export all."
            )
        _zip(part, place / f"{name}.zip")
        part.rename(place / name)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return {
        "name": name, "masks": exported.masks, "images": exported.images, "notes": exported.notes[:_NOTES],
        "sentence": f"Exported {counted(exported.masks, 'mask')} of {counted(exported.images, 'image')} to "
        f"{name}." + (f" {len(exported.notes)} notes." if exported.notes else ""),
    }  # fmt: skip


def export_file(project: Project, name: str, *, out: Path | None = None) -> Path:
    """The zip of an export.

    Raises:
        DataError: There is none of that name.
    """
    place = (out or project.folder / EXPORT_FOLDER).resolve()
    path = place / f"{name}.zip"
    if not re.fullmatch(r"[\w-]{1,60}", name) or not path.is_file():
        from ultrasam.serve.http.problems import NotFoundError

        raise NotFoundError(f"There is no export '{name[:60]}'.")
    return path


class _Export:
    """One run of an export."""

    def __init__(
        self,
        project: Project,
        scans: Scans,
        settings: ExportSettings,
        readers: Sequence[str],
        out: Path,
    ) -> None:
        self.project, self.scans, self.settings = project, scans, settings
        self.readers, self.out = readers, out
        self.masks = self.images = self.empty_frames = 0
        self.notes: list[str] = []
        self._labels = [label.name for label in labels_of(project)]
        self._datasets: dict[str, CocoDataset] = {}
        self._names: dict[str, int] = {}

    def run(self, job: Job) -> None:
        rows = self.project.rows("SELECT id, path FROM images WHERE missing = 0 ORDER BY path")
        for number, row in enumerate(rows):
            job.progress(number, len(rows))
            for reader in self.readers:
                try:
                    self._image(int(row["id"]), row["path"], reader)
                except (CanceledError, OSError):
                    raise
                except UltraSamError as error:
                    self._note(row["path"], error)
        for dataset in self._datasets.values():
            dataset.finish()
        if "store" in self.settings.formats:
            job.progress(len(rows), len(rows), "Building the store.")
            self._build_stores()

    def _image(self, image: int, path: str, reader: str) -> None:
        found = [
            (object, content)
            for object in objects_of(self.project, image, reader)
            for content in masks_of(self.project, object.id)
            if self.settings.which == "all" or content.state == "accepted"
        ]
        reading = self.project.row(
            "SELECT empty FROM readings WHERE image = ? AND reader = ?", image, reader
        )
        empty = not found and reading is not None and bool(reading["empty"])
        if not found and not empty:
            return
        scan = self.scans.scan(image)
        name = self._name(path, image) + (f".{slug(reader)}" if len(self.readers) > 1 else "")
        if {"coco", "store"} & set(self.settings.formats):
            self._add_to_dataset(reader, name, path, scan, found)
        if empty:
            self.empty_frames += 1
            self.images += 1
            return
        segmentation = as_segmentation(scan, found, path=path)
        self._labels += sorted(set(segmentation.categories) - set(self._labels))
        for one in self.settings.formats:
            if one in ("coco", "store"):
                continue
            result = segmentation
            if one in (*_DICOM, "nifti"):  # these read the file itself
                result = replace(segmentation, scan=replace(segmentation.scan, source=scan.source))
            try:
                files, notes = write_masks(
                    self.out / one, name, result, [MaskFormat(one)], categories=self._labels
                )
            except DataError as error:
                self._note(path, error)
                continue
            self.notes += [self.scans.without_folder(note) for note in notes]
            if one in _DICOM and not self.settings.identity:
                for file in files:
                    _forget_identity(file)
        self.masks += len(found)
        self.images += 1

    def _add_to_dataset(
        self,
        reader: str,
        name: str,
        path: str,
        scan: Scan,
        found: Sequence[tuple[Object, Content]],
    ) -> None:
        if reader not in self._datasets:
            folder = "coco" if len(self.readers) == 1 else f"coco-{slug(reader)}"
            self._datasets[reader] = CocoDataset(self.out / folder, list(self._labels))
        names = frame_names(name, scan.num_frames)
        for frame in sorted({content.frame for _, content in found}) or range(scan.num_frames):
            here = [(object, content) for object, content in found if content.frame == frame]
            self._datasets[reader].add_frame(names[frame], scan, frame, here, path=path)

    def _build_stores(self) -> None:
        from ultrasam.datasets.custom import coco_file
        from ultrasam.store.build import build_store
        from ultrasam.store.index import BuildSettings

        for reader, dataset in self._datasets.items():
            several = len(self._datasets) > 1
            store = self.out / (f"store-{slug(reader)}" if several else "store")
            spec = coco_file("project", "annotations.json", "images")
            build_store([(spec, dataset.folder)], store, settings=BuildSettings())
            if "coco" not in self.settings.formats:
                shutil.rmtree(dataset.folder)

    def _name(self, path: str, image: int) -> str:
        """A name for an image's files: its path with dashes, and its number if two would be alike."""
        stem = path
        for suffix in (".nii.gz", Path(path).suffix):
            stem = stem.removesuffix(suffix) if suffix else stem
        name = slug(stem.replace("/", "-"))
        taken = self._names.setdefault(name, image)
        return name if taken == image else f"{name}-{image}"

    def _note(self, path: str, error: Exception) -> None:
        text = self.scans.without_folder(str(error))
        self.notes.append(text if path in text else f"{path}: {text}")


def as_segmentation(
    scan: Scan, found: Sequence[tuple[Object, Content]], *, path: str
) -> Segmentation:
    """The masks of one reader in an image, as the writers take them.

    Args:
        path: of the image in the project's folder, which is what is written of its place.
    """
    from ultrasam.measure.report import shape_measurements

    objects = list({object.id: object for object, _ in found}.values())
    titles = [_title(object, objects) for object in objects]
    masks = MaskSequence(scan.num_frames, scan.height, scan.width, tuple(titles))
    numbers = {object.id: number for number, object in enumerate(objects)}
    details: dict[tuple[int, int], dict[str, Any]] = {}
    by_frame: dict[int, list[tuple[Object, Content]]] = {}
    for object, content in found:
        by_frame.setdefault(content.frame, []).append((object, content))
    for frame, here in by_frame.items():
        stack = np.zeros((len(objects), scan.height, scan.width), bool)
        for object, content in here:
            number = numbers[object.id]
            stack[number] = decode(content.rle, (scan.height, scan.width))
            details[frame, number] = {
                "state": content.state, "source": content.source, "reader": object.reader,
                "saved": content.saved, "made_by": content.model or "a person",
                **({} if content.confidence is None else {"predicted_iou": content.confidence}),
                **({"prompt": _joined(content)} if content.prompts else {}),
            }  # fmt: skip
        masks.put(frame, stack)
    models = sorted({content.model for _, content in found if content.model})
    relative = replace(scan, source=Path(path))
    return Segmentation(
        relative, masks, Provenance(", ".join(models) or "a person"),
        tuple(object.label_name or UNNAMED for object in objects), details,
        shape_measurements(masks, scan),
    )  # fmt: skip


def slug(text: str) -> str:
    """A text as a part of a file's name."""
    return re.sub(r"[^\w-]+", "-", text).strip("-")[:80] or "image"


def _joined(content: Content) -> dict[str, Any]:
    points = [point for one in content.prompts for point in one.get("points") or ()]
    boxes = [one["box"] for one in content.prompts if one.get("box")]
    return {
        "points": [point[:2] for point in points], "labels": [point[2] for point in points],
        **({"box": boxes[-1]} if boxes else {}),
    }  # fmt: skip


def _title(object: Object, objects: Sequence[Object]) -> str:
    alike = [other for other in objects if other.label == object.label]
    if object.label_name is None or len(alike) == 1:
        return object.title
    return f"{object.label_name} {alike.index(object) + 1}"


def _free_name(place: Path) -> str:
    base = f"export-{datetime.now():%Y%m%d-%H%M%S}"
    number, name = 1, base
    while (place / name).exists() or (place / f"{name}.zip").exists():
        number += 1
        name = f"{base}-{number}"
    return name


def _zip(folder: Path, file: Path) -> None:
    from ultrasam.files import atomic_file

    with atomic_file(file) as opened, zipfile.ZipFile(opened, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder).as_posix())


def _forget_identity(file: Path) -> None:
    """Empty what a DICOM file says of the patient and the study; its UIDs still refer to the images."""
    import pydicom

    dataset = pydicom.dcmread(file)
    for name in _IDENTITY:
        if name in dataset:
            setattr(dataset, name, None)
    dataset.PatientIdentityRemoved = "YES"
    dataset.save_as(file)
