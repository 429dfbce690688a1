"""Apply strokes: what each kind of action changes, checked against what the page has seen."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from ultrasam.annotate import requests as asked
from ultrasam.annotate.drawing import brush_mask, polygon_interior
from ultrasam.annotate.layers import Edits
from ultrasam.annotate.problems import ConflictError
from ultrasam.annotate.project.history import Stroke, recorded, stroke_by_key
from ultrasam.annotate.project.images import image_row
from ultrasam.annotate.project.labels import label_or_new
from ultrasam.annotate.project.masks import Content, State, mask_of, masks_of
from ultrasam.annotate.project.objects import Object, new_object, object_by_id, objects_of
from ultrasam.annotate.project.project import Project
from ultrasam.annotate.prompting import edits_of, layer, prompted
from ultrasam.annotate.scans import Scans
from ultrasam.annotate.segmentation import Segmentation
from ultrasam.annotate.wire import mask_from_json
from ultrasam.errors import DataError, PromptError
from ultrasam.images.rle import decode, encode, is_empty

_ON_MASKS = (
    asked.PromptStroke, asked.CandidateStroke, asked.BrushStroke, asked.PolygonStroke, asked.MaskStroke,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tools:
    """What strokes need.

    Attributes:
        project, scans, segmentation: the open project's.
    """

    project: Project
    scans: Scans
    segmentation: Segmentation


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a stroke did.

    Attributes:
        stroke: as it is recorded; None if it changed nothing.
        object: that it is about, or None for the image itself.
        frame: in which.
        changed: the objects that it changed, if it is about all.
    """

    stroke: Stroke | None
    object: str | None
    frame: int
    changed: tuple[str, ...] = ()


def apply_stroke(tools: Tools, image: int, reader: str, stroke: asked.StrokeRequest) -> Outcome:
    """Apply and record a stroke; one whose key is recorded already is not applied again.

    Raises:
        ConflictError: The page has not seen the latest mask.
        DataError: The image, object or label does not exist, is another reader's, or the key was used for
            another stroke.
        PromptError: What was drawn or clicked is invalid, or the model finds nothing.
        ScanError, CheckpointError: The image or the model cannot be read.
    """
    digest = hashlib.sha256(f"{image} {reader} {stroke.model_dump_json()}".encode()).hexdigest()[
        :32
    ]
    earlier = stroke_by_key(tools.project, stroke.key)
    if earlier is not None:
        if earlier.digest != digest:
            raise DataError(
                f"The key {stroke.key} was used for another stroke; use a new one for each."
            )
        return Outcome(earlier, earlier.object, stroke.frame)
    image_row(tools.project, image, reader)
    object = None
    if stroke.object is not None:
        object = own_object(tools.project, stroke.object, image, reader)
    about = _About(tools, image, reader, object, stroke, digest)
    if isinstance(stroke, _ON_MASKS):
        return about.change_mask()
    if isinstance(stroke, asked.AcceptStroke):
        return about.accept()
    if isinstance(
        stroke, (asked.ObjectStroke, asked.LabelStroke, asked.ColorStroke, asked.OrderStroke)
    ):
        return about.change_object()
    return about.change_reading()


def own_object(project: Project, id: str, image: int, reader: str) -> Object:
    """An object that a reader may change.

    Raises:
        DataError: It does not exist, is in another image, or is another reader's.
    """
    found = object_by_id(project, id)
    if found.image != image:
        raise DataError(f"The object '{found.title}' is not in this image; load the image again.")
    if found.reader != reader:
        raise DataError(
            f"The object '{found.title}' is {found.reader}'s; only {found.reader} can change it. Copy it as "
            "one of yours."
        )
    return found


