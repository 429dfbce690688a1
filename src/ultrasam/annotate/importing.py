"""Read masks of other tools, and of earlier exports, as drafts of a reader, unless told otherwise."""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ultrasam.annotate.coco_dataset import is_own, read_own
from ultrasam.annotate.jobs import Job
from ultrasam.annotate.project.history import recorded
from ultrasam.annotate.project.labels import label_or_new
from ultrasam.annotate.project.masks import Content, State
from ultrasam.annotate.project.objects import new_object
from ultrasam.annotate.project.project import Project
from ultrasam.annotate.scans import Scans
from ultrasam.errors import DataError, UltraSamError
from ultrasam.files import read_json
from ultrasam.images.masks import BoolMask
from ultrasam.images.rle import decode, encode
from ultrasam.text import counted, name_key

_NOTES = 200


def path_inside(project: Project, text: str) -> Path:
    """A file or folder below the project's folder, by its path there.

    Raises:
        DataError: It leads out of the folder, also by a link, or does not exist.
    """
    try:
        path = (project.folder / text).resolve()
        inside, exists = path.is_relative_to(project.folder), path.exists()
    except (OSError, ValueError) as error:
        raise DataError(f"'{text[:100]}' is not a path.") from error
    if not inside or Path(text).is_absolute():
        raise DataError(
            f"'{text[:100]}' leads out of the project's folder; copy it into the folder first."
        )
    if not exists:
        raise DataError(f"'{text[:100]}' does not exist in the project's folder.")
    return path


def import_masks(
    project: Project,
    scans: Scans,
    job: Job,
    *,
    reader: str,
    path: Path,
    image: int | None = None,
    state: State = "draft",
) -> dict[str, Any]:
    """Import an export of the annotator; a data set of COCO, LabelMe, VIA, CVAT or Label Studio; a folder of
    images and masks; or one file of masks for one image.

    Args:
        path: a file, or a folder.
        image: the one that a single file of masks belongs to: DICOM-SEG, NIfTI, a COCO results file or PNG.
        state: of the imported masks.

    Returns:
        Counts, and ``notes`` about what was left out, a sentence each.

    Raises:
        DataError: Nothing can be imported.
        CanceledError: The user canceled the job; what was imported stays.
    """
    into = _Import(project, scans, reader, state)
    if image is not None:
        into.of_image(image, path)
    elif path.is_file() and path.suffix.lower() == ".json" and is_own(read_json(path)):
        into.own(path, job)
    else:
        into.data_set(path, job)
    if not into.masks:
        why = f" {into.notes[0]}" if into.notes else ""
        raise DataError(f"{path.name} has no mask for an image of this project.{why}")
    told = f" Left out: {counted(len(into.notes), 'entry', 'entries')}." if into.notes else ""
    return {
        "masks": into.masks, "objects": into.objects, "images": len(into.images),
        "notes": into.notes[:_NOTES],
        "sentence": f"Imported {counted(into.masks, 'mask')} of {counted(len(into.images), 'image')} as "
        f"{'drafts' if state == 'draft' else 'accepted'}.{told}",
    }  # fmt: skip


