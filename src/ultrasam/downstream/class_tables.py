"""A CSV file that lists images and their classes, as spreadsheets and people save it.

Any common encoding and separator is read. Each row is used, or left out with its line and the reason.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from ultrasam.datasets.split_names import split_of
from ultrasam.downstream.class_files import ClassFile, ClassImages, readable, spelling_key
from ultrasam.errors import DataError, one_line
from ultrasam.images.reading import scan_suffixes
from ultrasam.text import decode_text, name_key

_SEPARATORS = (",", ";", "\t", "|")
_COLUMNS = {
    "path": ("path",),
    "label": ("label",),
    "subject": ("subject", "subject_id", "patient", "patient_id"),
    "split": ("split",),
}
# How spreadsheets and statistics programs write an empty cell.
_EMPTY = {"", "nan", "na", "n/a", "#n/a", "null", "-", "?"}
Line = tuple[int, list[str]]


def read_class_table(path: Path) -> ClassImages:
    """The images that a table lists, and the rows that are left out.

    Paths are relative to the table, with any slashes, Unicode form and case, and may lack the suffix.

    Args:
        path: a CSV file with the columns path and label, and optionally subject and split.

    Raises:
        DataError: The file cannot be read, is not CSV, or lacks one of the required columns.
    """
    try:
        text = decode_text(path.read_bytes())
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}.") from error
    columns, width, lines = _table(path, text)
    found: list[ClassFile] = []
    left_out: list[str] = []
    for number, cells in lines:
        where = f"{path.name}, line {number}"
        try:
            found.append(_file(path.parent, where, _row(cells, columns, width)))
        except DataError as error:
            left_out.append(f"{where}: {error}")
    files, doubtful = _once(found)
    read = readable(files)
    return replace(read, left_out=(*left_out, *doubtful, *read.left_out))


def _table(path: Path, text: str) -> tuple[dict[str, int], int, list[Line]]:
    """The places of the columns, the number of cells of the header, and the rows with their lines."""
    seen: list[str] = []
    for separator in _SEPARATORS:
        header = _header(text, separator)
        columns = _places(path, header)
        if {"path", "label"} <= set(columns):
            _, *rows = _without_note(_lines(path, text, separator))
            return columns, len(header), rows
        seen = max(seen, header, key=len)
    raise DataError(
        f"{path} has the columns {', '.join(filter(None, seen)) or 'none'}; 'path' and 'label' are required, "
        "'subject' and 'split' are optional."
    )


def _header(text: str, separator: str) -> list[str]:
    """The cells of the first row as this separator divides it, in small letters; none if it is not CSV."""
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        filled = [(0, cells) for cells in islice((r for r in rows if "".join(r).strip()), 2)]
    except csv.Error:
        return []
    first = _without_note(filled)[:1]
    return [cell.strip().casefold() for _, cells in first for cell in cells]


def _without_note(lines: list[Line]) -> list[Line]:
    """The rows without Excel's note on the separator, ``sep=;``."""
    return lines[1:] if lines and lines[0][1][0].casefold().startswith("sep=") else lines


def _lines(path: Path, text: str, separator: str) -> list[Line]:
    """All rows that are not empty, with the lines on which they end."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    found: list[Line] = []
    begins = 1
    try:
        for cells in rows:
            if any("\n" in cell or "\r" in cell for cell in cells):
                raise DataError(
                    f"{path}, line {begins}: a quotation mark is not closed on this line; correct the file."
                )
            if any(cell.strip() for cell in cells):
                found.append((rows.line_num, cells))
            begins = rows.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path}, line {begins}: {one_line(error)}; correct the quotation marks on this line, or save "
            "the table again as CSV."
        ) from error
    return found


def _places(path: Path, header: Sequence[str]) -> dict[str, int]:
    places = {}
    for column, names in _COLUMNS.items():
        indices = [index for index, name in enumerate(header) if name in names]
        if len(indices) > 1:
            raise DataError(
                f"{path} has {len(indices)} columns that give the {column}; keep one of them."
            )
        if indices:
            places[column] = indices[0]
    return places


def _row(cells: list[str], columns: dict[str, int], width: int) -> dict[str, str]:
    """The values of a row by column.

    Raises:
        DataError: The number of cells is wrong, or the path or the label is empty.
    """
    while len(cells) > width and not cells[-1].strip():
        cells = cells[:-1]
    if len(cells) != width:
        raise DataError(f"{len(cells)} cells, but the header has {width}")
    row = {column: cells[place].strip() for column, place in columns.items()}
    if not row["path"]:
        raise DataError("no path")
    if row["label"].casefold() in _EMPTY:
        raise DataError(f"no label for {row['path']}")
    return row


def _file(folder: Path, where: str, row: dict[str, str]) -> ClassFile:
    split = split_of(row.get("split", ""))
    if split not in ("train", "val", "test") and row.get("split"):
        raise DataError(f"the split '{row['split']}' is not train, val or test")
    path = find_file(folder, row["path"])
    return ClassFile(
        path,
        row["path"].replace("\\", "/"),
        row["label"],
        row.get("subject") or None,
        split,
        where,
    )


def find_file(folder: Path, text: str) -> Path:
    """The file that a path in a table means.

    Args:
        folder: of the table.
        text: relative to it, or absolute; slashes, Unicode form, case and a missing suffix are forgiven.

    Raises:
        DataError: There is no such file, or there are several.
    """
    if "\0" in text:
        raise DataError("the path has a zero byte")
    for spelling in (text, text.replace("\\", "/")):
        try:
            if (folder / spelling).is_file():
                return folder / spelling
        except OSError:  # such as a name that is too long
            continue
    places = [Path(folder.anchor) if text.startswith("/") else folder]
    *parents, name = Path(text.replace("\\", "/").lstrip("/")).parts or ("",)
    for part in parents:
        places = [inner for place in places for inner in _named(place, part) if inner.is_dir()]
    inside = [file for place in places for file in _named(place, name) if file.is_file()]
    if not inside:
        inside = [file for place in places for file in _with_stem(place, name)]
    if len(inside) > 1:
        names = ", ".join(sorted(file.name for file in inside)[:3])
        raise DataError(f"{text} may be any of {names}")
    if not inside:
        raise DataError(f"{text} does not exist")
    return inside[0]


def _named(folder: Path, name: str) -> list[Path]:
    if name == "..":
        return [folder.parent]
    return [path for path in _listed(folder) if name_key(path.name) == name_key(name)]


def _with_stem(folder: Path, name: str) -> list[Path]:
    keys = {name_key(name) + suffix for suffix in scan_suffixes()}
    return [path for path in _listed(folder) if path.is_file() and name_key(path.name) in keys]


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _once(files: Sequence[ClassFile]) -> tuple[list[ClassFile], list[str]]:
    """Each file once, and the rows left out: repeated ones, and all of a file with several labels."""
    by_path: dict[Path, list[ClassFile]] = defaultdict(list)
    for file in files:
        by_path[file.path.resolve()].append(file)
    kept, left_out = [], []
    for same in by_path.values():
        first, *others = same
        labels = sorted({file.label for file in same})
        if len({spelling_key(label) for label in labels}) > 1:
            left_out += [
                f"{file.where}: {file.name} has several labels, {', '.join(labels)}"
                for file in same
            ]
            continue
        kept.append(first)
        line = first.where.rpartition(", ")[2]
        left_out += [f"{file.where}: {file.name} is listed before, in {line}" for file in others]
    return kept, left_out
