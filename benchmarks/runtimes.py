"""Claim: ONNX Runtime and OpenVINO give the masks that PyTorch gives.

Peer: our PyTorch backend, on the same phantoms and prompts: 1, 3 and 64 per image, clicks and boxes with
errors, with and without a mask prompt. Compares the mask that a prompt gets, in the scan's pixels, and all
four masks' logits. Targets: Dice of at least 0.999 to PyTorch's mask, logits within 0.001. Exit status 1: a
target is missed.

    python benchmarks/runtimes.py [MODEL] [--phantoms 100] [--runtime onnx --runtime openvino]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import count, islice

import numpy as np
import numpy.typing as npt

from ultrasam.geometry import ViewTransform
from ultrasam.hardware import processor
from ultrasam.images.masks import bounding_box
from ultrasam.phantom.acquisition import Phantom, simulate
from ultrasam.prompt_simulation import ClickSampling, noisy_box, simulate_click
from ultrasam.prompts import Float32, Prompt, PromptArrays
from ultrasam.runtimes.backend import Backend
from ultrasam.runtimes.opening import open_backend
from ultrasam.weights.spec import ModelSpec

COUNTS = (1, 3, 64)
STYLE = ClickSampling()
DICE, LOGITS = 0.999, 1e-3
PACKAGES = {"torch": "torch", "onnx": "onnxruntime", "openvino": "openvino"}


@dataclass(slots=True)
class Row:
    """Differences of one runtime for one number of prompts, over all images."""

    dice: list[float] = field(default_factory=list)
    logits: float = 0.0
    iou: float = 0.0
    other_choice: int = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="nano")
    parser.add_argument("--phantoms", type=int, default=100)
    parser.add_argument("--runtime", action="append", choices=("onnx", "openvino"))
    arguments = parser.parse_args()
    spec = ModelSpec.parse(arguments.model)
    reference = open_backend(spec, runtime="torch", device="cpu")
    others = {
        name: open_backend(spec, runtime=name) for name in arguments.runtime or ("onnx", "openvino")
    }
    rows: dict[tuple[str, int, bool], Row] = {}
    phantoms = ((seed, simulate(seed)) for seed in count())
    with_objects = ((seed, phantom) for seed, phantom in phantoms if len(phantom.masks))
    for done, (seed, phantom) in enumerate(islice(with_objects, arguments.phantoms), start=1):
        compare(phantom, seed, reference, others, rows)
        print(f"{done} of {arguments.phantoms}", end="\r", file=sys.stderr, flush=True)
    used = ", ".join(f"{PACKAGES[name]} {version(PACKAGES[name])}" for name in ("torch", *others))
    print(f"{spec.text} on {arguments.phantoms} phantoms, float32; {used}\non {processor()}\n")
    print(
        "| runtime | prompts | masks | prompted | lowest Dice | mean Dice | logits | IoU | other choice |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    missed = False
    for (name, number, masks), row in sorted(rows.items()):
        missed |= min(row.dice) < DICE or row.logits > LOGITS
        print(
            f"| {name} | {number} | {'yes' if masks else 'no'} | {len(row.dice)} | {min(row.dice):.6f} | "
            f"{np.mean(row.dice):.7f} | {row.logits:.1e} | {row.iou:.1e} | {row.other_choice} |"
        )
    print(f"\nDice of at least {DICE}, logits within {LOGITS}: {'missed' if missed else 'reached'}")
    sys.exit(missed)


def compare(
    phantom: Phantom,
    seed: int,
    reference: Backend,
    others: dict[str, Backend],
    rows: dict[tuple[str, int, bool], Row],
) -> None:
    """Add the differences on one phantom."""
    preprocessor = reference.preprocessor
    view = preprocessor.view(*phantom.pixels.shape)
    pixels = preprocessor.image(phantom.pixels, view)[None]
    theirs = reference.encode(pixels)
    ours = {name: backend.encode(pixels) for name, backend in others.items()}
    for number in COUNTS:
        for masks in (False, True) if "mask" in preprocessor.prompt_types else (False,):
            prompts = list(prompts_on(phantom.masks, number, seed))
            arrays = prompt_arrays(reference, prompts, view, masks=masks)
            index = np.zeros(number, np.int64)
            expected = reference.decode(theirs, arrays, index, multimask=True)
            chosen = choices(prompts, expected, masks=masks)
            for name, backend in others.items():
                got = backend.decode(ours[name], arrays, index, multimask=True)
                row = rows.setdefault((name, number, masks), Row())
                row.dice += [
                    dice(view.logits_to_scan(a[k]) > 0, view.logits_to_scan(b[k]) > 0)
                    for a, b, k in zip(got[0], expected[0], chosen, strict=True)
                ]
                row.logits = max(row.logits, float(np.abs(got[0] - expected[0]).max()))
                row.iou = max(row.iou, float(np.abs(got[1] - expected[1]).max()))
                row.other_choice += int((choices(prompts, got, masks=masks) != chosen).sum())


def prompts_on(masks: npt.NDArray[np.bool_], number: int, seed: int) -> Iterator[Prompt]:
    """Clicks, boxes and both on the objects, in turn."""
    rng = np.random.default_rng(seed)
    for i in range(number):
        mask = masks[i % len(masks)]
        box = noisy_box(rng, bounding_box(mask))
        x, y = simulate_click(rng, mask, STYLE)
        kind = i % 3 if number > 1 else seed % 3  # an image's only prompt is not always a click
        if kind == 0:
            yield Prompt(points=[(x, y)])
        elif kind == 1:
            yield Prompt(box=box)
        else:
            outside = simulate_click(rng, ~mask, STYLE)
            yield Prompt(points=np.stack([(x, y), outside]), labels=[1, 0], box=box)


def prompt_arrays(
    backend: Backend, prompts: list[Prompt], view: ViewTransform, *, masks: bool
) -> PromptArrays:
    size = backend.config.mask_size
    parts = []
    for prompt in prompts:
        mask = None
        if masks:  # a disc around the prompt
            x, y = prompt.points[0] if prompt.box is None else prompt.box.reshape(2, 2).mean(axis=0)
            rows, columns = np.mgrid[: view.height, : view.width]
            radius = 0.15 * max(view.height, view.width)
            mask = np.where(np.hypot(columns - x, rows - y) < radius, 8, -8).astype(np.float32)
        parts.append(backend.preprocessor.prompt(prompt, view, mask=mask, mask_size=size))
    return PromptArrays.concatenate(parts)


def choices(
    prompts: list[Prompt], found: tuple[Float32, Float32], *, masks: bool
) -> npt.NDArray[np.int64]:
    """Which of the four masks each prompt gets."""
    best = 1 + found[1][:, 1:].argmax(axis=1)
    single = np.array([prompt.is_single_click and not masks for prompt in prompts])
    return np.where(single, best, 0)


def dice(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float:
    """1 if both are empty."""
    total = int(a.sum() + b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0


if __name__ == "__main__":
    main()
