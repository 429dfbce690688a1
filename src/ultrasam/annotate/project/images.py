"""The images of a project: which files its folder holds, and how far each reader is with them.

The folder is listed without opening a picture; sizes and frames are filled in later, as files are read.
"""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ultrasam.annotate.project.project import Project, now
from ultrasam.errors import DataError
from ultrasam.images.mask_names import split_masks
from ultrasam.images.reading import is_dicom, scan_suffixes
from ultrasam.serve.http.problems import NotFoundError
from ultrasam.text import counted, valid_text

EXPORT_FOLDER = "ultrasam-export"
RUNS_FOLDER = "ultrasam-runs"
"""Of exports and of training, inside a project's folder; never read as images."""
States = Literal["new", "started", "done"]
Orders = Literal["name", "uncertainty", "changed"]
_ORDERS = {
    "name": "i.path COLLATE NOCASE, i.path",
    "uncertainty": "i.uncertainty IS NULL, i.uncertainty DESC, i.path",
    "changed": "r.changed IS NULL, r.changed DESC, i.path",
}
_COLUMNS = (
    "i.*, coalesce(r.state, 'new') AS state, coalesce(r.empty, 0) AS empty, "
    "coalesce(r.flagged, 0) AS flagged, coalesce(r.note, '') AS note, r.changed AS changed"
)
_FROM = "FROM images i LEFT JOIN readings r ON r.image = i.id AND r.reader = ?"


@dataclass(frozen=True, slots=True)
class Listing:
    """What a look at the folder found.

    Attributes:
        images: how many images it holds now.
        added, missing: how many are new, and how many of the project are not there any more.
        notes: what was left out, a sentence each.
    """

    images: int
    added: int
    missing: int
    notes: tuple[str, ...]


def update_images(project: Project) -> Listing:
    """Bring the list of images up to date with the folder; what was known of unchanged files stays.

    Masks of images (by their names; see `ultrasam.images.mask_names`), hidden files, and links that lead out
    of the folder are left out.
    """
    files, notes = _files_in(project)
    images, masks = split_masks(list(files))
    if masks:
        notes.append(
            f"Left out {counted(len(masks), 'mask')}, such as {_relative(project, masks[0])}; they can be "
            "imported."
        )
    found = {_relative(project, path): files[path] for path in images}
    known = {
        row["path"]: (row["size"], row["mtime_ns"], row["missing"])
        for row in project.rows("SELECT path, size, mtime_ns, missing FROM images")
    }
    new = [(path, *stat) for path, stat in found.items() if path not in known]
    changed = [
        (*stat, path) for path, stat in found.items() if path in known and known[path] != (*stat, 0)
    ]
    gone = [(path,) for path in known if path not in found]
    with project.write() as connection:
        connection.executemany("INSERT INTO images (path, size, mtime_ns) VALUES (?, ?, ?)", new)
        connection.executemany(
            "UPDATE images SET size = ?, mtime_ns = ?, missing = 0, kind = NULL, width = NULL, "
            "height = NULL, frames = NULL, frame_time = NULL, problem = NULL, digest = NULL "
            "WHERE path = ?",
            changed,
        )
        connection.executemany("UPDATE images SET missing = 1 WHERE path = ?", gone)
    return Listing(len(found), len(new), len(gone), tuple(notes))


def image_row(project: Project, id: int, reader: str) -> sqlite3.Row:
    """One image with its state for a reader.

    Raises:
        NotFoundError: There is no such image.
    """
    row = project.row(f"SELECT {_COLUMNS} {_FROM} WHERE i.id = ?", reader, id)
    if row is None:
        raise NotFoundError(f"Image {id} is not in this project; reload the list.")
    return row


def image_path(project: Project, id: int) -> Path:
    """Where an image's file is, inside the folder.

    Raises:
        NotFoundError: There is no such image, or its file is gone or leads out of the folder by now.
    """
    row = project.row("SELECT path FROM images WHERE id = ?", id)
    if row is None:
        raise NotFoundError(f"Image {id} is not in this project; reload the list.")
    path = project.folder / str(row["path"])
    if not path.is_file():
        raise NotFoundError(f"{row['path']} is not in the folder any more; copy it back.")
    if not path.resolve().is_relative_to(project.folder):
        raise DataError(f"{row['path']} leads out of the project's folder; copy the file into it.")
    return path


def image_by_path(project: Project, path: Path) -> int | None:
    """The number of the image that a file in the folder is, or None.

    Args:
        path: resolved.
    """
    if not path.is_relative_to(project.folder):
        return None
    row = project.row(
        "SELECT id FROM images WHERE missing = 0 AND path = ?", _relative(project, path)
    )
    return None if row is None else int(row["id"])


