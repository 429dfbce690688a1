"""Claim: a mask is carried through a cine better than by flow from the key frame or networks.

Peers, from the same key mask of the truth: copying it; dense inverse search from the key frame with the
last flow as a guess; the network prompted with the box of its last mask, 3 % larger; and micro-sam's rule,
a click in the middle of the last mask, given up where successive masks have an IoU below 0.5. The cines are
simulated pictures and the stills of a folder of data sets, moved by a known smooth motion (`moving.py`).

Prints DAVIS's measures (Perazzi et al. 2016; J: IoU, F: contours within 0.8 % of the diagonal; decay: first
quarter less last quarter; the first frame does not count), Dice, clicks per 100 frames to hold Dice 0.9,
precision and recall of the stop rules, shifts of 8 pixels a frame, and the processor's time.

    python benchmarks/tracking.py --data DIR [--each 3] [--phantoms 4] [--network 2] [--model nano]
        [--part stops]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt
from moving import (
    HARD,
    MODERATE,
    MovingCine,
    Still,
    moved,
    phantom_stills,
    real_stills,
    replaced,
    translated,
)

from ultrasam.evaluation.metrics.masks import dice, iou
from ultrasam.hardware import processor
from ultrasam.images.masks import bounding_box, deepest_point
from ultrasam.inference.predictor import Predictor
from ultrasam.inference.segmenter import Segmenter
from ultrasam.inference.tracking.track import track
from ultrasam.prompts import Prompt

Masks = npt.NDArray[np.bool_]
Follow = Callable[[MovingCine, dict[int, npt.NDArray[np.bool_]]], Masks]
PARTS = ("stops", "shifts", "quality")
_HOLD = 0.9
_BAD = 0.7
_CONTOUR = 0.008  # of the diagonal
TARGETS = {("moderate", "ours, 1 key"): 0.96, ("hard", "ours, 1 key"): 0.93,
           ("moderate", "ours, 2 keys"): 0.975, ("hard", "ours, 2 keys"): 0.955}  # fmt: skip


@dataclass
class Figures:
    """Of one method: per cine, Dice, J and F of each frame after the first; clicks; seconds; frames."""

    dice: list[list[float]] = field(default_factory=list)
    j: list[list[float]] = field(default_factory=list)
    f: list[list[float]] = field(default_factory=list)
    clicks: list[float] = field(default_factory=list)
    seconds: float = 0.0
    frames: int = 0

    def row(self, name: str) -> str:
        quarter = [max(1, len(values) // 4) for values in self.j]
        decay = np.mean(
            [np.mean(v[:q]) - np.mean(v[-q:]) for v, q in zip(self.j, quarter, strict=True)]
        )
        recall = np.mean([np.mean(np.array(values) > 0.5) for values in self.j])
        at = [np.mean([v[round(len(v) * part) - 1] for v in self.dice]) for part in (0.25, 0.5, 1)]
        numbers = [_mean(self.j), recall, decay, _mean(self.f), _mean(self.dice), *at]
        clicks = f"{np.mean(self.clicks):.1f}" if self.clicks else ""
        cells = [f"{value:.3f}" for value in numbers]
        return (
            f"| {name} | {' | '.join(cells)} | {clicks} | {1000 * self.seconds / self.frames:.0f} |"
        )


HEAD = (
    "| method | J | J recall | J decay | F | Dice | at T/4 | at T/2 | at T | clicks/100 | CPU ms |\n"
    + "|---" * 11
    + "|"
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--dataset", action="append", default=[])
    parser.add_argument("--each", type=int, default=3, help="stills of each data set")
    parser.add_argument("--phantoms", type=int, default=4)
    parser.add_argument("--network", type=int, default=2, help="cines for methods with a network")
    parser.add_argument("--model", default="nano")
    parser.add_argument(
        "--part", choices=PARTS, action="append", help="only this part (repeatable)"
    )
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    print(f"One thread of {processor()}")
    stills = list(real_stills(arguments.data, arguments.each, tuple(arguments.dataset)))
    phantoms = list(phantom_stills(arguments.phantoms))
    parts = arguments.part or PARTS
    if "stops" in parts:
        _stops(stills)
    if "shifts" in parts:
        _translations(stills[:: max(1, len(stills) // 3)][:3])
    if "quality" not in parts:
        return
    network = Predictor(arguments.model, device=arguments.device) if arguments.network else None
    for kind, some in (("real stills", stills), ("phantoms", phantoms)):
        for name, motion in (("moderate", MODERATE), ("hard", HARD)):
            cines = [moved(still, motion) for still in some]
            if cines:
                _compare(f"{name}, {len(cines)} {kind}", name, cines, network, arguments.network)


def _compare(
    title: str, name: str, cines: Sequence[MovingCine], network: Predictor | None, few: int
) -> None:
    methods: dict[str, Follow] = {
        "copy": _copy,
        "flow from the key": _flow_from_key,
        "ours, 1 key": _ours(),
    }
    print(f"\n## {title}\n\n{HEAD}", flush=True)
    found = {title: _measured(method, cines) for title, method in methods.items()}
    found["ours, 2 keys"] = _measured(_ours(), cines, keys=2, count_clicks=False)
    for method, figures in found.items():
        print(figures.row(method), flush=True)
    for method, target in ((m, t) for (n, m), t in TARGETS.items() if n == name):
        reached = _mean(found[method].dice)
        print(
            f"{method}: Dice {reached:.3f}, target {target}: {'reached' if reached >= target else 'missed'}"
        )
    ours, flow = (
        np.array([np.mean(v) for v in found[m].dice]) for m in ("ours, 1 key", "flow from the key")
    )
    worst = int((ours - flow).argmin())
    print(
        f"least gain over flow from the key: {(ours - flow)[worst]:+.4f} ({cines[worst].name})",
        flush=True,
    )
    if network is None:
        return
    some = cines[:: max(1, len(cines) // few)][:few]
    print(f"\n{title}, {len(some)} of the cines, with a network\n\n{HEAD}")
    with_network: dict[str, Follow] = {
        "ours, 1 key": _ours(),
        "ours, corrected by the network": _ours(network),
        "network, box of its last mask": _alone(network),
        "micro-sam's rule": _micro_sam(network),
    }
    for method, follow in with_network.items():
        print(_measured(follow, some, count_clicks=False).row(method), flush=True)


def _measured(
    follow: Follow, cines: Sequence[MovingCine], *, keys: int = 1, count_clicks: bool = True
) -> Figures:
    out = Figures()
    for cine in cines:
        count = len(cine.truth)
        given = {round(n * (count - 1) / 2): None for n in range(keys)}
        start = time.process_time()
        masks = follow(cine, {frame: cine.truth[frame] for frame in given})
        out.seconds += time.process_time() - start
        out.frames += count
        rest = [t for t in range(count) if t not in given]
        out.dice.append([dice(masks[t], cine.truth[t]) for t in rest])
        out.j.append([iou(masks[t], cine.truth[t]) for t in rest])
        out.f.append([contour_f(masks[t], cine.truth[t]) for t in rest])
        if count_clicks:
            out.clicks.append(100 * _clicks(follow, cine, masks) / count)
    return out


def _clicks(follow: Follow, cine: MovingCine, masks: Masks) -> int:
    """Keys that someone gives who looks at the frames in order, and corrects the first below 0.9 Dice."""
    keys = {0: cine.truth[0]}
    while True:
        bad = [
            t for t in range(len(masks)) if dice(masks[t], cine.truth[t]) < _HOLD and t not in keys
        ]
        if not bad:
            return len(keys)
        keys[bad[0]] = cine.truth[bad[0]]
        masks = follow(cine, keys)


def contour_f(mask: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> float:
    """DAVIS's F: precision and recall of border pixels within 0.8 % of the diagonal (Perazzi et al. 2016)."""
    reach = max(1, int(np.ceil(_CONTOUR * np.hypot(*mask.shape))))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    borders = [
        m.astype(np.uint8) - cv2.erode(m.astype(np.uint8), np.ones((3, 3), np.uint8))
        for m in (mask, truth)
    ]
    counts = [int(border.sum()) for border in borders]
    if not all(counts):
        return float(not any(counts))
    near = [cv2.dilate(border, disc) for border in borders]
    precision = float((borders[0] & near[1]).sum()) / counts[0]
    recall = float((borders[1] & near[0]).sum()) / counts[1]
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _runs(keys: dict[int, npt.NDArray[np.bool_]], count: int) -> Iterator[tuple[int, int]]:
    frames = sorted(keys)
    yield from zip(frames, [*frames[1:], count], strict=True)


