"""ServedModel: the network of an inference server, which one thread uses."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from ultrasam.images.pixels import Frame
from ultrasam.inference.augmentation import encoder_inputs
from ultrasam.inference.predictor import Predictor
from ultrasam.prompts import Float32, Prediction, Prompt
from ultrasam.runtimes.backend import Backend
from ultrasam.runtimes.opening import open_backend
from ultrasam.serve.batching import best_batch
from ultrasam.serve.cache import EmbeddedFrame
from ultrasam.serve.loaded_model import ModelInfo, precision_of, runtime_of, weights_hash_of
from ultrasam.weights.spec import ModelSpec

_MOST_IMAGES = 16  # in a batch
_REPEATS = 3
_SIDE = 256  # of the frame that is measured first


class ServedModel:
    """A network with the options of `Predictor`, and what is known of it.

    Args:
        backend: the network.
        name: as it was given.
        refine, tta: as in `Predictor`.

    Raises:
        ConfigError: The options do not fit the model.

    Attributes:
        info: what runs.
        precision: of the image encoder.
        batch: the largest batch that pays here, by `measure`.
        expected: seconds per item of each kind of work, by `measure`.
    """

    def __init__(
        self, backend: Backend, *, name: str, refine: bool = False, tta: bool = True
    ) -> None:
        self.backend, self._refine, self._tta = backend, refine, tta
        self.info = ModelInfo(name, weights_hash_of(backend), runtime_of(backend))
        self.precision = precision_of(backend)
        self.batch = 1
        self.expected: dict[str, float] = {}
        self._new_predictor()  # refuses options that do not fit the model

    @classmethod
    def open(
        cls,
        model: str,
        *,
        device: str | None = None,
        runtime: str | None = None,
        precision: str | None = None,
    ) -> ServedModel:
        """A model by name or path, with options such as ``nano+no-tta``.

        Args:
            device, runtime, precision: as in `ultrasam.load`.

        Raises:
            CheckpointError, ConfigError, DeviceError: It cannot be loaded.
        """
        spec = ModelSpec.parse(model)
        backend = open_backend(spec, device=device, runtime=runtime, precision=precision)
        return cls(backend, name=model, refine=spec.refine, tta=spec.tta)

    @property
    def accepts(self) -> list[str]:
        """The types of prompts that the weights were trained with."""
        return sorted(self.backend.preprocessor.prompt_types)

    def measure(self) -> None:
        """Find the batch that pays, and how long the first requests will take."""
        frame = np.random.default_rng(0).integers(0, 255, (_SIDE, _SIDE)).astype(np.uint8)
        inputs = self.inputs(frame)
        self.batch, per_image = best_batch(self.backend.encode, inputs[:1], most=_MOST_IMAGES)
        self.expected = {"encode": per_image * len(inputs)}
        embedded = EmbeddedFrame(frame, list(self.backend.encode(inputs)))
        middle = _SIDE / 2
        for kind, prompt in (
            ("click", Prompt(points=[(middle, middle)])),
            ("box", Prompt(box=(middle / 2, middle / 2, 3 * middle / 2, 3 * middle / 2))),
        ):
            if {"click": "point", "box": "box"}[kind] not in self.accepts:
                continue
            times = []
            for _ in range(_REPEATS):
                start = time.perf_counter()
                self.predict(embedded, [prompt], multimask=None)
                times.append(time.perf_counter() - start)
            self.expected[kind] = min(times)  # the first one prepares what later ones share

    def inputs(self, frame: Frame) -> Float32:
        """What is encoded of a frame, [V, 3, S, S]; any thread may call it."""
        return encoder_inputs(frame, self.backend.preprocessor, self._new_predictor().tta)

    @property
    def views(self) -> int:
        """How many embeddings a frame has."""
        return 2 if self._new_predictor().tta.flip else 1

    def predict(
        self, embedded: EmbeddedFrame, prompts: Sequence[Prompt], *, multimask: bool | None
    ) -> Prediction:
        """As `Predictor.predict`, on a frame that is encoded.

        A predictor of its own for each call keeps no views that nobody counts.
        """
        predictor = self._new_predictor()
        predictor.set_image(embedded.pixels, embeddings=embedded.embeddings)
        return predictor.predict(prompts, multimask=multimask)

    def _new_predictor(self) -> Predictor:
        return Predictor(self.backend, refine=self._refine, tta=self._tta)


def work_of(prompts: Sequence[Prompt]) -> dict[str, int]:
    """How many items of each kind prompts are: a single click may be decoded in several views."""
    clicks = sum(prompt.is_single_click for prompt in prompts)
    return {"click": clicks, "box": len(prompts) - clicks}


def only_kind(prompts: Sequence[Prompt]) -> str | None:
    """The kind of all prompts; None if they differ."""
    kinds = [kind for kind, count in work_of(prompts).items() if count]
    return kinds[0] if len(kinds) == 1 else None


def state_of(model: ServedModel) -> dict[str, Any]:
    """What the server says of its model."""
    return {
        "name": model.info.name, "weights": model.info.weights, "runtime": model.info.runtime,
        "precision": model.precision, "prompts": model.accepts, "batch": model.batch,
    }  # fmt: skip
