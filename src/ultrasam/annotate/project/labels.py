"""The labels of a project: what objects can be called."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass

from ultrasam.annotate.project.project import Project
from ultrasam.errors import DataError
from ultrasam.serve.http.problems import NotFoundError
from ultrasam.text import counted

# Okabe and Ito's colors that stand out on a dark ultrasound image.
PALETTE = (
    "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#999999",
)  # fmt: skip
_LONGEST = 100
_DIGITS = "1234567890"
_COLOR = re.compile(r"#[0-9A-Fa-f]{6}")


@dataclass(frozen=True, slots=True)
class Label:
    """What an object can be called.

    Attributes:
        id: its number.
        name: for people and exports.
        color: of new objects, ``#RRGGBB``.
        key: on the keyboard; None if it has none.
    """

    id: int
    name: str
    color: str
    key: str | None


def labels_of(project: Project) -> list[Label]:
    """All labels in the order in which they were made."""
    return [
        Label(*row) for row in project.rows("SELECT id, name, color, key FROM labels ORDER BY id")
    ]


def label_or_new(project: Project, name: str) -> Label:
    """A label by its name; added if there is none yet, with the first digit that is free as its key.

    Raises:
        DataError: The name is empty or too long.
    """
    name = _checked_name(name)
    row = project.row("SELECT id, name, color, key FROM labels WHERE name = ?", name)
    if row is not None:
        return Label(*row)
    taken = {label.key for label in labels_of(project)}
    return add_label(
        project, name, key=next((digit for digit in _DIGITS if digit not in taken), None)
    )


def add_label(
    project: Project, name: str, *, color: str | None = None, key: str | None = None
) -> Label:
    """Add a label; without a color, it gets the next one of `PALETTE`.

    Raises:
        DataError: The name is empty, too long or taken, or the color or the key is invalid.
    """
    name = _checked_name(name)
    with project.write() as connection:
        taken = labels_of(project)
        color = _checked_color(color or PALETTE[len(taken) % len(PALETTE)])
        _check_key(taken, key, None)
        try:
            cursor = connection.execute(
                "INSERT INTO labels (name, color, key) VALUES (?, ?, ?)", (name, color, key)
            )
        except sqlite3.IntegrityError as error:
            raise DataError(f"There is a label '{name}' already.") from error
        return Label(int(cursor.lastrowid or 0), name, color, key)


def change_label(project: Project, id: int, changes: dict[str, str | None]) -> Label:
    """Change the name, color or key of a label; its objects keep their own colors.

    Raises:
        NotFoundError: There is no such label, or as in `add_label`.
    """
    with project.write() as connection:
        label = _label(project, id)
        name = _checked_name(changes.get("name") or label.name)
        color = _checked_color(changes.get("color") or label.color)
        key = changes.get("key", label.key)
        _check_key(labels_of(project), key, id)
        try:
            connection.execute(
                "UPDATE labels SET name = ?, color = ?, key = ? WHERE id = ?",
                (name, color, key, id),
            )
        except sqlite3.IntegrityError as error:
            raise DataError(f"There is a label '{name}' already.") from error
    return Label(id, name, color, key)


def delete_label(project: Project, id: int) -> None:
    """Delete a label that no object has or had: undoing a stroke may bring it back.

    Raises:
        NotFoundError: There is no such label, or objects have it.
    """
    with project.write() as connection:
        label = _label(project, id)
        row = connection.execute(
            "SELECT count(DISTINCT target) FROM changes WHERE kind = 'object' AND "
            "(json_extract(before, '$.label') = ?1 OR json_extract(after, '$.label') = ?1)", (id,)
        ).fetchone()  # fmt: skip
        if row[0]:
            raise DataError(
                f"{counted(row[0], 'object')} {'has' if row[0] == 1 else 'have'} or had the label "
                f"'{label.name}', which their history needs; rename it instead."
            )
        connection.execute("DELETE FROM labels WHERE id = ?", (id,))


def _label(project: Project, id: int) -> Label:
    row = project.row("SELECT id, name, color, key FROM labels WHERE id = ?", id)
    if row is None:
        raise NotFoundError(f"There is no label {id}.")
    return Label(*row)


def _checked_name(name: str) -> str:
    name = " ".join(name.split())
    if not name or len(name) > _LONGEST:
        raise DataError(f"A label's name has 1 to {_LONGEST} characters; '{name[:20]}' does not.")
    if not name.isprintable():
        raise DataError("A label's name holds characters that cannot be printed; type it anew.")
    return name


def _checked_color(color: str) -> str:
    if not _COLOR.fullmatch(color):
        raise DataError(f"'{color[:20]}' is not a color; write it as #E69F00.")
    return color.upper()


def _check_key(taken: list[Label], key: str | None, id: int | None) -> None:
    for label in taken:
        if key is not None and label.key == key and label.id != id:
            raise DataError(f"The key {key} is that of the label '{label.name}'; choose another.")
