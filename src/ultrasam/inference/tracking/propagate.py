"""Fill the frames between keys: one sweep forwards, one backwards, each with all objects at once.

A sweep reads each frame once, and holds a few; what it finds is kept as run-length encodings. Memory is thus
bounded by the results, some kilobytes per frame and object.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ultrasam.inference.tracking.keys import ObjectKeys, Segment
from ultrasam.inference.tracking.passes import Pass, State, Tools
from ultrasam.inference.tracking.results import FrameMask, blended
from ultrasam.inference.tracking.source import SeenFrame
from ultrasam.inference.tracking.stops import Stop
from ultrasam.progress import OnProgress, no_progress

FORWARDS, BACKWARDS = 0, 1
Masks = dict[int, dict[int, FrameMask]]
"""By object and frame."""


@dataclass(slots=True, eq=False)
class Progress:
    """How far the sweeps are; enough to go on.

    Attributes:
        sweep: `FORWARDS` or `BACKWARDS`.
        done: number of frames that this sweep has done.
        masks: found so far.
        stops: of passes that ended early.
        running: the passes on their way, by the place of their segment in the list.
        states: theirs, in progress that was saved.
    """

    sweep: int = FORWARDS
    done: int = 0
    masks: Masks = field(default_factory=dict)
    stops: list[Stop] = field(default_factory=list)
    running: dict[int, Pass] = field(default_factory=dict)
    states: dict[int, State] = field(default_factory=dict)


def propagate(
    tools: Tools,
    keys: Sequence[ObjectKeys],
    segments: Sequence[Segment],
    *,
    progress: Progress | None = None,
    on_progress: OnProgress = no_progress,
) -> Iterator[Progress]:
    """Fill segments; yields the progress after each frame, the same object each time, complete at the end."""
    at = progress or Progress()
    plans = [_plan(segments, sweep) for sweep in (FORWARDS, BACKWARDS)]
    total = sum(len(frames) for frames in plans)
    before = 0
    for sweep, frames in enumerate(plans):
        if at.sweep > sweep:
            before += len(frames)
            continue
        if at.sweep < sweep:
            at.sweep, at.done, at.states = sweep, 0, {}
        yield from _sweep(tools, keys, segments, frames, at, on_progress, (before, total))
        before += len(frames)
    at.stops = _uncovered(at)


def _plan(segments: Sequence[Segment], sweep: int) -> list[int]:
    """The frames that a sweep needs, in its order."""
    needed: set[int] = set()
    for segment in segments:
        key = segment.before if sweep == FORWARDS else segment.after
        if key is not None:
            needed |= {key, *range(segment.first, segment.last + 1)}
    return sorted(needed, reverse=sweep == BACKWARDS)


def _sweep(
    tools: Tools,
    keys: Sequence[ObjectKeys],
    segments: Sequence[Segment],
    frames: Sequence[int],
    at: Progress,
    on_progress: OnProgress,
    counted: tuple[int, int],
) -> Iterator[Progress]:
    forwards = at.sweep == FORWARDS
    starts: dict[int, list[int]] = {}
    for place, segment in enumerate(segments):
        key = segment.before if forwards else segment.after
        if key is not None:
            starts.setdefault(key, []).append(place)

    def begun(place: int, seen: SeenFrame) -> Pass:
        mask = keys[segments[place].object].masks[seen.index]
        return Pass(segments[place], seen.index, mask, tools, seen)

    at.running = running = {}
    for place, state in at.states.items():
        key = segments[place].before if forwards else segments[place].after
        assert key is not None
        running[place] = begun(place, tools.source.read(key))
        running[place].restore(state)
    at.states = {}
    shape = (tools.source.scan.height, tools.source.scan.width)
    for seen in _read(tools, frames[at.done :], forwards=forwards):
        for place, one in list(running.items()):
            segment = segments[place]
            if not segment.first <= seen.index <= segment.last:
                continue
            for index, mask in one.step(seen):
                _keep(at.masks.setdefault(segment.object, {}), segment, index, mask, shape)
            ended = seen.index == (segment.last if forwards else segment.first)
            if one.stop is not None or ended:
                if one.stop is not None:
                    at.stops.append(one.stop)
                del running[place]
        for place in starts.get(seen.index, ()):
            running[place] = begun(place, seen)
            if (stop := running[place].stop) is not None:
                at.stops.append(stop)
                del running[place]
        at.done += 1
        on_progress(counted[0] + at.done, counted[1], frame=seen.index)
        yield at
    at.running = {}


def _read(tools: Tools, frames: Sequence[int], *, forwards: bool) -> Iterator[SeenFrame]:
    """Frames in the order of a sweep, in stretches without a gap."""
    start = 0
    step = 1 if forwards else -1
    for place in range(1, len(frames) + 1):
        if place < len(frames) and frames[place] == frames[place - 1] + step:
            continue
        first, last = sorted((frames[start], frames[place - 1]))
        read = tools.source.forwards if forwards else tools.source.backwards
        yield from read(first, last)
        start = place


def _keep(
    found: dict[int, FrameMask],
    segment: Segment,
    index: int,
    mask: FrameMask,
    shape: tuple[int, int],
) -> None:
    """Note the mask of a frame; that of the other direction, if any, is blended with it."""
    earlier = found.get(index)
    if earlier is None or segment.before is None or segment.after is None:
        found[index] = mask
        return
    part = (index - segment.before) / (segment.after - segment.before)
    found[index] = blended(earlier, mask, part, shape)


def _uncovered(at: Progress) -> list[Stop]:
    """The stops behind which there are no masks, from the other direction either."""
    return [stop for stop in at.stops if stop.frame not in at.masks.get(stop.object, {})]
