"""The entries of a prompts file as what `ultrasam.track` takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ultrasam.errors import PromptError
from ultrasam.inference.prompts_file import PromptEntry
from ultrasam.inference.tracking.keys import GONE


def prompts_by_frame(entries: Sequence[PromptEntry], default: int) -> dict[int, list[Any]]:
    """The prompts of each frame, as `ultrasam.track` takes them.

    Entries without an object are numbered in their order in a frame.

    Args:
        default: the frame of entries that name none.

    Raises:
        PromptError: Two are for one object in one frame, or some name their object and others do not.
    """
    named = [entry.object is not None for entry in entries]
    if any(named) and not all(named):
        raise PromptError("Give all prompts an object, or none.")
    by_frame: dict[int, dict[int, Any]] = {}
    for entry in entries:
        frame = default if entry.frame is None else entry.frame
        of_frame = by_frame.setdefault(frame, {})
        number = len(of_frame) if entry.object is None else entry.object
        if number in of_frame:
            raise PromptError(f"Frame {frame} has two prompts for object {number}; give one.")
        of_frame[number] = GONE if entry.gone else entry.prompt
    count = 1 + max(number for of_frame in by_frame.values() for number in of_frame)
    return {
        frame: [of_frame.get(number) for number in range(count)]
        for frame, of_frame in sorted(by_frame.items())
    }


def names_of(entries: Sequence[PromptEntry]) -> tuple[str, ...] | None:
    """The categories of the objects as their names, if each has one."""
    found: dict[int, str] = {}
    seen: dict[int | None, int] = {}
    for entry in entries:
        number = seen.get(entry.frame, 0) if entry.object is None else entry.object
        seen[entry.frame] = seen.get(entry.frame, 0) + 1
        if entry.category is not None:
            found.setdefault(number, entry.category)
    count = 1 + max((e.object for e in entries if e.object is not None), default=-1)
    count = max(count, *seen.values()) if all(e.object is None for e in entries) else count
    return tuple(found[n] for n in range(count)) if len(found) == count else None