@dataclass(slots=True)
class _Import:
    project: Project
    scans: Scans
    reader: str
    state: State
    masks: int = 0
    objects: int = 0
    images: set[int] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    _action: int | None = None

    def own(self, file: Path, job: Job) -> None:
        """An export of the annotator: images are found by their path."""
        by_path = {
            row["path"]: int(row["id"]) for row in self.project.rows("SELECT id, path FROM images")
        }
        entries = list(read_own(file))
        grouped: dict[tuple[str, str], list[Any]] = {}
        for one in entries:
            grouped.setdefault((one.path, one.object), []).append(one)
        for number, ((path, _), of_object) in enumerate(grouped.items()):
            job.progress(number, len(grouped))
            if path not in by_path:
                self.notes.append(f"{path} is not in this project.")
                continue
            contents = []
            for one in of_object:
                size = self._size(by_path[path])
                if size != one.size:
                    self.notes.append(
                        f"{path}: its mask has {one.size[1]} × {one.size[0]} pixels, the image {size[1]} × "
                        f"{size[0]}."
                    )
                    continue
                decode(one.rle, one.size)  # refuses what is damaged
                contents.append(
                    Content(
                        "", one.frame, one.rle, "imported", self.state, confidence=one.confidence,
                        prompts=one.prompts, model=one.model,
                    )
                )  # fmt: skip
            self._add(by_path[path], of_object[0].label, contents)

    def of_image(self, image: int, file: Path) -> None:
        """One file of masks for one image."""
        from ultrasam.images.mask_reading import read_masks

        sequence = read_masks(file, self.scans.scan(image))
        for number, name in enumerate(sequence.names):
            contents = [
                Content("", frame, encode(mask), "imported", self.state)
                for frame in sequence.frames
                if (mask := sequence.masks(frame)[number]).any()
            ]
            self._add(image, _label_of(name), contents)

    def data_set(self, path: Path, job: Job) -> None:
        """A data set of another tool, of which the project has the images."""
        from ultrasam.datasets import custom
        from ultrasam.datasets.file_tree import Skip

        if path.is_file():
            if not custom.is_annotation_file(path):
                raise DataError(
                    f"{path.name} is one file of masks; say which image it belongs to, or give a folder or a "
                    "JSON file of annotations."
                )
            spec, root = custom.annotations_at(path)
        else:
            layouts: dict[str, Any] = {
                "image_mask_folder": custom.image_mask_folder, "coco": custom.coco_file,
                "labelme": custom.labelme_files, "via": custom.via_files,
                "labelstudio": custom.labelstudio_files, "cvat": custom.cvat_files,
            }  # fmt: skip
            spec, root = layouts[custom.detect_layout(path)]("import"), path
        cases, report = spec.list_cases(root)
        cases = list(cases)
        self.notes += [str(skip) for skip in report.skips if skip.damage]
        ids = _Finder(self.project)
        for number, case in enumerate(cases):
            job.progress(number, len(cases))
            image = ids.find(root / case.source)
            if image is None:
                self.notes.append(
                    f"{case.source} is not in this project, or several images are called so."
                )
                continue
            for one in case.images():
                if isinstance(one, Skip):
                    self.notes.append(str(one))
                    continue
                for instance in one.instances:
                    if not instance.ignore:
                        self._add_mask(image, instance.name, one.frame or 0, instance.mask)

    def _add_mask(self, image: int, label: str, frame: int, mask: BoolMask) -> None:
        try:
            size = self._size(image)
        except UltraSamError as error:
            self.notes.append(str(error))
            return
        if mask.shape != size:
            self.notes.append(f"A mask of {label} has another size than its image.")
            return
        content = Content("", frame, encode(np.asarray(mask, bool)), "imported", self.state)
        self._add(image, _label_of(label), [content])

    def _add(self, image: int, label: str | None, contents: list[Content]) -> None:
        from dataclasses import replace

        if not contents:
            return
        with self.project.write():
            known = None if label is None else label_or_new(self.project, label).id
            object = new_object(self.project, image, self.reader, label=known)
            with recorded(
                self.project, image, self.reader, key=str(uuid.uuid4()), kind="import",
                name=f"Import {object.title}", object=object.id, frame=contents[0].frame,
            ) as changes:  # fmt: skip
                changes.set_object(object.id, deleted=0)
                for content in contents:
                    changes.put_mask(replace(content, object=object.id))
        self.masks += len(contents)
        self.objects += 1
        self.images.add(image)

    def _size(self, image: int) -> tuple[int, int]:
        scan = self.scans.scan(image)
        return scan.height, scan.width


class _Finder:
    """Finds a project's image by the path of a file: by its place, or by its name if only one has it."""

    def __init__(self, project: Project) -> None:
        rows = project.rows("SELECT id, path FROM images WHERE missing = 0")
        self._folder = project.folder
        self._by_path = {row["path"]: int(row["id"]) for row in rows}
        names = Counter(name_key(Path(path).name) for path in self._by_path)
        self._by_name = {
            name_key(Path(path).name): id
            for path, id in self._by_path.items()
            if names[name_key(Path(path).name)] == 1
        }

    def find(self, file: Path) -> int | None:
        """The number of an image, or None."""
        resolved = file.resolve()
        if resolved.is_relative_to(self._folder):
            found = self._by_path.get(resolved.relative_to(self._folder).as_posix())
            if found is not None:
                return found
        return self._by_name.get(name_key(file.name))


def _label_of(name: str) -> str | None:
    """The label of an imported name; a bare number of an object is none."""
    name = " ".join(name.split())[:100]
    return None if not name or name.startswith("object") else name
