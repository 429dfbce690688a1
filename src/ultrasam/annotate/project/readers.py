"""The readers of a project, by name."""

from __future__ import annotations

from ultrasam.annotate.project.project import Project, now
from ultrasam.errors import DataError

ADJUDICATION = "adjudication"
"""The reader of the masks that several readers agreed on."""
_LONGEST = 60


def readers_of(project: Project) -> list[str]:
    """The names of all readers, and of all who have objects."""
    rows = project.rows("SELECT name FROM readers UNION SELECT reader FROM objects ORDER BY 1")
    return [str(row[0]) for row in rows]


def reader_name(name: str) -> str:
    """A name without needless spaces.

    Raises:
        DataError: It is empty, too long, cannot be printed, or is that of the adjudication.
    """
    name = " ".join(name.split())
    if not 1 <= len(name) <= _LONGEST or not name.isprintable():
        raise DataError(f"A reader's name has 1 to {_LONGEST} characters that can be printed.")
    if name.casefold() == ADJUDICATION:
        raise DataError(f"'{ADJUDICATION}' is the name of what readers agree on; choose another.")
    return name


def add_reader(project: Project, name: str) -> str:
    """Add a reader if it is new; returns the name.

    Raises:
        DataError: As in `reader_name`.
    """
    name = reader_name(name)
    with project.write() as connection:
        connection.execute("INSERT OR IGNORE INTO readers VALUES (?, ?)", (name, now()))
    return name
