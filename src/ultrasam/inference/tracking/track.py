"""`track`: follow objects through a cine or volume from prompts in any of its frames."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ultrasam.errors import ConfigError
from ultrasam.images.mask_sequence import MaskSequence
from ultrasam.images.masks import BoolMask
from ultrasam.images.reslice import along_axis, masks_as_stored
from ultrasam.images.scan import Scan
from ultrasam.inference.segmenter import ScanLike, Segmenter, as_scan
from ultrasam.inference.tracking.corrector import FrameNetwork
from ultrasam.inference.tracking.keys import (
    FramePrompts,
    ObjectKeys,
    Segment,
    as_lists,
    check_prompts,
    given_keys,
)
from ultrasam.inference.tracking.passes import Correction, Tools
from ultrasam.inference.tracking.propagate import Masks, Progress, propagate
from ultrasam.inference.tracking.results import FrameMask, Origin
from ultrasam.inference.tracking.snapshot import read_snapshot, remove_snapshot, write_snapshot
from ultrasam.inference.tracking.source import FrameSource
from ultrasam.inference.tracking.stops import Stop
from ultrasam.progress import OnProgress, no_progress

_SAVE_EVERY = 100  # frames


@dataclass(slots=True, eq=False)
class Track:
    """Objects followed through a scan.

    Attributes:
        scan: the frames that were followed; of a volume along another axis, its slices along that.
        names: of the objects.
        stops: where an object could not be followed farther, with the reason.
        notes: what should be known, a sentence each: frames that cannot be read, and stops.
        axis: along which a volume was followed; 0 for its frames as they are stored.
    """

    scan: Scan
    names: tuple[str, ...]
    axis: int = 0
    stops: tuple[Stop, ...] = ()
    _tools: Tools = field(kw_only=True)
    _keys: list[ObjectKeys] = field(kw_only=True)
    _found: Masks = field(default_factory=dict, kw_only=True)
    _stored: Scan = field(kw_only=True)

    def __len__(self) -> int:
        return len(self.names)

    def frames(self, object: int = 0) -> tuple[int, ...]:
        """The frames in which an object has a mask."""
        return tuple(sorted({*self._keys[object].masks, *self._found.get(object, {})}))

    def keys(self, object: int = 0) -> tuple[int, ...]:
        """The key frames of an object."""
        return tuple(sorted(self._keys[object].masks))

    def mask(self, frame: int, object: int = 0) -> BoolMask:
        """The mask [H, W] of an object in a frame; empty if it has none there."""
        found = self._at(frame, object)
        shape = (self.scan.height, self.scan.width)
        return np.zeros(shape, bool) if found is None else found.mask(shape)

    def origin(self, frame: int, object: int = 0) -> Origin | None:
        """Where the mask of an object in a frame came from; None if it has none."""
        found = self._at(frame, object)
        return None if found is None else found.origin

    def confidence(self, frame: int, object: int = 0) -> float:
        """How sure the mask of an object in a frame is, 0 to 1 (see `FrameMask`); 0 if it has none."""
        found = self._at(frame, object)
        return 0.0 if found is None else found.confidence

    @property
    def confidences(self) -> npt.NDArray[np.float64]:
        """How sure each mask is, [N, T]; NaN where an object has none."""
        out = np.full((len(self), self.scan.num_frames), np.nan)
        for number in range(len(self)):
            for frame in self.frames(number):
                out[number, frame] = self.confidence(frame, number)
        return out

    @property
    def masks(self) -> MaskSequence:
        """All masks, in the frames that were followed."""
        scan = self.scan
        sequence = MaskSequence(scan.num_frames, scan.height, scan.width, self.names)
        for frame in sorted({f for number in range(len(self)) for f in self.frames(number)}):
            sequence.put(frame, np.stack([self.mask(frame, n) for n in range(len(self))]))
        return sequence

    @property
    def stored_masks(self) -> MaskSequence:
        """All masks, in the frames of the scan as it is stored; differs from `masks` if ``axis`` is not 0."""
        return self.masks if not self.axis else masks_as_stored(self.masks, self._stored, self.axis)

    @property
    def stored_scan(self) -> Scan:
        """The scan as it is stored; differs from ``scan`` if ``axis`` is not 0."""
        return self._stored

    @property
    def notes(self) -> tuple[str, ...]:
        """See the class."""
        unread = [text for _, text in sorted(self._tools.source.unreadable.items())]
        stops = [
            f"{self.names[stop.object]} has no mask from frame {stop.frame} "
            f"{'on' if stop.frame >= stop.key else 'back'}, followed from frame {stop.key}: {stop.reason}."
            for stop in self.stops
        ]
        return (*unread, *stops)

    def correct(
        self, prompts: FramePrompts, *, on_progress: OnProgress = no_progress
    ) -> tuple[int, ...]:
        """Set further keys, or other ones, and follow anew to the nearest key in both directions, no farther.

        Args:
            prompts: as in `track`; objects that are new are added.

        Returns:
            The frames whose masks were made anew.

        Raises:
            PromptError: A prompt is invalid, a frame does not exist, or the model finds nothing.
            ScanError: A frame with a prompt cannot be read.
        """
        prompts = as_lists(prompts)
        count = max((len(self), *(len(of_frame) for of_frame in prompts.values())))
        for number in range(len(self), count):
            check_prompts(self.scan, {f: [*p[number : number + 1]] for f, p in prompts.items()})
        given = given_keys(self.scan, prompts, self._tools.network, count)
        old = self._segments()
        self.names = (*self.names, *_default_names(count)[len(self) :])
        self._keys += [ObjectKeys() for _ in range(count - len(self._keys))]
        changed: set[tuple[int, int]] = set()
        for number, keys in enumerate(given):
            mine = self._keys[number]
            for frame in keys.gone:
                mine.masks.pop(frame, None)
            mine.gone = (mine.gone | keys.gone) - set(keys.masks)
            mine.masks |= keys.masks
            changed |= {(number, frame) for frame in (*keys.masks, *keys.gone)}
        fresh = [
            segment
            for segment in self._segments()
            if segment not in old
            or {(segment.object, segment.before), (segment.object, segment.after)} & changed
        ]
        self._forget(fresh)
        self.stops = tuple(s for s in self.stops if not _concerns(s, fresh))
        self._fill(fresh, None, on_progress)
        frames = {frame for s in fresh for frame in range(s.first, s.last + 1)}
        return tuple(sorted(frames | {frame for _, frame in changed}))

    def _segments(self) -> list[Segment]:
        count = self.scan.num_frames
        return [s for n, keys in enumerate(self._keys) for s in keys.segments(n, count)]

    def _forget(self, fresh: Sequence[Segment]) -> None:
        """Remove masks that are made anew, or that no segment holds any more."""
        held = {
            (s.object, frame)
            for s in self._segments()
            if s not in fresh
            for frame in range(s.first, s.last + 1)
        }
        for number, masks in self._found.items():
            self._found[number] = {f: mask for f, mask in masks.items() if (number, f) in held}

    def _fill(
        self,
        segments: Sequence[Segment],
        progress: Progress | None,
        on_progress: OnProgress,
        *,
        snapshot: Path | None = None,
        fingerprint: str = "",
    ) -> None:
        steps = propagate(
            self._tools, self._keys, segments, progress=progress, on_progress=on_progress
        )
        at = progress or Progress()
        for number, at in enumerate(steps, 1):
            if snapshot is not None and number % _SAVE_EVERY == 0:
                write_snapshot(snapshot, at, self._keys, fingerprint)
        for object_number, masks in at.masks.items():
            self._found.setdefault(object_number, {}).update(masks)
        self.stops = (*self.stops, *at.stops)

    def _at(self, frame: int, object: int) -> FrameMask | None:
        return self._keys[object].masks.get(frame) or self._found.get(object, {}).get(frame)


def track(
    scan: ScanLike,
    prompts: FramePrompts,
    *,
    model: str | os.PathLike[str] | Segmenter = "nano",
    correction: Correction = "off",
    stopping: bool = True,
    axis: int = 0,
    names: Sequence[str] | None = None,
    snapshot: str | os.PathLike[str] | None = None,
    device: str | None = None,
    precision: str | None = None,
    on_progress: OnProgress = no_progress,
) -> Track:
    """Follow objects through a cine or a volume, in both directions from any number of key frames.

    Between two key frames, what comes from both is blended. The masks of keys are carried by optical flow,
    which needs no network; the network segments the key frames, and corrects the carried masks if asked to.

    Args:
        scan: a path, a `Scan`, or an array [H, W].
        prompts: by frame, a list with a prompt for each object: the first of every list means object 0, and
            so on. None leaves an object out; `GONE` says that it is not seen from this frame on, until its
            next prompt. A prompt of nothing but a mask of the scan's size is the object's mask itself.
        model: a name or path with options, as in `Predictor`, or a `Segmenter`; loaded only if it is needed.
        correction: where the network corrects the border: ``off``; ``doubtful``: where the flow back misses
            much of it; ``all``: in every frame.
        stopping: stop where an object seems to be lost (see `StopRules`). False goes on until nothing is
        left. axis: of a volume, along which its slices are followed: 0 as they are stored, 1 along their
            rows, 2 along their columns. Prompts are in frames along this axis.
        names: of the objects; by default ``object 0`` and so on.
        snapshot: a file that keeps the progress; if it exists, the run that it is of goes on. Removed at the
        end. device, precision: as in `ultrasam.load`.

    Raises:
        PromptError: A prompt is invalid, a frame does not exist, or the model finds nothing.
        ScanError: The scan or a frame with a prompt cannot be read.
        ConfigError: An option is invalid, or the snapshot is of another run.
        CheckpointError, DeviceError: The model cannot be loaded.

    Example:
        >>> import numpy as np
        >>> from ultrasam import Prompt, Scan
        >>> frames = np.zeros((4, 64, 64), np.uint8)
        >>> for t in range(4):
        ...     frames[t, 20:40, 20 + 2 * t : 40 + 2 * t] = 200
        >>> scan = Scan(4, 64, 64, False, lambda index: frames[index])
        >>> result = track(scan, {0: [Prompt(mask=frames[0] > 0)]})
        >>> result.origin(3)
        Origin(source='propagated', keys=(0,), corrected=False)
    """
    stored = as_scan(scan)
    along = along_axis(stored, axis)
    prompts = as_lists(prompts)
    count = check_prompts(along, prompts)
    if names is not None and len(names) != count:
        raise ConfigError(f"{len(names)} names are given for {count} objects; give one each.")
    if correction not in ("off", "doubtful", "all"):
        raise ConfigError(f"correction is off, doubtful or all, not '{correction}'.")
    load = partial(_segmenter, model, device, precision)
    tools = Tools(FrameSource(along), FrameNetwork(load), correction, stopping)
    file = None if snapshot is None else Path(snapshot)
    named = str(model) if isinstance(model, (str, os.PathLike)) else type(model).__name__
    fingerprint = _fingerprint(along, prompts, named, correction, stopping=stopping, axis=axis)
    saved = None if file is None else read_snapshot(file, fingerprint, count)
    if saved is None:
        progress, keys = None, given_keys(along, prompts, tools.network, count)
    else:
        progress, keys = saved
    result = Track(
        along,
        tuple(names) if names is not None else _default_names(count),
        axis,
        _tools=tools,
        _keys=keys,
        _stored=stored,
    )
    result._fill(result._segments(), progress, on_progress, snapshot=file, fingerprint=fingerprint)
    if file is not None:
        remove_snapshot(file)
    return result


def _segmenter(
    model: str | os.PathLike[str] | Segmenter, device: str | None, precision: str | None
) -> Segmenter:
    if not isinstance(model, (str, os.PathLike)):
        if device is not None or precision is not None:
            raise ConfigError("device and precision apply only to a model given by name.")
        return model
    from ultrasam.inference.predictor import Predictor

    return Predictor(model, device=device, precision=precision)


def _default_names(count: int) -> tuple[str, ...]:
    return tuple(f"object {number}" for number in range(count))


def _concerns(stop: Stop, segments: Sequence[Segment]) -> bool:
    return any(
        s.object == stop.object and min(s.first, stop.key) <= stop.frame <= max(s.last, stop.key)
        for s in segments
    )


def _fingerprint(
    scan: Scan,
    prompts: FramePrompts,
    model: str,
    correction: str,
    *,
    stopping: bool,
    axis: int,
) -> str:
    """What a run must share with the one whose snapshot it goes on from."""
    digest = hashlib.sha256(
        json.dumps(
            [
                str(scan.source),
                scan.num_frames,
                scan.height,
                scan.width,
                model,
                correction,
                stopping,
                axis,
            ]
        ).encode()
    )
    for frame, of_frame in sorted(prompts.items()):
        for prompt in of_frame:
            digest.update(f"{frame} {type(prompt).__name__}".encode())
            for name in ("points", "labels", "box", "mask"):
                value = getattr(prompt, name, None)
                digest.update(b"-" if value is None else np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()
