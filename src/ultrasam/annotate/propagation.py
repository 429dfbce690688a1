"""Carry a reader's objects from the frames that they marked to those around, as drafts."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

from ultrasam.annotate.jobs import CanceledError, Job
from ultrasam.annotate.project.history import Recording, go_on, recorded
from ultrasam.annotate.project.masks import Content, basis_of, drawn_frames, mask_of, masks_of
from ultrasam.annotate.project.objects import Object, objects_of
from ultrasam.annotate.project.project import Project
from ultrasam.annotate.scans import Scans
from ultrasam.annotate.strokes import own_object
from ultrasam.errors import DataError
from ultrasam.images.rle import decode
from ultrasam.inference.tracking.corrector import FrameNetwork
from ultrasam.inference.tracking.keys import ObjectKeys, Segment
from ultrasam.inference.tracking.passes import Tools
from ultrasam.inference.tracking.propagate import BACKWARDS, Masks, Progress, propagate
from ultrasam.inference.tracking.results import FrameMask, Origin, between
from ultrasam.inference.tracking.source import FrameSource
from ultrasam.text import counted

Direction = Literal["both", "forward", "backward"]
_EVERY_S = 1.0  # between two writes of a running job


def propagate_objects(
    project: Project,
    scans: Scans,
    job: Job,
    *,
    image: int,
    reader: str,
    objects: Sequence[str] | None,
    frame: int,
    direction: Direction,
) -> dict[str, Any]:
    """Carry objects by optical flow to the next key frame in each direction, or to the end of the scan.

    Key frames are those that a person has drawn or accepted, and ``frame``; they are never changed. Masks are
    written as they come. Where an object is lost, its drafts end, and the reason is in the result.

    Args:
        objects: ids; None takes all that have a mask in ``frame``.

    Returns:
        ``frames``, how many masks each object got, and ``notes``, sentences.

    Raises:
        CanceledError: The user canceled the job; its argument is the result so far.
        DataError: There is nothing to propagate.
        ScanError: The image cannot be read.
    """
    scan = scans.scan(image)
    if scan.num_frames == 1:
        raise DataError("The image has one frame only; there is nothing to propagate to.")
    chosen = _chosen(project, image, reader, objects, frame)
    keys = [_keys(project, object.id, frame) for object in chosen]
    segments = [
        segment
        for number, of_object in enumerate(keys)
        for segment in of_object.segments(number, scan.num_frames)
        if _is_asked(segment, frame, direction)
    ]
    if not segments:
        raise DataError(
            f"There is nothing to propagate from frame {frame} in this direction: the next frames are key "
            "frames."
        )
    writer = _Writer(project, image, reader, chosen, segments, frame)
    network = FrameNetwork(_no_network)
    tools = Tools(FrameSource(scan), network, "off")
    at = Progress()
    try:
        steps = propagate(
            tools, keys, segments, on_progress=lambda done, total, /, **_: job.progress(done, total)
        )
        for at in steps:
            writer.offer(at.masks, at.sweep)
        writer.finish(at.masks)
    except CanceledError as error:
        writer.flush(at.masks)
        raise CanceledError(writer.result([], "Canceled; the masks so far are kept.")) from error
    notes = [
        f"{chosen[stop.object].title} has no mask from frame {stop.frame} "
        f"{'on' if stop.frame >= stop.key else 'back'}: {stop.reason}."
        for stop in at.stops
    ]
    return writer.result([*tools.source.unreadable.values(), *notes], None)


def interpolate(
    project: Project,
    scans: Scans,
    *,
    image: int,
    reader: str,
    object: str,
    first: int,
    last: int,
    key: str,
) -> list[int]:
    """Fill the frames between the key frames of an object by their signed distances, as drafts.

    Args:
        first, last: key frames outside are left alone.
        key: of the stroke.

    Returns:
        The frames that were filled.

    Raises:
        DataError: The range holds fewer than two key frames, or no frame between them.
    """
    one = own_object(project, object, image, reader)
    scan = scans.scan(image)
    shape = (scan.height, scan.width)
    keys = [
        mask for mask in masks_of(project, object) if mask.is_key and first <= mask.frame <= last
    ]
    if len(keys) < 2:
        raise DataError(
            f"{one.title} has {counted(len(keys), 'accepted mask')} between frames {first} and {last}; "
            "interpolation needs two."
        )
    drawn = drawn_frames(project, object)
    filled = []
    name = f"Interpolate {one.title} from frame {keys[0].frame} to {keys[-1].frame}"
    with recorded(
        project, image, reader, key=key, kind="interpolate", name=name, object=object, frame=first
    ) as changes:
        for before, after in pairwise(keys):
            masks = decode(before.rle, shape), decode(after.rle, shape)
            for frame in range(before.frame + 1, after.frame):
                part = (frame - before.frame) / (after.frame - before.frame)
                found = FrameMask.of(between(*masks, part), 0.0, Origin("interpolated", ()))
                changes.put_mask(
                    Content(
                        object,
                        frame,
                        found.counts,
                        "interpolated",
                        "draft",
                        basis=basis_of(drawn, frame),
                    )
                )
                filled.append(frame)
    if not filled:
        raise DataError(f"The key frames of {one.title} have no frames between them.")
    return filled


@dataclass(slots=True, eq=False)
class _Writer:
    """Writes masks that a job finds, object by object, each under one stroke."""

    project: Project
    image: int
    reader: str
    objects: Sequence[Object]
    segments: Sequence[Segment]
    frame: int
    _known: dict[tuple[int, int], int | None] = field(default_factory=dict)
    _drawn: list[list[tuple[int, str]]] = field(default_factory=list)
    _written: dict[tuple[int, int], FrameMask] = field(default_factory=dict)
    _strokes: dict[int, int] = field(default_factory=dict)
    _last: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._drawn = [drawn_frames(self.project, one.id) for one in self.objects]
        for segment in self.segments:
            for frame in range(segment.first, segment.last + 1):
                now = mask_of(self.project, self.objects[segment.object].id, frame)
                self._known[segment.object, frame] = None if now is None else now.id

    def offer(self, masks: Masks, sweep: int) -> None:
        """Write the masks that will not change any more, from time to time."""
        if time.monotonic() - self._last >= _EVERY_S:
            self.flush(masks, final_only=sweep)

    def flush(self, masks: Masks, *, final_only: int = BACKWARDS) -> None:
        """Write what is new.

        Raises:
            CanceledError: What the job wrote was undone.
        """
        self._last = time.monotonic()
        new = list(self._new(masks, final_only))
        for number in dict.fromkeys(number for number, _, _ in new):
            with self.project.write(), self._stroke(number) as changes:
                for _, frame, mask in (one for one in new if one[0] == number):
                    self._put(changes, number, frame, mask)

    def finish(self, masks: Masks) -> None:
        """Write the rest, and take away drafts of earlier runs where this one found nothing."""
        self.flush(masks)
        for (number, frame), known in self._known.items():
            if known is None or (number, frame) in self._written:
                continue
            now = mask_of(self.project, self.objects[number].id, frame)
            if now is not None and now.id == known and now.state == "draft":
                with self.project.write(), self._stroke(number) as changes:
                    changes.remove_mask(self.objects[number].id, frame)

    def result(self, notes: list[str], sentence: str | None) -> dict[str, Any]:
        """What the page is told."""
        counts: dict[str, int] = {}
        for number, _ in self._written:
            id = self.objects[number].id
            counts[id] = counts.get(id, 0) + 1
        told = ", ".join(
            f"{one.title} in {counted(counts.get(one.id, 0), 'frame')}" for one in self.objects
        )
        sentence = sentence or f"Propagated {told}. {' '.join(notes)}".strip()
        return {"frames": counts, "notes": notes, "sentence": sentence}

    def _new(self, masks: Masks, sweep: int) -> Iterator[tuple[int, int, FrameMask]]:
        for segment in self.segments:
            blended = segment.before is not None and segment.after is not None
            if blended and sweep != BACKWARDS:
                continue
            for frame, mask in masks.get(segment.object, {}).items():
                inside = segment.first <= frame <= segment.last
                if inside and self._written.get((segment.object, frame)) is not mask:
                    yield segment.object, frame, mask

    def _put(self, changes: Recording, number: int, frame: int, mask: FrameMask) -> None:
        object = self.objects[number].id
        now = mask_of(self.project, object, frame)
        if (None if now is None else now.id) != self._known[number, frame]:
            return  # a person has changed it since
        source: Literal["propagated", "interpolated"] = (
            "interpolated" if mask.origin.source == "interpolated" else "propagated"
        )
        stored = changes.put_mask(
            Content(
                object, frame, mask.counts, source, "draft", confidence=mask.confidence,
                basis=basis_of(self._drawn[number], frame),
            )
        )  # fmt: skip
        self._known[number, frame] = stored.id
        self._written[number, frame] = mask

    def _stroke(self, number: int) -> Any:
        if number in self._strokes:
            return _Going(go_on(self.project, self._strokes[number]))
        return _Beginning(self, number)


class _Going:
    """More changes of a stroke."""

    def __init__(self, changes: Recording | None) -> None:
        self._changes = changes

    def __enter__(self) -> Recording:
        if self._changes is None:
            raise CanceledError({"sentence": "Stopped, because what it had made was undone."})
        return self._changes

    def __exit__(self, *_: object) -> None:
        pass


class _Beginning:
    """The first changes of an object's stroke."""

    def __init__(self, writer: _Writer, number: int) -> None:
        one = writer.objects[number]
        self._writer, self._number = writer, number
        self._block = recorded(
            writer.project, writer.image, writer.reader, key=str(uuid.uuid4()), kind="propagate",
            name=f"Propagate {one.title} from frame {writer.frame}", object=one.id, frame=writer.frame,
            action=next(iter(writer._strokes.values()), None),
        )  # fmt: skip

    def __enter__(self) -> Recording:
        self._changes = self._block.__enter__()
        return self._changes

    def __exit__(self, *error: Any) -> None:
        self._block.__exit__(*error)
        if self._changes.changed and error[0] is None:
            self._writer._strokes[self._number] = self._changes.id


def _chosen(
    project: Project, image: int, reader: str, objects: Sequence[str] | None, frame: int
) -> list[Object]:
    if objects is None:
        found = [
            one
            for one in objects_of(project, image, reader)
            if mask_of(project, one.id, frame) is not None
        ]
        if not found:
            raise DataError(f"No object has a mask in frame {frame}; mark one there first.")
        return found
    found = [own_object(project, id, image, reader) for id in dict.fromkeys(objects)]
    for one in found:
        if not masks_of(project, one.id):
            raise DataError(f"{one.title} has no mask in any frame; mark it first.")
    return found


def _keys(project: Project, object: str, frame: int) -> ObjectKeys:
    masks = [mask for mask in masks_of(project, object) if mask.is_key or mask.frame == frame]
    return ObjectKeys(
        {mask.frame: FrameMask(mask.rle, 1.0, Origin("key", (mask.frame,))) for mask in masks}
    )


def _is_asked(segment: Segment, frame: int, direction: Direction) -> bool:
    if segment.first <= frame <= segment.last:
        return True
    forward = segment.before == frame and direction != "backward"
    return forward or (segment.after == frame and direction != "forward")


def _no_network() -> Any:
    raise AssertionError("the flow needs no network")
