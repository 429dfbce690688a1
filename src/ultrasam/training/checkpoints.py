"""Checkpoints of a run: written whole or not at all, and read without running code from them.

A checkpoint that cannot be written, for instance because the disk is full, costs no training: the previous
one stays, the run goes on, and the next one is tried.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch

from ultrasam.errors import CheckpointError, UltraSamError, one_line
from ultrasam.extras import needs
from ultrasam.files import atomic_file, is_disk_full, no_space
from ultrasam.weights.formats import current_keys

with needs("Training", extra="train"):
    from lightning.pytorch.plugins.io import TorchCheckpointIO

logger = logging.getLogger(__name__)

BEST = "best.ckpt"


class RunCheckpoints(TorchCheckpointIO):
    """Lightning's reader and writer of checkpoints.

    Attributes:
        unsaved: weights of the best validation, by path, as long as they could not be written.
    """

    def __init__(self) -> None:
        super().__init__()
        self.unsaved: dict[Path, dict[str, Any]] = {}

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write a checkpoint atomically; warn if it cannot be written."""
        path = Path(path)
        self.unsaved.pop(path, None)
        try:
            with atomic_file(path, size=size_of(checkpoint)) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError, UltraSamError) as error:
            self._keep(checkpoint, path, error)

    def load_checkpoint(self, path: Any, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Load a checkpoint; keys of earlier versions are renamed.

        Raises:
            CheckpointError: See `read_checkpoint`.
        """
        return cast(dict[str, Any], current_keys(read_checkpoint(Path(path))))

    def _keep(self, checkpoint: dict[str, Any], path: Path, error: Exception) -> None:
        reason = str(unwritable(path, error, size=size_of(checkpoint))).rstrip(".")
        if path.name == BEST:
            state = checkpoint["state_dict"]
            self.unsaved[path] = {name: value.cpu().clone() for name, value in state.items()}
            kept = "the best weights are kept in memory"
        elif path.exists():
            kept = "the checkpoint before it is kept"
        else:
            kept = "there is nothing to resume from yet"
        logger.warning("%s. Training goes on; %s.", reason, kept)


def unwritable(path: Path, error: BaseException, *, size: int | None = None) -> UltraSamError:
    """What to tell the user about a file that could not be written, by whichever library.

    Args:
        size: bytes that were to be written, if known.
    """
    for cause in _causes(error):
        if isinstance(cause, UltraSamError):
            return cause
        if is_disk_full(cause):
            return no_space(path, cause, size=size)
    cause = next((e for e in _causes(error) if isinstance(e, OSError)), error)
    return UltraSamError(f"Cannot write {path}: {one_line(cause)}.")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those behind it: PyTorch's writer hides the system's."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def size_of(content: Any) -> int:
    """Bytes of all tensors in nested dictionaries and lists."""
    if isinstance(content, torch.Tensor):
        return content.numel() * content.element_size()
    if isinstance(content, Mapping):
        return sum(size_of(value) for value in content.values())
    if isinstance(content, list | tuple):
        return sum(size_of(value) for value in content)
    return 0


def read_checkpoint(path: Path, *, mmap: bool = False) -> dict[str, Any]:
    """Read a checkpoint without running code from it, as opening a pickle otherwise does.

    Args:
        mmap: read tensors only when they are used.

    Raises:
        CheckpointError: The file is missing or damaged, is not a checkpoint of a run, or contains more than
            tensors and plain values.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is damaged, or contains objects other than tensors and plain values, which could run "
            "code when loaded; it is not resumed from."
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path} is damaged ({one_line(error)}); delete it and start the run without --resume."
        ) from error
    if not isinstance(content, dict) or not isinstance(content.get("global_step"), int):
        raise CheckpointError(f"{path} is not a checkpoint of a training run.")
    return content


def steps_done(path: Path) -> int:
    """Number of steps completed at a checkpoint.

    Raises:
        CheckpointError: See `read_checkpoint`.
    """
    return cast(int, read_checkpoint(path, mmap=True)["global_step"])


def space_needed(parameters: int, trained: int, *, averaged: bool, validates: bool) -> int:
    """Bytes that a run writes at most: two checkpoints, as one replaces the other, and the saved model.

    Args:
        parameters: number of all parameters.
        trained: number of those trained; the optimizer keeps two values for each.
        averaged: whether checkpoints contain a moving average of the weights as well.
        validates: whether the best weights are kept, too.
    """
    weights = 4 * parameters
    last = weights * (2 if averaged else 1) + 8 * trained
    return 2 * last + (2 * weights if validates else 0) + weights
