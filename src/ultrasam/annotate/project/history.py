"""Strokes and their history: each action of a reader is recorded with what it changed, and can be undone.

A stroke keeps, for every mask, object or reading that it changed, the state before and after. Undo is without
limit, by image or by object, and survives restarts. An action that changes several objects is one stroke for
each of them under one action number: undone together in the image's history, and alone in an object's.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from ultrasam.annotate.problems import NothingToUndoError
from ultrasam.annotate.project.images import set_reading
from ultrasam.annotate.project.masks import Content, insert_content, mask_of
from ultrasam.annotate.project.objects import Object, fields_of, object_by_id, set_fields
from ultrasam.annotate.project.project import Project, now

_READING = ("state", "empty", "flagged", "note")
_ENTRIES = 200  # that a look at an image's history gives


@dataclass(frozen=True, slots=True)
class Stroke:
    """One action of a reader.

    Attributes:
        id: its number in the project.
        key: the client's, unique.
        digest: of the request, by which another one with the same key is noticed.
        kind: such as ``prompt``.
        name: for people, such as ``Click at 120, 80 on lesion``.
        object: which it changed, or None for the image itself.
        frame: in which, or None.
        action: the number of the first stroke of the same action.
        time: ISO 8601.
        undone: whether it is.
    """

    id: int
    key: str
    digest: str
    kind: str
    name: str
    object: str | None
    frame: int | None
    action: int
    time: str
    undone: bool


@dataclass(slots=True)
class Recording:
    """A stroke on its way; its methods change the project and note what was there before.

    Attributes:
        project, image, reader, object: what it is about.
        id: the stroke's number.
        changed: whether anything has changed so far.
    """

    project: Project
    image: int
    reader: str
    object: str | None
    id: int
    changed: bool = False
    _objects: dict[str, Object] = field(default_factory=dict)

    def put_mask(self, content: Content) -> Content:
        """Give an object a mask in a frame; returns what is stored."""
        before = mask_of(self.project, content.object, content.frame)
        stored = insert_content(self.project, replace(content, id=0))
        _point(self.project, content.object, content.frame, stored.id)
        self._note("mask", content.object, content.frame, before and before.id, stored.id)
        return stored

    def remove_mask(self, object: str, frame: int) -> None:
        """Take an object's mask in a frame away, if it has one."""
        before = mask_of(self.project, object, frame)
        if before is not None:
            _point(self.project, object, frame, None)
            self._note("mask", object, frame, before.id, None)

    def set_object(self, id: str, **fields: Any) -> None:
        """Change fields of an object; see `fields_of`."""
        before = fields_of(object_by_id(self.project, id, deleted=True))
        after = {**before, **fields}
        if after != before:
            set_fields(self.project, id, after)
            self._note("object", id, None, before, after)

    def set_reading(self, **values: Any) -> None:
        """Change the state, the flags or the note of the image for the reader."""
        before = reading_of(self.project, self.image, self.reader)
        after = {**before, **values}
        if after != before:
            set_reading(self.project, self.image, self.reader, after)
            self._note("reading", str(self.image), None, before, after)

    def _note(self, kind: str, target: str, frame: int | None, before: Any, after: Any) -> None:
        self.changed = True
        with self.project.write() as connection:
            connection.execute(
                "INSERT INTO changes (stroke, kind, target, frame, before, after) VALUES (?, ?, ?, ?, ?, ?)",
                (self.id, kind, target, frame, json.dumps(before), json.dumps(after)),
            )


@contextmanager
def recorded(
    project: Project,
    image: int,
    reader: str,
    *,
    key: str,
    kind: str,
    name: str,
    digest: str = "",
    object: str | None = None,
    frame: int | None = None,
    action: int | None = None,
) -> Iterator[Recording]:
    """Record a stroke: all of it is on disk when the block ends, or none of it if the block raises.

    A block that changes nothing records nothing. What was undone of the same object cannot be redone after.

    Args:
        action: the number of the first stroke of the same action, if this is not the first.
    """
    with project.write() as connection:
        id = connection.execute(
            "INSERT INTO strokes (image, reader, key, digest, kind, name, object, frame, action, time) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (image, reader, key, digest, kind, name, object, frame, action or 0, now()),
        ).lastrowid
        assert id is not None
        recording = Recording(project, image, reader, object, id)
        yield recording
        if not recording.changed:
            connection.execute("DELETE FROM strokes WHERE id = ?", (id,))
            return
        if action is None:
            connection.execute("UPDATE strokes SET action = id WHERE id = ?", (id,))
        connection.execute(
            "UPDATE strokes SET dropped = 1 WHERE image = ? AND reader = ? AND undone IS NOT NULL "
            "AND object IS ?",
            (image, reader, object),
        )
        if kind not in ("state", "empty"):
            _begin(project, image, reader)


def go_on(project: Project, stroke: int) -> Recording | None:
    """Record more changes under a stroke of a running job; None if it is undone by now."""
    row = project.row("SELECT * FROM strokes WHERE id = ? AND undone IS NULL", stroke)
    if row is None:
        return None
    return Recording(project, row["image"], row["reader"], row["object"], stroke)


def stroke_by_key(project: Project, key: str) -> Stroke | None:
    """The stroke of a key, if it is recorded."""
    row = project.row("SELECT * FROM strokes WHERE key = ?", key)
    return None if row is None else _stroke(row)


