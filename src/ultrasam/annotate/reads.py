"""Several readers of one image: how far they agree, and what is decided where they do not.

A reader's masks are never changed by another. What is decided is copied to objects of a reader of their own,
``adjudication``, each with who decided and when.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from ultrasam.annotate.project.history import recorded
from ultrasam.annotate.project.masks import masks_of
from ultrasam.annotate.project.objects import new_object, object_by_id, objects_of
from ultrasam.annotate.project.project import Project, now
from ultrasam.annotate.project.readers import ADJUDICATION
from ultrasam.annotate.scans import Scans
from ultrasam.errors import DataError
from ultrasam.images.masks import BoolMask
from ultrasam.images.rle import decode
from ultrasam.serve.http.problems import NotFoundError

Masks = dict[tuple[str, str, int], BoolMask]
"""By reader, label and frame."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two readers agree on a label in an image.

    Attributes:
        readers: both.
        label: the name of the label, or "object" for objects without one.
        frames: in which at least one of them has it.
        dice: mean over these frames; 0 where only one has it.
        hd95: the mean 95th percentile of the distances between their borders, over the frames in which both
            have it; None if there are none.
        unit: of the distance, ``mm`` or ``px``.
        missed: frames in which only one of them has it.
    """

    readers: tuple[str, str]
    label: str
    frames: int
    dice: float
    hd95: float | None
    unit: str
    missed: int


def agreement(project: Project, scans: Scans, image: int) -> list[Agreement]:
    """The agreement of each pair of readers on each label, on masks that were made or accepted by them.

    Raises:
        DataError: The image has objects of fewer than two readers.
        MissingDependencyError: SciPy is not installed.
    """
    from ultrasam.evaluation.metrics.masks import compute_metrics
    from ultrasam.measure.calibration import calibration_of

    scan = scans.scan(image)
    masks = _by_label(project, image, (scan.height, scan.width))
    readers = sorted({reader for reader, _, _ in masks if reader != ADJUDICATION})
    if len(readers) < 2:
        raise DataError(
            f"{_count(readers)} accepted masks in this image; agreement needs two readers."
        )
    found = []
    for first, second in combinations(readers, 2):
        for label in sorted({label for reader, label, _ in masks if reader in (first, second)}):
            frames = sorted(
                {at for reader, of, at in masks if of == label and reader in (first, second)}
            )
            dices, distances, units, missed = [], [], set(), 0
            for frame in frames:
                a, b = masks.get((first, label, frame)), masks.get((second, label, frame))
                if a is None or b is None:
                    dices.append(0.0)
                    missed += 1
                    continue
                known = calibration_of(scan, a | b)
                measured = compute_metrics(a, b, spacing=known.spacing)
                dices.append(measured.dice)
                distances.append(measured.hd95)
                units.add("mm" if known.calibrated else "px")
            # A mean of millimeters and pixels has no unit.
            hd95 = float(np.mean(distances)) if len(units) == 1 else math.nan
            found.append(
                Agreement(
                    (first, second), label, len(frames), round(float(np.mean(dices)), 4),
                    round(hd95, 4) if math.isfinite(hd95) else None,
                    units.pop() if len(units) == 1 else "px", missed,
                )
            )  # fmt: skip
    return found


def adjudicate(
    project: Project, image: int, judge: str, *, choices: Sequence[str], remove: Sequence[str] = ()
) -> list[str]:
    """Decide for objects of readers: each is copied, with all its accepted masks, to the adjudication.

    Args:
        choices: the ids of objects of any reader.
        remove: ids of objects of the adjudication, to take back.

    Returns:
        The ids of the copies.

    Raises:
        NotFoundError: An object does not exist.
        DataError: An object is of another image, is of the adjudication (or is not, to be removed), has no
            accepted mask, or was chosen already.
    """
    made = []
    with project.write() as connection:
        for id in remove:
            one = object_by_id(project, id)
            if one.image != image or one.reader != ADJUDICATION:
                raise DataError(f"The object '{one.title}' is not of this image's adjudication.")
            with _stroke(project, image, id, f"Take back {one.title}, by {judge}") as changes:
                changes.set_object(id, deleted=1)
            connection.execute("DELETE FROM adjudications WHERE object = ?", (id,))
        for id in choices:
            one = object_by_id(project, id)
            if one.image != image:
                raise NotFoundError(f"The object '{one.title}' is not in this image.")
            if one.reader == ADJUDICATION:
                raise DataError(f"The object '{one.title}' is of the adjudication already.")
            masks = [mask for mask in masks_of(project, id) if mask.state == "accepted"]
            if not masks:
                raise DataError(f"The object '{one.title}' of {one.reader} has no accepted mask.")
            if project.row("SELECT 1 FROM adjudications WHERE source = ?", id) is not None:
                raise DataError(f"The object '{one.title}' of {one.reader} was chosen already.")
            copy = new_object(project, image, ADJUDICATION, label=one.label)
            name = f"Choose {one.title} of {one.reader}, by {judge}"
            with _stroke(project, image, copy.id, name) as changes:
                changes.set_object(copy.id, deleted=0, color=one.color)
                for mask in masks:
                    changes.put_mask(replace(mask, object=copy.id))
            connection.execute(
                "INSERT INTO adjudications VALUES (?, ?, ?, ?, ?)",
                (copy.id, id, one.reader, judge, now()),
            )
            made.append(copy.id)
    return made


def adjudications(project: Project, image: int) -> list[dict[str, Any]]:
    """What was decided in an image: the object, its source, whose that is, who decided and when."""
    rows = project.rows(
        "SELECT a.* FROM adjudications a JOIN objects o ON o.id = a.object "
        "WHERE o.image = ? AND o.deleted = 0 ORDER BY a.time",
        image,
    )
    return [
        {
            "object": row["object"], "source": row["source"], "reader": row["source_reader"],
            "judge": row["judge"], "time": row["time"],
        }
        for row in rows
    ]  # fmt: skip


def _by_label(project: Project, image: int, shape: tuple[int, int]) -> Masks:
    """The union of a reader's accepted masks of a label, in each frame that has one."""
    found: Masks = {}
    for object in objects_of(project, image):
        for mask in masks_of(project, object.id):
            if mask.state != "accepted":
                continue
            key = object.reader, object.label_name or "object", mask.frame
            decoded = decode(mask.rle, shape)
            found[key] = found[key] | decoded if key in found else decoded
    return found


def _stroke(project: Project, image: int, object: str, name: str) -> Any:
    return recorded(
        project,
        image,
        ADJUDICATION,
        key=str(uuid.uuid4()),
        kind="adjudicate",
        name=name,
        object=object,
    )


def _count(readers: Sequence[str]) -> str:
    return f"Only {readers[0]} has" if readers else "No reader has"