def _copy(cine: MovingCine, keys: dict[int, npt.NDArray[np.bool_]]) -> Masks:
    out = np.zeros_like(cine.truth)
    for first, end in _runs(keys, len(out)):
        out[first:end] = keys[first]
    return out


def _flow_from_key(cine: MovingCine, keys: dict[int, npt.NDArray[np.bool_]]) -> Masks:
    out = np.zeros_like(cine.truth)
    y, x = np.mgrid[0 : out.shape[1], 0 : out.shape[2]].astype(np.float32)
    grid = np.stack([x, y], axis=-1)
    for first, end in _runs(keys, len(out)):
        search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        out[first], flow = keys[first], np.zeros_like(grid)
        for index in range(first + 1, end):
            flow = search.calc(cine.pixels[index], cine.pixels[first], flow)
            warped = cv2.remap(keys[first].astype(np.float32), grid + flow, None, cv2.INTER_LINEAR)
            out[index] = warped >= 0.5
    return out


def _ours(network: Segmenter | None = None, *, stopping: bool = False) -> Follow:
    def follow(cine: MovingCine, keys: dict[int, npt.NDArray[np.bool_]]) -> Masks:
        prompts = {frame: [Prompt(mask=mask)] for frame, mask in keys.items()}
        result = track(
            cine.scan, prompts, stopping=stopping, model=network or "nano",
            correction="off" if network is None else "all",
        )  # fmt: skip
        return np.stack([result.mask(index) for index in range(len(cine.truth))])

    return follow


