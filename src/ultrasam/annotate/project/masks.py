"""Masks of objects in frames: contents that never change, and which content a mask has now."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ultrasam.annotate.project.project import Project, now

State = Literal["draft", "accepted"]
Source = Literal["prompt", "hand", "propagated", "interpolated", "suggested", "imported"]
BY_PERSON: frozenset[Source] = frozenset({"prompt", "hand"})
"""Sources of masks that a person has made, and so has looked at."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One mask that the model offered for a prompt, as it was before any edit by hand.

    Attributes:
        rle: COCO's compressed RLE.
        predicted_iou: the model's estimate of its IoU with the truth.
    """

    rle: str
    predicted_iou: float


@dataclass(frozen=True, slots=True)
class Content:
    """The mask of an object in a frame, and where it comes from.

    Attributes:
        object, frame: whose.
        rle: the mask, COCO's compressed RLE in the frame's pixels.
        source: what made it.
        state: ``draft`` if the machine made it and nobody has accepted it yet.
        confidence: 0 to 1; None for what was drawn by hand.
        added, removed: RLE of the pixels that were added and removed by hand; None if there are none.
        prompts: what a person gave the model, in order: ``{"points": [[x, y, label], …], "box": …}``.
        candidates: what the model offered for them.
        candidate: which of these is taken.
        logits: the model's logits for the mask (float16, zlib), for its next prompt.
        model: name and hash of the model's weights.
        basis: of a propagated or interpolated mask, what it depends on; see `basis_of`.
        saved: when, ISO 8601.
        id: its number in the project file, the mask's version; 0 until it is stored.
    """

    object: str
    frame: int
    rle: str
    source: Source
    state: State
    confidence: float | None = None
    added: str | None = None
    removed: str | None = None
    prompts: tuple[dict[str, Any], ...] = ()
    candidates: tuple[Candidate, ...] = ()
    candidate: int = 0
    logits: bytes | None = None
    model: str | None = None
    basis: str | None = None
    saved: str = ""
    id: int = 0

    @property
    def hash(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of the RLE."""
        return hashlib.sha256(self.rle.encode()).hexdigest()[:16]

    @property
    def is_key(self) -> bool:
        """Whether propagation goes out from it and never changes it."""
        return self.state == "accepted"

    @property
    def is_edited(self) -> bool:
        """Whether pixels were added or removed by hand."""
        return self.added is not None or self.removed is not None


def insert_content(project: Project, content: Content) -> Content:
    """Store a content; returns it with its number and time."""
    content = replace(content, saved=now())
    with project.write() as connection:
        cursor = connection.execute(
            "INSERT INTO contents (object, frame, state, source, confidence, rle, added, removed, prompts, "
            "candidates, candidate, logits, model, basis, saved) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                content.object, content.frame, content.state, content.source, content.confidence,
                content.rle, content.added, content.removed, json.dumps(content.prompts),
                json.dumps([[one.rle, one.predicted_iou] for one in content.candidates]),
                content.candidate, content.logits, content.model, content.basis, content.saved,
            ),
        )  # fmt: skip
    return replace(content, id=int(cursor.lastrowid or 0))


def mask_of(project: Project, object: str, frame: int) -> Content | None:
    """The mask that an object has in a frame now, or None."""
    row = project.row(
        "SELECT c.* FROM masks m JOIN contents c ON c.id = m.content WHERE m.object = ? AND m.frame = ?",
        object, frame,
    )  # fmt: skip
    return None if row is None else _content(row)


def content_by_id(project: Project, id: int) -> Content:
    """A stored content."""
    row = project.row("SELECT * FROM contents WHERE id = ?", id)
    assert row is not None, f"no content {id}"
    return _content(row)


def masks_of(project: Project, object: str) -> list[Content]:
    """All masks of an object, by frame."""
    rows = project.rows(
        "SELECT c.* FROM masks m JOIN contents c ON c.id = m.content WHERE m.object = ? ORDER BY m.frame",
        object,
    )
    return [_content(row) for row in rows]


def masks_in(project: Project, image: int, reader: str, *, first: int, last: int) -> list[Content]:
    """The masks of a reader's objects in some frames of an image, in the objects' order."""
    rows = project.rows(
        "SELECT c.* FROM masks m JOIN contents c ON c.id = m.content JOIN objects o ON o.id = m.object "
        "WHERE o.image = ? AND o.reader = ? AND o.deleted = 0 AND m.frame BETWEEN ? AND ? "
        "ORDER BY m.frame, o.place, o.number",
        image, reader, first, last,
    )  # fmt: skip
    return [_content(row) for row in rows]


def basis_of(drawn: Sequence[tuple[int, str]], frame: int) -> str:
    """What a propagated or interpolated mask depends on: the nearest drawn mask on each side.

    A mask whose basis is not this any more is stale.

    Args:
        drawn: of the object, from `drawn_frames`.
        frame: of the mask.
    """
    before = [one for one in drawn if one[0] < frame]
    after = [one for one in drawn if one[0] > frame]
    return json.dumps([before[-1] if before else None, after[0] if after else None])


def drawn_frames(project: Project, object: str) -> list[tuple[int, str]]:
    """The frames in which an object's mask is not derived from those of other frames, each with its hash.

    A derived mask that was accepted as it is does not count: it says nothing new about its neighbors.
    """
    return [
        (mask.frame, mask.hash)
        for mask in masks_of(project, object)
        if mask.source not in ("propagated", "interpolated")
    ]


def _content(row: sqlite3.Row) -> Content:
    return Content(
        object=row["object"],
        frame=row["frame"],
        rle=row["rle"],
        source=row["source"],
        state=row["state"],
        confidence=row["confidence"],
        added=row["added"],
        removed=row["removed"],
        prompts=tuple(json.loads(row["prompts"])),
        candidates=tuple(Candidate(*one) for one in json.loads(row["candidates"])),
        candidate=row["candidate"],
        logits=row["logits"],
        model=row["model"],
        basis=row["basis"],
        saved=row["saved"],
        id=row["id"],
    )
