"""Measure a model on this machine: encoder, decoder, a click and an image, in each runtime and precision."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import count
from typing import Any

import numpy as np

from ultrasam.benchmark.peers import Peer, peer_of
from ultrasam.benchmark.timing import Timing, added_memory, busy_process, matrix_rate, timings
from ultrasam.benchmark.variants import variants_of
from ultrasam.errors import MissingDependencyError
from ultrasam.hardware import processor
from ultrasam.inference.predictor import Predictor
from ultrasam.model.config import ModelConfig
from ultrasam.phantom.acquisition import Phantom, simulate
from ultrasam.progress import OnProgress, no_progress
from ultrasam.prompts import Float32, Prompt, PromptArrays
from ultrasam.runtimes.backend import Backend
from ultrasam.weights.exported import INT8
from ultrasam.weights.spec import ModelSpec

_PACKAGES = ("torch", "onnxruntime", "openvino", "transformers")


@dataclass(slots=True)
class Row:
    """The measurements of one runtime and precision; what was not measured is None.

    Attributes:
        encoder: one preprocessed image.
        decoder: one click on an embedding, to low-res logits.
        click: one click on an image that is set, to a mask in its pixels, in one view.
        image: setting an image and the first click, in one view.
        all_views: the same in the views that the weights average.
        busy_encoder, busy_click: as ``encoder`` and ``click``, while another process keeps a core busy.
        memory: what ``image`` adds to the process, in MiB.
        share: the encoder's operations per second of the processor's time, over those of matrix products of
            this precision; other programs on the machine do not change it. Not measured in int8.
        dice: mean Dice by prompt type.
    """

    runtime: str
    precision: str
    encoder: Timing | None = None
    decoder: Timing | None = None
    click: Timing | None = None
    image: Timing | None = None
    all_views: Timing | None = None
    busy_encoder: Timing | None = None
    busy_click: Timing | None = None
    memory: float | None = None
    share: float | None = None
    dice: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Benchmark:
    """The table of a machine.

    Attributes:
        operations: of the encoder for one image, in 10⁹.
        rates: of matrix products, in 10⁹ operations per second of a core, by precision.
        left_out: a sentence for each way to run the model that is not in the table.
    """

    model: str
    image_size: int
    processor: str
    threads: int
    versions: dict[str, str]
    runs: int
    operations: float
    rates: dict[str, float]
    rows: tuple[Row, ...]
    left_out: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON; times are in seconds."""
        return asdict(self)


