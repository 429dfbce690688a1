"""The log of a run: a CSV file that a resumed run continues, and that a full disk does not spoil."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ultrasam.errors import UltraSamError
from ultrasam.extras import needs
from ultrasam.files import atomic_write

with needs("Training", extra="train"):
    from lightning.pytorch.loggers import Logger
    from lightning.pytorch.utilities import rank_zero_only

logger = logging.getLogger(__name__)

_ROWS_PER_WRITE = 100


class RunLog(Logger):
    """Writes one row per logged step to ``metrics.csv``, always the whole file.

    Args:
        first_step: the step from which the run is resumed; later rows are logged again.
    """

    def __init__(self, file: Path, *, first_step: int = 0) -> None:
        super().__init__()
        self.file = file
        self._rows: list[Mapping[str, Any]] = [
            row for row in read_log(file) if int(row["step"]) < first_step
        ]
        self._written, self._warned = len(self._rows), False

    @property
    def name(self) -> str:
        """Name of the log."""
        return "log"

    @property
    def version(self) -> str:
        """A run has one log."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: Any, *arguments: Any, **options: Any) -> None:
        """Nothing: the recipe is saved beside the log."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Add a row."""
        self._rows.append({**{name: float(v) for name, v in metrics.items()}, "step": step or 0})
        if len(self._rows) - self._written >= _ROWS_PER_WRITE:
            self.save()

    @rank_zero_only
    def save(self) -> None:
        """Write all rows; warn once if that is impossible."""
        names = sorted({name for row in self._rows for name in row})
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, names)
        writer.writeheader()
        writer.writerows(self._rows)
        try:
            atomic_write(self.file, text.getvalue())
        except UltraSamError as error:
            if not self._warned:
                logger.warning("%s. Training goes on without its log.", str(error).rstrip("."))
            self._warned = True
        self._written = len(self._rows)

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """Write what belongs to the steps of a checkpoint, so that a run killed later keeps it."""
        self.save()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the rows that are left."""
        if len(self._rows) > self._written:
            self.save()


def read_log(file: Path) -> list[dict[str, str]]:
    """The rows of a log that have a step; none if there is no log."""
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as lines:
        return [row for row in csv.DictReader(lines) if (row.get("step") or "").isdigit()]