def find_images(
    project: Project,
    reader: str,
    *,
    state: str | None = None,
    flagged: bool | None = None,
    label: str | None = None,
    text: str | None = None,
    order: Orders = "name",
    offset: int = 0,
    limit: int = 100,
) -> tuple[int, list[sqlite3.Row]]:
    """How many images match, and some of them.

    Args:
        state: for the reader.
        label: the name of a label that one of the reader's objects has.
        text: a part of the name.
    """
    where, values = ["i.missing = 0"], list[Any]()
    if state is not None:
        where.append("coalesce(r.state, 'new') = ?")
        values.append(state)
    if flagged is not None:
        where.append("coalesce(r.flagged, 0) = ?")
        values.append(int(flagged))
    if label is not None:
        where.append(
            "EXISTS (SELECT 1 FROM objects o JOIN labels l ON l.id = o.label WHERE o.image = i.id "
            "AND o.reader = ? AND o.deleted = 0 AND l.name = ?)"
        )
        values += [reader, label]
    if text:
        where.append("i.path LIKE ? ESCAPE '\\'")
        escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        values.append(f"%{escaped}%")
    condition = " AND ".join(where)
    total = project.row(f"SELECT count(*) AS n {_FROM} WHERE {condition}", reader, *values)
    rows = project.rows(
        f"SELECT {_COLUMNS}, (SELECT count(*) FROM objects o WHERE o.image = i.id AND o.reader = ? "
        f"AND o.deleted = 0) AS objects {_FROM} WHERE {condition} ORDER BY {_ORDERS[order]} "
        "LIMIT ? OFFSET ?",
        reader, reader, *values, limit, offset,
    )  # fmt: skip
    return (0 if total is None else int(total["n"])), rows


def state_counts(project: Project, reader: str) -> dict[str, int]:
    """How many images are in each state for a reader."""
    counts = dict.fromkeys(("new", "started", "done"), 0)
    for row in project.rows(
        f"SELECT coalesce(r.state, 'new') AS state, count(*) AS n {_FROM} WHERE i.missing = 0 GROUP BY 1",
        reader,
    ):
        counts[row["state"]] = row["n"]
    return counts


def set_facts(project: Project, id: int, facts: dict[str, Any]) -> None:
    """Note what reading a file has shown: kind, width, height, frames, frame_time, problem, digest or
    uncertainty."""
    columns = ", ".join(f"{name} = ?" for name in facts)
    with project.write() as connection:
        connection.execute(f"UPDATE images SET {columns} WHERE id = ?", (*facts.values(), id))


def set_reading(project: Project, image: int, reader: str, values: dict[str, Any]) -> None:
    """Set the state, the flags or the note of an image for a reader."""
    with project.write() as connection:
        connection.execute(
            "INSERT OR IGNORE INTO readings (image, reader) VALUES (?, ?)", (image, reader)
        )
        columns = ", ".join(f"{name} = ?" for name in values)
        connection.execute(
            f"UPDATE readings SET {columns}, changed = ? WHERE image = ? AND reader = ?",
            (*values.values(), now(), image, reader),
        )


def _files_in(project: Project) -> tuple[dict[Path, tuple[int, int]], list[str]]:
    """The files below the folder that may be images, with size and time of change, and notes."""
    files: dict[Path, tuple[int, int]] = {}
    suffixes, outside, notes = scan_suffixes(), 0, list[str]()
    folders = [project.folder]
    while folders:
        folder = folders.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            notes.append(f"Left out {_relative(project, folder)}: {error.strerror}.")
            continue
        for entry in entries:
            if entry.name.startswith(".") or entry.name in (EXPORT_FOLDER, RUNS_FOLDER):
                continue
            path = Path(entry.path)
            if entry.name != valid_text(entry.name):
                notes.append(
                    f"Left out {_relative(project, path)}: its name is not UTF-8; rename it."
                )
            elif entry.is_symlink() and not path.resolve().is_relative_to(project.folder):
                outside += 1
            elif entry.is_dir():
                if not entry.is_symlink():  # what it leads to is in the folder, and listed there
                    folders.append(path)
            elif entry.is_file() and _may_be_image(path, entry.name, suffixes):
                stat = entry.stat()
                files[path] = stat.st_size, stat.st_mtime_ns
    if outside:
        notes.append(
            f"Left out {counted(outside, 'link')} that lead{'s' * (outside == 1)} out of the folder; copy "
            "the files into it."
        )
    return files, notes


def _may_be_image(path: Path, name: str, suffixes: tuple[str, ...]) -> bool:
    if name.lower().endswith(suffixes):
        return True
    # DICOM files often have names without a suffix, or with numbers after their dots.
    return not path.suffix.strip(".").isalpha() and is_dicom(path)


def _relative(project: Project, path: Path) -> str:
    return valid_text(path.relative_to(project.folder).as_posix())
