"""Which frames of a cine or volume a command works on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ultrasam.errors import ConfigError
from ultrasam.images.scan import Scan

FrameChoice = int | Literal["all"] | None
"""A frame's index; all frames; or frame 0, with a note if there are others."""


def parse_frames(text: str | None) -> FrameChoice:
    """A frame's index, or ``all``; None stays None.

    Raises:
        ConfigError: The text is neither.
    """
    if text is None:
        return None
    text = text.strip().lower()
    if text == "all":
        return "all"
    if not (text.isascii() and text.isdigit()):
        raise ConfigError(f"'{text}' is not a frame; give its number, from 0, or all.")
    return int(text)


def choose_frames(
    scan: Scan, choice: FrameChoice, path: Path
) -> tuple[Sequence[int], tuple[str, ...]]:
    """The indices of the chosen frames, and sentences that tell what was chosen without being asked for."""
    if choice == "all":
        return range(scan.num_frames), ()
    if choice is not None:
        return (choice,), ()
    if scan.num_frames == 1:
        return (0,), ()
    note = f"{path} has {scan.num_frames} frames; frame 0 is used. Choose others with --frame NUMBER or "
    return (0,), (note + "--frame all.",)
