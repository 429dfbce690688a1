"""What the commands of `ultrasam finetune` check before they import the heavy libraries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultrasam.cli import checks
from ultrasam.errors import DataError
from ultrasam.extras import require as require_packages
from ultrasam.training.run_folder import has_progress, started_as_first

if TYPE_CHECKING:
    from ultrasam.downstream.suite_recipe import BenchmarkSuite

CHECKPOINTS = "checkpoints"
TEST_FRACTION = 0.2  # of the subjects, unless the data have a test split
_PACKAGES = ("lightning", "markdown_it", "peft", "polars", "pydantic", "sklearn", "transformers")


class ModeName(StrEnum):
    """Which parts of a classifier are trained."""

    linear = "linear"
    attention = "attention"
    full = "full"
    lora = "lora"
    adapter = "adapter"


class LabelSource(StrEnum):
    """What names the class of an object."""

    structure = "structure"
    image = "image"


def require() -> None:
    """Check that the packages of the extra are installed, without importing them.

    Raises:
        MissingDependencyError: A package is missing.
    """
    require_packages("Fine-tuning", *_PACKAGES, extra="downstream")


def settings(
    task: str, given: Mapping[str, Any], overrides: Sequence[str] | None, device: str | None
) -> Any:
    """The valid settings of a task.

    Raises:
        RecipeError: A key is unknown, or a value is not allowed.
        DeviceError: ``device`` is not the name of a device, or is not available.
    """
    require()
    from ultrasam.downstream.settings import RENAMED, SETTINGS
    from ultrasam.settings import deep_merge, parse_overrides, validate
    from ultrasam.training.run_settings import on_device

    checks.check_device(device)
    content = deep_merge(given, parse_overrides(overrides or []))
    checked = validate(SETTINGS[task], content, source="settings", renamed=RENAMED)
    placed = on_device(checked, device)
    checks.check_gpu(placed.trainer)
    return placed


def placed_suite(suite: BenchmarkSuite, device: str | None) -> BenchmarkSuite:
    """A suite with all of its tasks on a device.

    Raises:
        DeviceError: The device is not available.
    """
    from ultrasam.downstream.suite_recipe import TASKS
    from ultrasam.training.run_settings import on_device

    tasks = {
        task: on_device(s, device) for task in TASKS if (s := getattr(suite, task)) is not None
    }
    for placed in tasks.values():
        checks.check_gpu(placed.trainer)
    return suite.model_copy(update=tasks)


def check_overrides(overrides: Sequence[str]) -> None:
    """Refuse keys and values that no recipe of a promptable model has.

    Raises:
        RecipeError: A key is unknown, or a value is not allowed.
    """
    from ultrasam.training.recipe import Recipe, change

    change(
        Recipe.model_validate({"name": "settings", "data": {}, "trainer": {"max_steps": 1}}),
        overrides,
    )


def checked_inputs(
    data: Sequence[str], test: Sequence[str] | None, inits: Sequence[str] | None
) -> tuple[list[str], list[str]]:
    """Test data and initializations, after a look at whether data and models exist.

    Raises:
        DataError: A path is missing.
        CheckpointError, ConfigError: A model is unknown.
    """
    checks.check_paths(data)
    checks.check_paths(test or [], option="--test-data")
    names = list(inits or ["nano"])
    checks.check_models(names)
    return list(test or []), names


def run_folder(out: Path | None, command: str, source: str, *, resume: bool) -> Path:
    """The folder of a fine-tuning: new, or that of a run to resume.

    Raises:
        DataError: It holds a run and ``resume`` is false, or the reverse.
        UltraSamError: It cannot be written.
    """
    folder = checks.output(out, command, source)
    if not started_as_first():
        return folder  # the first process has checked, and may have written since
    started = has_progress(folder / CHECKPOINTS)
    if started and not resume:
        raise DataError(
            f"{folder} already contains a run; use --resume to continue it, or choose another -o."
        )
    if resume and not started:
        raise DataError(f"Cannot resume: {folder} contains no run. Start the run without --resume.")
    return folder
