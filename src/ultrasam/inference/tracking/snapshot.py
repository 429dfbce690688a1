"""Keep the progress of a run in a file, so that it can go on after an interruption as if there was none."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ultrasam.errors import ConfigError, one_line
from ultrasam.files import atomic_file
from ultrasam.inference.tracking.keys import ObjectKeys
from ultrasam.inference.tracking.propagate import Masks, Progress
from ultrasam.inference.tracking.results import FrameMask, Origin
from ultrasam.inference.tracking.stops import Stop

_VERSION = 1


def write_snapshot(path: Path, at: Progress, keys: list[ObjectKeys], fingerprint: str) -> None:
    """Write the progress to an NPZ file, atomically.

    Raises:
        UltraSamError: The file cannot be written.
    """
    arrays: dict[str, Any] = {}
    passes = {}
    for place, one in at.running.items():
        state = one.state()
        for name, array in state.pop("carrier", {}).items():
            arrays[f"{place}/{name}"] = array
        passes[place] = state
    content = {
        "version": _VERSION,
        "fingerprint": fingerprint,
        "sweep": at.sweep,
        "done": at.done,
        "stops": [[s.object, s.frame, s.key, s.reason] for s in at.stops],
        "masks": _listed(at.masks),
        "keys": _listed({number: one.masks for number, one in enumerate(keys)}),
        "gone": [sorted(one.gone) for one in keys],
        "passes": passes,
    }
    arrays["json"] = np.frombuffer(json.dumps(content).encode(), np.uint8)
    with atomic_file(path) as file:
        np.savez(file, **arrays)


def read_snapshot(
    path: Path, fingerprint: str, count: int
) -> tuple[Progress, list[ObjectKeys]] | None:
    """Read the progress of an interrupted run and its keys; None if the file does not exist.

    Args:
        path: the file.
        fingerprint: of the run that is to go on.
        count: number of objects.

    Raises:
        ConfigError: The file is damaged, or of another run.
    """
    if not path.exists():
        return None
    other = f"{path} is the progress of another run; delete it, or give the prompts and options of that run."
    try:
        with np.load(path, allow_pickle=False) as stored:
            content = json.loads(stored["json"].tobytes())
            if content["version"] != _VERSION or content["fingerprint"] != fingerprint:
                raise ConfigError(other)
            states = {int(place): dict(state) for place, state in content["passes"].items()}
            for name in stored.files:
                place, slash, key = name.partition("/")
                if slash:
                    states[int(place)].setdefault("carrier", {})[key] = stored[name]
            keys = [ObjectKeys(gone=set(frames)) for frames in content["gone"]]
            if len(keys) != count:
                raise ConfigError(other)
            for number, masks in _unlisted(content["keys"]).items():
                keys[number].masks = masks
            progress = Progress(
                int(content["sweep"]),
                int(content["done"]),
                _unlisted(content["masks"]),
                [Stop(*entry) for entry in content["stops"]],
                states=states,
            )
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"{path} is not the progress of a run, or damaged ({one_line(error)}); delete it to begin anew."
        ) from error
    return progress, keys


def remove_snapshot(path: Path) -> None:
    """Remove the file of a run that is complete."""
    path.unlink(missing_ok=True)


def _listed(masks: Masks) -> list[list[Any]]:
    return [
        [number, frame, m.counts, m.confidence, m.origin.source, m.origin.keys, m.origin.corrected]
        for number, of_object in masks.items()
        for frame, m in of_object.items()
    ]


def _unlisted(entries: list[list[Any]]) -> Masks:
    masks: Masks = {}
    for number, frame, counts, confidence, source, keys, corrected in entries:
        origin = Origin(source, tuple(keys), corrected)
        masks.setdefault(number, {})[frame] = FrameMask(counts, confidence, origin)
    return masks