@dataclass(slots=True)
class _About:
    tools: Tools
    image: int
    reader: str
    object: Object | None
    stroke: Any
    digest: str

    def recording(
        self, name: str, object: str | None, *, key: str | None = None, action: int | None = None
    ) -> Any:
        return recorded(
            self.tools.project, self.image, self.reader, key=key or self.stroke.key, digest=self.digest,
            kind=self.stroke.kind, name=name, object=object, frame=self.stroke.frame, action=action,
        )  # fmt: skip

    def outcome(self, object: str | None, changed: Iterable[str] = ()) -> Outcome:
        found = stroke_by_key(self.tools.project, self.stroke.key)
        return Outcome(found, object, self.stroke.frame, tuple(changed))

    def change_mask(self) -> Outcome:
        project, stroke, object = self.tools.project, self.stroke, self.object
        before = None if object is None else mask_of(project, object.id, stroke.frame)
        self._check_version(before)
        self._check_frame()
        label = getattr(stroke, "label", None)
        content = self._new_content(before)
        if before is not None and content.rle == before.rle and content.prompts == before.prompts:
            return self.outcome(_id(object))
        erased = is_empty(content.rle)
        with project.write():
            if object is not None:
                now = mask_of(project, object.id, stroke.frame)
                if (now and now.id) != (before and before.id):
                    raise self._conflict(object)
            label_id = label_or_new(project, label).id if label is not None and not object else None
            target = object or new_object(project, self.image, self.reader, label=label_id)
            with self.recording(
                _name(stroke, target.title, new=object is None), target.id
            ) as changes:
                if object is None:
                    changes.set_object(target.id, deleted=0)
                if erased:
                    changes.remove_mask(target.id, stroke.frame)
                else:
                    changes.put_mask(replace(content, object=target.id))
        return self.outcome(target.id)

    def accept(self) -> Outcome:
        project, stroke = self.tools.project, self.stroke
        wanted: State = "accepted" if stroke.kind == "accept" else "draft"
        objects = [self.object] if self.object else objects_of(project, self.image, self.reader)
        first, last = stroke.frame, stroke.frame
        if stroke.frames == "all":
            first, last = 0, 2**31
        elif stroke.frames != "this":
            first, last = sorted(stroke.frames)
        verb = "Accept" if wanted == "accepted" else "Take back the acceptance of"
        changed, action = list[str](), None
        with project.write():
            for object in objects:
                masks = [
                    mask
                    for mask in masks_of(project, object.id)
                    if first <= mask.frame <= last and mask.state != wanted
                ]
                if not masks:
                    continue
                where = f"frame {masks[0].frame}" if len(masks) == 1 else f"{len(masks)} frames"
                key = stroke.key if action is None else str(uuid.uuid4())
                with self.recording(
                    f"{verb} {object.title} in {where}", object.id, key=key, action=action
                ) as changes:
                    for mask in masks:
                        changes.put_mask(replace(mask, state=wanted))
                action = action or changes.id
                changed.append(object.id)
        return self.outcome(_id(self.object), changed)

    def change_object(self) -> Outcome:
        project, stroke, object = self.tools.project, self.stroke, self.object
        assert object is not None
        with self.recording(_name(stroke, object.title), object.id) as changes:
            if stroke.kind == "clear":
                changes.remove_mask(object.id, stroke.frame)
            elif stroke.kind == "delete":
                changes.set_object(object.id, deleted=1)
            elif stroke.kind == "label":
                label = None if stroke.label is None else label_or_new(project, stroke.label)
                color = {} if label is None else {"color": label.color}
                changes.set_object(object.id, label=label and label.id, **color)
            elif stroke.kind == "color":
                changes.set_object(object.id, color=stroke.color.upper())
            else:
                changes.set_object(object.id, place=stroke.order)
        return self.outcome(object.id)

    def change_reading(self) -> Outcome:
        project, stroke = self.tools.project, self.stroke
        with self.recording(_name(stroke, ""), None) as changes:
            if stroke.kind == "empty":
                if stroke.value and objects_of(project, self.image, self.reader):
                    raise DataError(
                        "The image has objects; delete them before saying that nothing is here."
                    )
                changes.set_reading(
                    empty=int(stroke.value), state="done" if stroke.value else "started"
                )
            elif stroke.kind == "note":
                changes.set_reading(note=stroke.text)
            elif stroke.kind == "flag":
                changes.set_reading(flagged=int(stroke.value))
            else:
                changes.set_reading(state=stroke.state)
        return self.outcome(None)

    def _new_content(self, before: Content | None) -> Content:
        stroke, tools = self.stroke, self.tools
        id = self.object.id if self.object else ""
        if isinstance(stroke, asked.PromptStroke):
            return prompted(
                tools.segmentation, self.image, stroke.frame, [stroke.prompt.as_dict()], object=id,
                so_far=before,
            ).content  # fmt: skip
        scan = tools.scans.scan(self.image)
        shape = (scan.height, scan.width)
        edits = edits_of(before, shape)
        if isinstance(stroke, asked.CandidateStroke):
            if before is None or stroke.index >= len(before.candidates):
                raise PromptError("The mask has no such candidate; click once more for new ones.")
            one = before.candidates[stroke.index]
            return replace(
                before, rle=encode(edits.on(decode(one.rle, shape))), candidate=stroke.index,
                confidence=one.predicted_iou, state="accepted", source="prompt",
            )  # fmt: skip
        return _drawn(stroke, before, edits, shape, id)

    def _check_version(self, before: Content | None) -> None:
        object = self.object
        if object is not None and (before and before.id) != self.stroke.base_version:
            raise self._conflict(object)

    def _conflict(self, object: Object) -> ConflictError:
        return ConflictError(
            f"The mask of '{object.title}' in frame {self.stroke.frame} was changed in another tab or by a "
            "job; it is loaded now, repeat the stroke if it is still needed.",
            object.id, self.stroke.frame,
        )  # fmt: skip

    def _check_frame(self) -> None:
        count = self.tools.scans.scan(self.image).num_frames
        if self.stroke.frame >= count:
            raise DataError(
                f"Frame {self.stroke.frame} does not exist; the image has {count}, from 0."
            )


