"""Key frames: where the user says what an object is, and the stretches of frames between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np

from ultrasam.errors import PromptError, ScanError
from ultrasam.images.masks import BoolMask
from ultrasam.images.scan import Scan
from ultrasam.inference.tracking.corrector import FrameNetwork
from ultrasam.inference.tracking.results import FrameMask, Origin
from ultrasam.prompts import Prompt
from ultrasam.text import counted


class Gone:
    """Says, in the place of a prompt, that an object is not seen from this frame on until its next key."""

    def __repr__(self) -> str:
        return "GONE"


GONE: Final = Gone()
ObjectPrompt = Prompt | Gone | None
FramePrompts = Mapping[int, Sequence[ObjectPrompt]]


def as_lists(prompts: Mapping[int, Sequence[ObjectPrompt] | ObjectPrompt]) -> FramePrompts:
    """Prompts by frame, where one that is no list is the first object's.

    Raises:
        PromptError: A frame is no whole number, or what is given is no prompt.
    """
    lists: dict[int, list[ObjectPrompt]] = {}
    for frame, given in prompts.items():
        of_frame = list(given) if isinstance(given, Sequence) else [given]
        if not isinstance(frame, int | np.integer):
            raise PromptError(f"Frame {frame!r} is no number; give {{frame: [Prompt(…), …]}}.")
        for prompt in of_frame:
            if prompt is not None and not isinstance(prompt, Prompt | Gone):
                raise PromptError(f"Frame {frame}: {type(prompt).__name__} is no Prompt.")
        lists[int(frame)] = of_frame
    return lists


@dataclass(frozen=True, slots=True)
class Segment:
    """Frames of one object without a key, and the keys that they are filled from.

    Attributes:
        object: its number.
        first, last: the frames.
        before, after: the key frames; None if there is none on that side.
    """

    object: int
    first: int
    last: int
    before: int | None
    after: int | None


@dataclass(slots=True, eq=False)
class ObjectKeys:
    """The key frames of one object.

    Attributes:
        masks: by frame.
        gone: frames from which it is not seen, until the next key.
    """

    masks: dict[int, FrameMask] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)

    def segments(self, number: int, num_frames: int) -> list[Segment]:
        """The stretches to fill, in order."""
        found = []
        keys: list[int | None] = [None, *sorted(self.masks), None]
        for before, after in pairwise(keys):
            start = 0 if before is None else before
            end = num_frames if after is None else after
            gone = [frame for frame in self.gone if start <= frame < end]
            first = 0 if before is None else before + 1
            last = (min(gone) if gone else end) - 1
            if gone:
                after = None  # it comes back with its next key, not before
            if first <= last and (before is not None or after is not None):
                found.append(Segment(number, first, last, before, after))
        return found


def given_keys(
    scan: Scan, prompts: FramePrompts, network: FrameNetwork, count: int
) -> list[ObjectKeys]:
    """The masks that prompts mean in their frames, of each of ``count`` objects.

    Raises:
        PromptError: A frame does not exist, a prompt is invalid there, or the network finds nothing.
        ScanError: A frame cannot be read.
    """
    keys = [ObjectKeys() for _ in range(count)]
    for frame, of_frame in sorted(prompts.items()):
        _check_frame(scan, frame)
        asked: dict[int, Prompt] = {}
        for number, prompt in enumerate(of_frame):
            if isinstance(prompt, Gone):
                keys[number].gone.add(frame)
            elif prompt is not None:
                given = given_mask(prompt, scan)
                if given is None:
                    asked[number] = prompt
                else:
                    keys[number].masks[frame] = FrameMask.of(given, 1.0, Origin("key", (frame,)))
        if asked:
            for number, key in _segmented(scan, frame, asked, network).items():
                keys[number].masks[frame] = key
    return keys


def given_mask(prompt: Prompt, scan: Scan) -> BoolMask | None:
    """The mask that a prompt is, if it is nothing else, and of the scan's size."""
    shape = (scan.height, scan.width)
    if prompt.mask is None or prompt.box is not None or len(prompt.points):
        return None
    return np.asarray(prompt.mask > 0) if prompt.mask.shape == shape else None


def needs_network(scan: Scan, prompts: FramePrompts) -> bool:
    """Whether any prompt is more than a mask."""
    given = [p for of_frame in prompts.values() for p in of_frame if isinstance(p, Prompt)]
    return any(given_mask(prompt, scan) is None for prompt in given)


def check_prompts(scan: Scan, prompts: FramePrompts) -> int:
    """The number of objects that prompts mean.

    Raises:
        PromptError: There is no prompt, a frame does not exist, or an object has no prompt.
    """
    count = max((len(of_frame) for of_frame in prompts.values()), default=0)
    if not count:
        raise PromptError("No prompt is given; give {frame: [Prompt(…), …]}.")
    for frame in prompts:
        _check_frame(scan, frame)
    for number in range(count):
        if not any(isinstance(_at(of_frame, number), Prompt) for of_frame in prompts.values()):
            raise PromptError(f"Object {number} has no prompt in any frame; give it one.")
    return count


def _at(of_frame: Sequence[ObjectPrompt], number: int) -> ObjectPrompt:
    return of_frame[number] if number < len(of_frame) else None


def _check_frame(scan: Scan, frame: int) -> None:
    if not 0 <= frame < scan.num_frames:
        raise PromptError(
            f"Frame {frame} does not exist; {scan.source or 'the scan'} has "
            f"{counted(scan.num_frames, 'frame')}, numbered from 0."
        )


def _segmented(
    scan: Scan, frame: int, asked: dict[int, Prompt], network: FrameNetwork
) -> dict[int, FrameMask]:
    try:
        pixels = scan.frame(frame)
    except ScanError as error:
        raise ScanError(f"Frame {frame} has a prompt but cannot be read: {error}") from error
    try:
        prediction = network.predict(frame, pixels, list(asked.values()))
    except PromptError as error:
        raise PromptError(f"Frame {frame}: {error}") from error
    found = {}
    rows = zip(asked, prediction.best, prediction.predicted_iou.max(axis=1), strict=True)
    for number, mask, predicted_iou in rows:
        if not mask.any():
            raise PromptError(
                f"Frame {frame}, object {number}: the model found no object for this prompt; move it, or "
                "give a mask."
            )
        found[number] = FrameMask.of(mask, float(predicted_iou), Origin("key", (frame,)))
    return found