def run_benchmark(
    spec: ModelSpec,
    *,
    runs: int = 7,
    int8: bool = False,
    busy: bool = False,
    data: Sequence[str] = (),
    limit: int | None = None,
    on_progress: OnProgress = no_progress,
) -> Benchmark:
    """Measure a promptable model in all that can run it here, and transformers' if it has the same network.

    Calls take turns, and their medians are reported. Models are all in memory at once.

    Args:
        int8: also in int8, see `ultrasam.benchmark.variants.variants_of`.
        busy: measure encoder and click also while another process keeps a core busy.
        data: data sets to measure Dice on, as `ultrasam.evaluation.sources.open_evaluation_datasets` takes.
        limit: images of each data set.

    Raises:
        CheckpointError: The model cannot be loaded.
        ConfigError: The name says how the model is to be run.
        ExportError: The model's graphs for another runtime differ from PyTorch's.
        MissingDependencyError: No runtime for an export is installed, or ``data`` needs an extra.
    """
    variants, left_out = variants_of(spec, int8=int8)
    backends: dict[str, Backend] = {}
    rows: dict[str, Row] = {}
    for variant in variants:
        backend = variant.open()
        got = getattr(backend, "precision", variant.precision)
        if got != variant.precision:
            left_out.append(f"{variant.name}: {variant.runtime} computes in {got} instead.")
            continue
        backends[variant.name] = backend
        rows[variant.name] = Row(variant.runtime, variant.precision)
    first = next(iter(backends.values()))
    phantom = _phantom()
    prompt = Prompt(points=[_inside(phantom)])
    pixels, arrays = _inputs(first, phantom, prompt)
    peer = peer_of(first)
    if isinstance(peer, Peer):
        rows[peer.name] = Row(peer.name, "float32")
    elif peer:
        left_out.append(peer)
    steps = 5 + busy + bool(data)
    on_progress(0, steps)
    operations = encoder_operations(first.config)
    rates = {
        precision: matrix_rate(precision)
        for precision in {r.precision for r in rows.values()} - {INT8}
    }

    encoders: dict[str, Any] = {n: lambda b=b: b.encode(pixels) for n, b in backends.items()}
    embedded = {name: backend.encode(pixels) for name, backend in backends.items()}
    index = np.zeros(1, np.int64)
    decoders: dict[str, Any] = {
        name: lambda b=backend, e=embedded[name]: b.decode(e, arrays, index, multimask=True)
        for name, backend in backends.items()
    }
    if isinstance(peer, Peer):
        encoders[peer.name] = lambda: peer.encode(pixels)
        embedding = peer.encode(pixels)
        decoders[peer.name] = lambda: peer.decode(embedding, arrays)
    for name, timing in timings(encoders, runs=runs).items():
        rows[name].encoder = timing
        if rate := rates.get(rows[name].precision):
            rows[name].share = operations / timing.cpu / rate
    on_progress(1, steps)
    for name, timing in timings(decoders, runs=3 * runs).items():
        rows[name].decoder = timing
    on_progress(2, steps)
    predictors = {name: Predictor(backend, tta=False) for name, backend in backends.items()}

    def image(predictor: Predictor) -> None:
        predictor.set_image(phantom.pixels)
        predictor.predict(prompt)

    for name, predictor in predictors.items():
        rows[name].memory = _memory(lambda p=predictor: image(p))
    images: dict[str, Any] = {n: lambda p=p: image(p) for n, p in predictors.items()}
    for name, timing in timings(images, runs=runs).items():
        rows[name].image = timing
    on_progress(3, steps)
    clicks: dict[str, Any] = {n: lambda p=p: p.predict(prompt) for n, p in predictors.items()}
    for name, timing in timings(clicks, runs=3 * runs).items():
        rows[name].click = timing
    on_progress(4, steps)
    if first.tta.zoom or first.tta.flip:
        full = {name: Predictor(backend) for name, backend in backends.items()}
        views: dict[str, Any] = {n: lambda p=p: image(p) for n, p in full.items()}
        for name, timing in timings(views, runs=runs).items():
            rows[name].all_views = timing
    on_progress(5, steps)
    if busy:
        with busy_process():
            for name, timing in timings(encoders, runs=runs).items():
                rows[name].busy_encoder = timing
            for name, timing in timings(clicks, runs=3 * runs).items():
                rows[name].busy_click = timing
        on_progress(6, steps)
    if data:
        from ultrasam.benchmark.quality import dice_of

        for name, found in dice_of(spec.text, backends, data, limit=limit).items():
            rows[name].dice = found
        on_progress(steps, steps)
    return Benchmark(
        spec.text, first.config.image_size, processor(), _threads(), _versions(), runs,
        operations / 1e9, {name: rate / 1e9 for name, rate in rates.items()}, tuple(rows.values()),
        tuple(left_out),
    )  # fmt: skip


def encoder_operations(config: ModelConfig) -> float:
    """Floating-point operations of the encoder for one image, a multiplication and an addition each; counted
    without computing them."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from ultrasam.model.ultrasam import UltraSam

    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        UltraSam(config).eval().encode(torch.zeros(1, 3, config.image_size, config.image_size))
    return float(counter.get_total_flops())


def _phantom() -> Phantom:
    return next(phantom for seed in count() if len((phantom := simulate(seed)).masks))


def _inside(phantom: Phantom) -> tuple[float, float]:
    """A point in the first object."""
    ys, xs = np.nonzero(phantom.masks[0])
    middle = len(xs) // 2
    return float(xs[middle]) + 0.5, float(ys[middle]) + 0.5


def _inputs(backend: Backend, phantom: Phantom, prompt: Prompt) -> tuple[Float32, PromptArrays]:
    preprocessor = backend.preprocessor
    view = preprocessor.view(*phantom.pixels.shape[:2])
    size = backend.config.mask_size
    arrays = preprocessor.prompt(prompt, view, mask=None, mask_size=size)
    return preprocessor.image(phantom.pixels, view)[None], arrays


def _memory(call: Any) -> float | None:
    try:
        return added_memory(call)
    except MissingDependencyError:
        return None


def _threads() -> int:
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() else os.cpu_count() or 1


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except ModuleNotFoundError:
            continue
    return found
