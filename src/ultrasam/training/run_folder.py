"""The folder of a run. It is checked before heavy libraries are imported."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ultrasam.errors import RecipeError
from ultrasam.files import write_json

LAST = "last.ckpt"
SETTINGS = "settings.json"
# Length, hardware and logging: a resumed run may change them.
_FREE = {
    f"trainer.{key}"
    for key in (
        "max_steps", "accelerator", "devices", "nodes", "strategy", "workers", "checkpointing",
        "check_memory", "compile", "log_every", "checkpoint_every", "logger",
    )
}  # fmt: skip


def started_as_first() -> bool:
    """Whether the launcher (torchrun, SLURM, Lightning) started this process as the first one, or there is no
    launcher."""
    for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"):
        if name in os.environ:
            return os.environ[name] == "0"
    return True


def check_folder(folder: Path, *, resume: bool) -> None:
    """Refuse to overwrite a run, or to resume one that does not exist.

    Raises:
        RecipeError: The folder contains a run and ``resume`` is False, contains none and ``resume`` is True,
            or is a file.
    """
    if not started_as_first():
        return  # the first process has checked, and may have written since
    last = folder / LAST
    if folder.exists() and not folder.is_dir():
        raise RecipeError(f"{folder} is a file; choose a folder for the run.")
    if resume and not last.exists():
        raise RecipeError(f"Cannot resume: {last} does not exist. Start the run without --resume.")
    if last.exists() and not resume:
        raise RecipeError(
            f"{folder} already contains a run; use --resume to continue it, or choose another output folder."
        )


def has_progress(folder: Path) -> bool:
    """Whether a run in a folder has saved anything to resume from: a checkpoint, or a finished fold."""
    return any(path.suffix in (".ckpt", ".npy") for path in folder.rglob("*"))


def keep_settings(
    folder: Path, settings: Mapping[str, Any], *, before: Mapping[str, Any] | None = None
) -> None:
    """Write the settings of a run beside its checkpoints; refuse to resume it with others.

    Length, hardware and logging may change. Settings of a run that ended before its first checkpoint are
    replaced.

    Args:
        settings: JSON-ready.
        before: the settings of a run that has kept none, if they are known otherwise.

    Raises:
        RecipeError: The run in the folder was started with other settings, or these cannot be read.
    """
    path = folder / SETTINGS
    present = dict(_flat(json.loads(json.dumps(settings))))
    if (path.exists() or before is not None) and has_progress(folder):
        earlier = dict(_flat(_read(path) if before is None else before))
        for key in sorted(earlier.keys() | present.keys()):
            if earlier.get(key) != present.get(key):
                raise RecipeError(
                    f"The run in {folder} was started with {key}={earlier.get(key)}, not {present.get(key)}; "
                    "resume it with the same settings, or choose another output."
                )
        return
    write_json(path, settings)


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise RecipeError(
            f"{path} is damaged, so it is unknown how the run began; choose another output folder."
        ) from error


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Keys in full with their values, without those that may change."""
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        elif name.removeprefix("settings.") not in _FREE:
            yield name, value
