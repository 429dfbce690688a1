"""The prompts of commands: those of --box and --point, and those of a prompts file."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ultrasam.errors import PromptError
from ultrasam.text import counted

if TYPE_CHECKING:
    from ultrasam.images.mask_sequence import MaskSequence
    from ultrasam.inference.frames import FrameChoice
    from ultrasam.inference.prompts_file import AssignedPrompts, PromptsFile
    from ultrasam.prompts import Prompt

logger = logging.getLogger(__name__)


def read_and_report(path: Path, *, of_tracks: bool = False) -> PromptsFile:
    """Read a prompts file, and tell which of its entries are no prompts; ``of_tracks`` as in `read_prompts`.

    Raises:
        PromptError: The file cannot be read, or has no valid prompt.
    """
    from ultrasam.inference.prompts_file import read_prompts

    file = read_prompts(path, of_tracks=of_tracks)
    for sentence in file.refused:
        logger.error("%s", sentence)
    return file


def assign_and_report(file: PromptsFile, paths: Sequence[Path]) -> AssignedPrompts:
    """Find the prompts of each image, and tell which mean none of them.

    Raises:
        PromptError: No image has prompts.
    """
    from ultrasam.inference.prompts_file import assign_prompts, describe_unused

    assigned = assign_prompts(file, paths)
    if assigned.unused:
        logger.warning("%s", describe_unused(file, assigned.unused))
    return assigned


def tell_without_candidates(assigned: AssignedPrompts) -> None:
    """Tell, if some prompts are no single clicks, that these get no candidates."""
    entries = [entry for of_image in assigned.entries.values() for entry in of_image]
    if not all(entry.prompt is None or entry.prompt.is_single_click for entry in entries):
        logger.warning("--candidates applies to single clicks only; other prompts get one mask.")


def given_prompts(boxes: Sequence[str], points: Sequence[str]) -> PromptsFile:
    """The prompts that --box and --point mean, which are for all images.

    Raises:
        PromptError: There are none, or one is invalid.
    """
    from ultrasam.inference.prompts_file import PromptEntry, PromptsFile

    entries = [PromptEntry(i, prompt) for i, prompt in enumerate(_prompts(boxes, points))]
    return PromptsFile(Path("--box and --point"), {"*": entries})


def masks_of_input(
    masks: Path | None, paths: Sequence[Path], frame: FrameChoice
) -> dict[Path, MaskSequence]:
    """The masks of --masks, by the image that they are of.

    Raises:
        PromptError: There are several images, or the masks are of none of the frames.
        DataError, ScanError: The masks cannot be read, or are those of another image.
    """
    if masks is None:
        return {}
    if len(paths) != 1:
        raise PromptError(f"--masks FILE is of one image; {len(paths)} are given.")
    from ultrasam.images.mask_reading import read_masks
    from ultrasam.images.reading import read_scan

    found = read_masks(masks, read_scan(paths[0]))
    if isinstance(frame, int) and not found.masks(frame).any():
        raise PromptError(f"{masks} has no mask in frame {frame}.")
    if len(found.frames) < found.num_frames and not isinstance(frame, int):
        count = counted(found.num_frames, "frame")
        logger.info(
            "%s: %d of %s have masks; the others are left.", masks, len(found.frames), count
        )
    return {paths[0]: found}


def _prompts(boxes: Sequence[str], points: Sequence[str]) -> list[Prompt]:
    """The prompts that --box and --point mean."""
    from ultrasam.prompts import Prompt

    corners = [_numbers(text, "--box", (4,)) for text in boxes]
    clicks = [_numbers(text, "--point", (2, 3)) for text in points]
    for text, click in zip(points, clicks, strict=True):
        if len(click) == 3 and click[2] not in (0, 1):
            raise PromptError(
                f"--point {text}: the third number is 1 (on the object) or 0 (outside it)."
            )
    labels = [int(click[2]) if len(click) == 3 else 1 for click in clicks]
    if not boxes and not points:
        raise PromptError(
            "No prompt is given; add --box x0,y0,x1,y1, --point x,y or --prompts FILE."
        )
    if len(boxes) > 1 and points:
        raise PromptError("Clicks with several boxes are ambiguous; use --prompts FILE.")
    xy = [click[:2] for click in clicks]
    if not boxes:
        return [Prompt(points=xy, labels=labels)]
    if points:
        return [Prompt(box=corners[0], points=xy, labels=labels)]
    return [Prompt(box=corner) for corner in corners]


def _numbers(text: str, option: str, counts: tuple[int, ...]) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in counts:
        form = "x0,y0,x1,y1" if option == "--box" else "x,y or x,y,1 or x,y,0"
        raise PromptError(f"{option} {text}: give {form} (numbers and commas, no spaces).")
    return numbers
