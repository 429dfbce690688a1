"""What is encoded of a frame is what the predictor encodes."""

from __future__ import annotations

import numpy as np

from ultrasam.inference.augmentation import encoder_inputs
from ultrasam.inference.predictor import Predictor
from ultrasam.model.ultrasam import UltraSam
from ultrasam.runtimes.torch_backend import TorchBackend


def test_embeddings_of_the_inputs_are_those_of_the_predictor(small_nano: UltraSam) -> None:
    backend = TorchBackend(small_nano)
    frame = np.random.default_rng(0).integers(0, 255, (90, 120, 3)).astype(np.uint8)
    predictor = Predictor(backend)
    predictor.set_image(frame)
    found = backend.encode(encoder_inputs(frame, backend.preprocessor, predictor.tta))
    assert len(found) == len(predictor.embeddings) == 2
    for one, expected in zip(found, predictor.embeddings, strict=True):
        for name, values in backend.embedding_to_arrays(one).items():
            assert np.array_equal(values, backend.embedding_to_arrays(expected)[name])