def _id(object: Object | None) -> str | None:
    return None if object is None else object.id


def _drawn(
    stroke: Any, before: Content | None, edits: Edits, shape: tuple[int, int], object: str
) -> Content:
    """The mask after a stroke of the brush, a polygon or a paste."""
    old = decode(before.rle, shape) if before is not None else Edits.none(shape).added
    mode: Literal["replace", "add", "erase"]
    if isinstance(stroke, asked.BrushStroke):
        drawn, mode = brush_mask(stroke.path, stroke.radius, shape), stroke.mode
    elif isinstance(stroke, asked.PolygonStroke):
        drawn, mode = polygon_interior(stroke.points, shape), stroke.mode
    else:
        drawn, mode = mask_from_json(stroke.mask.box, stroke.mask.runs, shape), "replace"
    if mode == "add":
        new, edits = old | drawn, edits.with_added(drawn & ~old)
    elif mode == "erase":
        new, edits = old & ~drawn, edits.with_removed(drawn & old)
    else:
        new, edits = drawn, edits.with_removed(old & ~drawn).with_added(drawn & ~old)
    if not new.any() and before is None:
        raise PromptError("What was drawn covers no pixel of the frame; draw inside it.")
    if before is None or before.state == "draft":
        # The machine's own mask is nothing that a hand has drawn; what is kept of it is.
        edits = Edits(new, edits.removed)
    return Content(
        object=object,
        frame=stroke.frame,
        rle=encode(new),
        source="hand",
        state="accepted",
        prompts=before.prompts if before is not None else (),
        candidates=before.candidates if before is not None else (),
        candidate=before.candidate if before is not None else 0,
        logits=before.logits if before is not None else None,
        model=before.model if before is not None else None,
        added=layer(edits.added),
        removed=layer(edits.removed),
    )


def _name(stroke: Any, title: str, *, new: bool = False) -> str:
    """What the page says that undo undoes."""
    kind = stroke.kind
    if kind == "prompt":
        prompt = stroke.prompt
        if prompt.box is not None:
            return f"Box on {title}"
        x, y, label = prompt.points[-1]
        return f"{'Click' if label else 'Removing click'} at {x:.0f}, {y:.0f} on {title}"
    if kind in ("brush", "polygon"):
        what = "Brush" if kind == "brush" else "Polygon"
        return f"Erase from {title}" if stroke.mode == "erase" else f"{what} on {title}"
    if kind == "note":
        return "Note"
    if kind == "flag":
        return "Flag" if stroke.value else "Remove flag"
    if kind == "empty":
        return "Nothing here" if stroke.value else "Not empty"
    if kind == "state":
        return "Mark as done" if stroke.state == "done" else "Mark as not done"
    if kind == "label":
        return f"Label {title} as {stroke.label}" if stroke.label else f"Remove label of {title}"
    if kind == "clear":
        return f"Clear {title} in frame {stroke.frame}"
    words = {
        "candidate": "Other candidate for", "mask": "Paste", "color": "Color of", "order": "Order of",
        "delete": "Delete",
    }  # fmt: skip
    return f"{words[kind]} {title}"
