"""The objects that a reader has marked in an image."""

from __future__ import annotations

import sqlite3
import uuid
from dataclasses import dataclass
from typing import Any

from ultrasam.annotate.project.labels import PALETTE
from ultrasam.annotate.project.project import Project, now
from ultrasam.serve.http.problems import NotFoundError

_COLUMNS = (
    "o.id, o.image, o.reader, o.number, o.label, l.name AS label_name, o.color, o.place, o.deleted"
)
_FROM = "FROM objects o LEFT JOIN labels l ON l.id = o.label"


@dataclass(frozen=True, slots=True)
class Object:
    """What a reader has marked, in one or more frames.

    Attributes:
        id: unique in the world.
        image, reader: whose.
        number: from 1, within the image and reader; never used again.
        label: the number of its label, or None.
        label_name: its name.
        color: ``#RRGGBB``.
        place: in the order in which objects are drawn, the last on top.
        deleted: whether it was deleted; undoing brings it back.
    """

    id: str
    image: int
    reader: str
    number: int
    label: int | None
    label_name: str | None
    color: str
    place: int
    deleted: bool

    @property
    def title(self) -> str:
        """What people call it: its label, or its number."""
        return self.label_name or f"object {self.number}"


def objects_of(project: Project, image: int, reader: str | None = None) -> list[Object]:
    """The objects in an image, those of one reader or of all, in their order."""
    condition, values = ("AND o.reader = ?", [reader]) if reader is not None else ("", [])
    rows = project.rows(
        f"SELECT {_COLUMNS} {_FROM} WHERE o.image = ? AND o.deleted = 0 {condition} "
        "ORDER BY o.reader, o.place, o.number",
        image, *values,
    )  # fmt: skip
    return [_object(row) for row in rows]


def object_by_id(project: Project, id: str, *, deleted: bool = False) -> Object:
    """One object.

    Args:
        deleted: also if it is deleted.

    Raises:
        NotFoundError: There is no such object, or it is deleted.
    """
    row = project.row(f"SELECT {_COLUMNS} {_FROM} WHERE o.id = ?", id)
    if row is None:
        raise NotFoundError(f"There is no object {id[:40]} in this project; load the image again.")
    found = _object(row)
    if found.deleted and not deleted:
        raise NotFoundError(f"The object '{found.title}' is deleted; undo to bring it back.")
    return found


def new_object(project: Project, image: int, reader: str, *, label: int | None = None) -> Object:
    """Insert an object; it counts as deleted until a stroke's change says otherwise."""
    with project.write() as connection:
        row = connection.execute(
            "SELECT coalesce(max(number), 0), coalesce(max(place), -1) FROM objects "
            "WHERE image = ? AND reader = ?", (image, reader)
        ).fetchone()  # fmt: skip
        number = int(row[0]) + 1
        color = PALETTE[(number - 1) % len(PALETTE)]
        if label is not None:
            color = connection.execute(
                "SELECT color FROM labels WHERE id = ?", (label,)
            ).fetchone()[0]
        id = str(uuid.uuid4())
        connection.execute(
            "INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, 1, ?)",
            (id, image, reader, number, label, color, int(row[1]) + 1, now()),
        )
    return object_by_id(project, id, deleted=True)


def fields_of(object: Object) -> dict[str, Any]:
    """What strokes change of an object, as history keeps it."""
    return {
        "label": object.label, "color": object.color, "place": object.place, "deleted": int(object.deleted),
    }  # fmt: skip


def set_fields(project: Project, id: str, fields: dict[str, Any]) -> None:
    """Set what `fields_of` gives."""
    with project.write() as connection:
        connection.execute(
            "UPDATE objects SET label = :label, color = :color, place = :place, deleted = :deleted "
            "WHERE id = :id",
            {**fields, "id": id},
        )


def _object(row: sqlite3.Row) -> Object:
    return Object(
        row["id"], row["image"], row["reader"], row["number"], row["label"], row["label_name"],
        row["color"], row["place"], bool(row["deleted"]),
    )  # fmt: skip
