"""What a run reports: its progress, and the score before its first step."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from ultrasam.errors import UltraSamError
from ultrasam.extras import needs
from ultrasam.files import write_json
from ultrasam.progress import OnProgress

with needs("Training", extra="train"):
    import lightning
    from lightning.pytorch.callbacks import Callback

logger = logging.getLogger(__name__)

START = "start.json"


class StepProgress(Callback):
    """Calls back after each step, in the first process only."""

    def __init__(self, on_progress: OnProgress) -> None:
        self.on_progress = on_progress
        self.scores: dict[str, float] = {}

    def on_train_batch_end(
        self, trainer: lightning.Trainer, task: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report the step."""
        if not trainer.is_global_zero:
            return
        # Reading a score makes a GPU finish its step, so it is read only when it is logged too.
        step, every = trainer.global_step, trainer.log_every_n_steps  # type: ignore[attr-defined]
        if step % every == 0 or step == trainer.max_steps:
            self.scores = {name: float(v) for name, v in trainer.progress_bar_metrics.items()}
        self.on_progress(step, trainer.max_steps, **self.scores)


class StartScore(Callback):
    """Takes the scores of the initial weights, logs them as step 0, and keeps them for when a run is resumed.

    Args:
        monitor: name of the score.
        folder: of the run.
    """

    def __init__(self, monitor: str, folder: Path | None) -> None:
        self.monitor = monitor
        self.file = None if folder is None else folder / START
        self._score: float | None = None

    @property
    def score(self) -> float | None:
        """The score before training; None if it is unknown."""
        if self._score is None and self.file is not None and self.file.exists():
            try:
                self._score = float(json.loads(self.file.read_text(encoding="utf-8"))[self.monitor])
            except (OSError, ValueError, KeyError, TypeError):
                return None
        return self._score

    def on_sanity_check_end(self, trainer: lightning.Trainer, task: Any) -> None:
        """Take the scores."""
        scores = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if self.monitor not in scores:
            return
        self._score = scores[self.monitor]
        if not trainer.is_global_zero:
            return
        for log in trainer.loggers:
            log.log_metrics(scores, step=0)
        if self.file is not None:
            try:
                write_json(self.file, scores)
            except UltraSamError as error:
                logger.warning("%s", error)