def undo(
    project: Project, image: int, reader: str, object: str | None = None, *, again: bool = False
) -> list[Stroke]:
    """Undo the latest action in an image, or the latest stroke of one object; or redo the latest undone one.

    Args:
        again: redo.

    Returns:
        The strokes that were undone or redone.

    Raises:
        NothingToUndoError: There is none.
    """
    with project.write() as connection:
        first = _next(project, image, reader, object, again=again)
        if first is None:
            what = "redo" if again else "undo"
            where = "in this image" if object is None else "of this object"
            raise NothingToUndoError(f"There is nothing to {what} {where}.")
        strokes = [first]
        if object is None:
            condition = (
                "undone = (SELECT undone FROM strokes WHERE id = ?)" if again else "undone IS NULL"
            )
            rows = project.rows(
                f"SELECT * FROM strokes WHERE action = ? AND dropped = 0 AND {condition} ORDER BY id",
                first.action, *([first.id] if again else []),
            )  # fmt: skip
            strokes = [_stroke(row) for row in rows]
        order = 1 + int(
            connection.execute("SELECT coalesce(max(undone), 0) FROM strokes").fetchone()[0]
        )
        for stroke in strokes if again else reversed(strokes):
            _apply(project, stroke.id, image, reader, again=again)
            connection.execute(
                "UPDATE strokes SET undone = ? WHERE id = ?", (None if again else order, stroke.id)
            )
    return strokes


@dataclass(frozen=True, slots=True)
class History:
    """What can be undone and redone.

    Attributes:
        undo, redo: the name of the next stroke to undo or redo, or None.
        entries: the latest strokes, oldest first.
    """

    undo: str | None
    redo: str | None
    entries: tuple[Stroke, ...]


def history_of(project: Project, image: int, reader: str, *, entries: bool = False) -> History:
    """The history of an image for a reader; its entries only if asked for."""
    next_undo = _next(project, image, reader, None, again=False)
    next_redo = _next(project, image, reader, None, again=True)
    rows: list[sqlite3.Row] = []
    if entries:
        rows = project.rows(
            "SELECT * FROM strokes WHERE image = ? AND reader = ? AND dropped = 0 ORDER BY id DESC LIMIT ?",
            image, reader, _ENTRIES,
        )  # fmt: skip
    return History(
        None if next_undo is None else next_undo.name,
        None if next_redo is None else next_redo.name,
        tuple(_stroke(row) for row in reversed(rows)),
    )


def changed_by(project: Project, strokes: Sequence[int]) -> list[tuple[str, int | None]]:
    """The (object, frame) pairs that strokes changed; frame None for the object itself."""
    marks = ", ".join("?" * len(strokes))
    rows = project.rows(
        f"SELECT DISTINCT target, frame FROM changes WHERE stroke IN ({marks}) AND kind != 'reading'",
        *strokes,
    )
    return [(row["target"], row["frame"]) for row in rows]


def content_after(project: Project, stroke: int, object: str, frame: int) -> int | None:
    """The number of the content that a stroke gave an object in a frame; None if it gave none."""
    row = project.row(
        "SELECT after FROM changes WHERE stroke = ? AND kind = 'mask' AND target = ? AND frame = ? "
        "ORDER BY id DESC", stroke, object, frame,
    )  # fmt: skip
    return None if row is None else json.loads(row["after"])


def reading_of(project: Project, image: int, reader: str) -> dict[str, Any]:
    """The state, the flags and the note of an image for a reader, as history keeps them."""
    row = project.row("SELECT * FROM readings WHERE image = ? AND reader = ?", image, reader)
    if row is None:
        return dict(zip(_READING, ("new", 0, 0, ""), strict=True))
    return {name: row[name] for name in _READING}


def _begin(project: Project, image: int, reader: str) -> None:
    if reading_of(project, image, reader)["state"] == "new":
        set_reading(project, image, reader, {"state": "started"})
    else:
        set_reading(project, image, reader, {"reader": reader})  # only the time of the change


def _next(
    project: Project, image: int, reader: str, object: str | None, *, again: bool
) -> Stroke | None:
    mine, values = ("", []) if object is None else ("AND object = ?", [object])
    condition = (
        "undone IS NOT NULL ORDER BY undone DESC, id"
        if again
        else "undone IS NULL ORDER BY id DESC"
    )
    row = project.row(
        f"SELECT * FROM strokes WHERE image = ? AND reader = ? AND dropped = 0 {mine} AND {condition}",
        image, reader, *values,
    )  # fmt: skip
    return None if row is None else _stroke(row)


def _apply(project: Project, stroke: int, image: int, reader: str, *, again: bool) -> None:
    rows = project.rows("SELECT * FROM changes WHERE stroke = ? ORDER BY id", stroke)
    for row in rows if again else reversed(rows):
        value = json.loads(row["after" if again else "before"])
        if row["kind"] == "mask":
            _point(project, row["target"], row["frame"], value)
        elif row["kind"] == "object":
            set_fields(project, row["target"], value)
        else:
            set_reading(project, image, reader, value)


def _point(project: Project, object: str, frame: int, content: int | None) -> None:
    with project.write() as connection:
        if content is None:
            connection.execute("DELETE FROM masks WHERE object = ? AND frame = ?", (object, frame))
        else:
            connection.execute(
                "INSERT OR REPLACE INTO masks VALUES (?, ?, ?)", (object, frame, content)
            )


def _stroke(row: sqlite3.Row) -> Stroke:
    return Stroke(
        row["id"], row["key"], row["digest"], row["kind"], row["name"], row["object"], row["frame"],
        row["action"], row["time"], row["undone"] is not None,
    )  # fmt: skip