def _alone(network: Predictor) -> Follow:
    def follow(cine: MovingCine, keys: dict[int, npt.NDArray[np.bool_]]) -> Masks:
        out = np.zeros_like(cine.truth)
        out[0] = keys[0]
        for index in range(1, len(out)):
            if not out[index - 1].any():
                break
            x0, y0, x1, y1 = bounding_box(out[index - 1])
            wide, high = 0.03 * (x1 - x0), 0.03 * (y1 - y0)
            network.set_image(cine.pixels[index])
            out[index] = network.predict(
                Prompt(box=(x0 - wide, y0 - high, x1 + wide, y1 + high))
            ).best[0]
        return out

    return follow


def _micro_sam(network: Predictor) -> Follow:
    def follow(cine: MovingCine, keys: dict[int, npt.NDArray[np.bool_]]) -> Masks:
        out = np.zeros_like(cine.truth)
        out[0] = keys[0]
        for index in range(1, len(out)):
            network.set_image(cine.pixels[index])
            mask = network.predict(Prompt(points=[deepest_point(out[index - 1])])).best[0]
            if iou(mask, out[index - 1]) < 0.5:
                break
            out[index] = mask
        return out

    return follow


def _stops(stills: Sequence[Still]) -> None:
    """Half of the cines show another picture from some frame on; there, any mask is wrong."""
    flagged, bad, late = [], [], []
    for number, still in enumerate(stills):
        cine = moved(still, HARD)
        cut = len(cine.truth) // 3 + number % 7
        broken = replaced(cine, stills[(number + len(stills) // 2) % len(stills)], cut)
        for one in (cine, broken):
            free = _ours()(one, {0: one.truth[0]})
            held = _ours(stopping=True)(one, {0: one.truth[0]})
            stopped = ~held.any(axis=(1, 2))
            flagged += stopped[1:].tolist()
            bad += [
                dice(mask, truth) < _BAD or not truth.any()
                for mask, truth in zip(free[1:], one.truth[1:], strict=True)
            ]
            if one is broken:
                late.append(int((~stopped).sum()) - cut)
    both = np.array(flagged) & np.array(bad)
    print(
        f"\n## Stop rules for Dice < {_BAD}\n\n{2 * len(stills)} cines, {len(bad)} frames, {sum(bad)} bad: "
        f"precision {both.sum() / max(1, sum(flagged)):.3f}, recall {both.sum() / max(1, sum(bad)):.3f}; "
        f"frames from the change to the stop: median {np.median(late):.0f}, most {max(late)}"
    )


def _translations(stills: Sequence[Still]) -> None:
    print(
        "\n## 8 pixels a frame, 6 frames, least Dice of the frames\n\n"
        "| direction | ours | flow from the key |\n|---|---|---|"
    )
    for angle in range(0, 360, 45):
        step = 8 * np.cos(np.radians(angle)), 8 * np.sin(np.radians(angle))
        least = []
        for follow in (_ours(), _flow_from_key):
            cines = [translated(still, step, 6) for still in stills]
            found = [(follow(cine, {0: cine.truth[0]}), cine.truth) for cine in cines]
            least.append(
                min(dice(m, t) for masks, truth in found for m, t in zip(masks, truth, strict=True))
            )
        print(f"| {angle}° | {least[0]:.3f} | {least[1]:.3f} |", flush=True)


def _mean(values: Sequence[Sequence[float]]) -> float:
    return float(np.mean([np.mean(one) for one in values]))


if __name__ == "__main__":
    main()
