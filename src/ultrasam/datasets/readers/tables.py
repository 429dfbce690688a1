"""Read CSV and JSON files leniently: any encoding, separator and column case."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ultrasam.datasets.file_tree import FileEntry
from ultrasam.errors import DataError, one_line
from ultrasam.extras import needs
from ultrasam.text import decode_text

with needs("Reading tables", extra="data"):
    import polars as pl


def parse_json(entry: FileEntry) -> Any:
    """Parse a JSON file in any common encoding.

    Raises:
        DataError: The file is not JSON.
    """
    try:
        return json.loads(decode_text(entry.read()))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{entry.path} is not valid JSON: {one_line(error)}") from error


def read_table(entry: FileEntry) -> pl.DataFrame:
    """Read a CSV file with all columns as text and column names stripped.

    Raises:
        DataError: The file is not a table.
    """
    try:
        data = decode_text(entry.read())
        first = data.partition("\n")[0]
        separator = ";" if first.count(";") > first.count(",") else ","
        table = pl.read_csv(
            io.StringIO(data), separator=separator, infer_schema=False, truncate_ragged_lines=True
        )
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{entry.path} is not a valid CSV file: {one_line(error)}") from error
    return table.rename({name: name.strip() for name in table.columns})


def column(table: pl.DataFrame, entry: FileEntry, *names: str) -> list[str]:
    """The cells of the first of the columns ``names`` that the table has, as stripped text.

    Args:
        table: the table.
        entry: its file, for the error message.
        names: column names to try in order; case is ignored.

    Raises:
        DataError: The table has none of these columns.
    """
    by_name = {name.casefold(): name for name in table.columns}
    for name in names:
        if name.casefold() in by_name:
            cells = table[by_name[name.casefold()]].cast(pl.String).fill_null("")
            return [cell.strip() for cell in cells]
    raise DataError(
        f"{entry.path} has no column '{names[0]}'; its columns are {', '.join(table.columns) or 'none'}."
    )


def measurements(
    table: pl.DataFrame, entry: FileEntry, key: str, names: Mapping[str, str]
) -> dict[str, dict[str, float]]:
    """What a table states as measured, by the text in the column ``key``.

    Args:
        table: the table.
        entry: its file, for the error message.
        key: the column that names the image or recording.
        names: maps columns to the names of measurements; a column that the table lacks, and a cell without a
            positive number, measure nothing.

    Raises:
        DataError: The table has no column ``key``.
    """
    found: dict[str, dict[str, float]] = {text: {} for text in column(table, entry, key)}
    there = {name.casefold() for name in table.columns}
    for head, name in names.items():
        if head.casefold() not in there:
            continue
        cells = zip(column(table, entry, key), column(table, entry, head), strict=True)
        for text, cell in cells:
            value = number(cell)
            if value is not None and value > 0:
                found[text][name] = value
    return found


def number(text: str) -> float | None:
    """The number in a cell; None if it is not finite or not a number."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None
