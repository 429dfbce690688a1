"""CSV and JSON files of raw data, read as people write them."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np

from ultrasam.datasets.file_tree import Entry
from ultrasam.errors import DataError, one_line
from ultrasam.extras import needs

with needs("Reading tables", extra="data"):
    import polars as pl


def parse_json(entry: Entry) -> Any:
    """A JSON file; bytes that are not UTF-8 are read as Latin-1, which keeps ASCII as it is.

    Raises:
        DataError: not JSON.
    """
    data = entry.read()
    try:
        try:
            return json.loads(data.decode("utf-8-sig"))
        except UnicodeDecodeError:
            return json.loads(data.decode("latin-1"))
    except ValueError as error:
        raise DataError(f"{entry.path} is not JSON: {one_line(error)}") from error


def read_table(entry: Entry) -> pl.DataFrame:
    """A CSV file, all columns as text, their names stripped.

    Raises:
        DataError: not a table.
    """
    try:
        data = entry.read().decode("utf-8-sig", errors="replace")
        first = data.partition("\n")[0]
        separator = ";" if first.count(";") > first.count(",") else ","
        table = pl.read_csv(
            io.StringIO(data), separator=separator, infer_schema=False, truncate_ragged_lines=True
        )
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{entry.path} is not a table of comma-separated values: {one_line(error)}"
        ) from error
    return table.rename({name: name.strip() for name in table.columns})


def column(table: pl.DataFrame, entry: Entry, *names: str) -> list[str]:
    """One column's cells as text, by the first of ``names`` that it has, in any case.

    Raises:
        DataError: it has none of them.
    """
    by_name = {name.casefold(): name for name in table.columns}
    for name in names:
        if name.casefold() in by_name:
            cells = table[by_name[name.casefold()]].cast(pl.String).fill_null("")
            return [cell.strip() for cell in cells]
    raise DataError(
        f"{entry.path} has no column '{names[0]}'; it has {', '.join(table.columns) or 'none'}"
    )


def number(text: str) -> float | None:
    """A cell's finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None
