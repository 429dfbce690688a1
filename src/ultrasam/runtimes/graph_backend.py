"""What backends that run an exported encoder and decoder have in common: batches, images and masks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np

from ultrasam.errors import UltraSamError
from ultrasam.model.config import ModelConfig
from ultrasam.model.postprocessing import Postprocessor
from ultrasam.model.preprocessing import Preprocessor, TestTimeAugmentation
from ultrasam.prompts import Float32, IntArray, PromptArrays
from ultrasam.weights.exported import Exported

# Image tokens per call of the encoder, whose scores of a ViT-B image at 1024 px take 0.8 GB, and the decoder.
_ENCODED, _DECODED = 4096, 16384
GraphEmbedding = Mapping[str, Float32]


class GraphBackend(ABC):
    """A `Backend` over the graphs of an exported folder; a subclass runs them.

    An embedding is the encoder's outputs for one image, by name.
    """

    def __init__(self, exported: Exported) -> None:
        self.exported = exported

    @property
    def config(self) -> ModelConfig:
        return self.exported.config

    @property
    def preprocessor(self) -> Preprocessor:
        return self.exported.preprocessor

    @property
    def tta(self) -> TestTimeAugmentation:
        return self.exported.tta

    @property
    def postprocessor(self) -> Postprocessor:
        return self.exported.postprocessor

    @abstractmethod
    def run_encoder(self, pixels: Float32) -> dict[str, Float32]:
        """The encoder's outputs for pixels [B, 3, S, S], by name."""

    @abstractmethod
    def run_decoder(self, inputs: Mapping[str, Float32]) -> tuple[Float32, Float32]:
        """The decoder's masks [N, 4, M, M] and predicted IoU [N, 4] for inputs by name."""

    def encode(self, pixels: Float32) -> list[GraphEmbedding]:
        """As `Backend.encode`."""
        count = max(1, _ENCODED // self.config.grid**2)
        found: list[GraphEmbedding] = []
        for start in range(0, len(pixels), count):
            some = np.ascontiguousarray(pixels[start : start + count], np.float32)
            outputs = self.run_encoder(some)
            found += [
                {name: values[i : i + 1].copy() for name, values in outputs.items()}
                for i in range(len(some))
            ]
        return found

    def embedding_to_arrays(self, embedding: GraphEmbedding) -> dict[str, Float32]:
        """An embedding as float32 arrays by name, for a file."""
        return dict(embedding)

    def embedding_from_arrays(self, arrays: Mapping[str, Float32]) -> GraphEmbedding:
        """The embedding of `embedding_to_arrays`."""
        return dict(arrays)

    def decode(
        self,
        embeddings: Sequence[GraphEmbedding],
        prompts: PromptArrays,
        image_index: IntArray,
        *,
        multimask: bool,
    ) -> tuple[Float32, Float32]:
        """As `Backend.decode`."""
        size = self.config.mask_size
        count = max(1, _DECODED // self.config.grid**2)
        masks = 4 if multimask else 1
        logits = np.empty((len(prompts), masks, size, size), np.float32)
        iou = np.empty((len(prompts), masks), np.float32)
        for image, embedding in enumerate(embeddings):
            of_image = np.flatnonzero(np.asarray(image_index) == image)
            for start in range(0, len(of_image), count):
                some = of_image[start : start + count]
                found = self.run_decoder({**embedding, **decoder_inputs(prompts, some, size)})
                if found[0].shape != (len(some), 4, size, size) or found[1].shape != (len(some), 4):
                    raise UltraSamError(
                        f"The decoder of {self.exported.folder} returned masks of shape "
                        f"{found[0].shape} for {len(some)} prompts; use another --runtime."
                    )
                logits[some], iou[some] = found[0][:, :masks], found[1][:, :masks]
        return logits, iou


def decoder_inputs(prompts: PromptArrays, some: IntArray, size: int) -> dict[str, Float32]:
    """The decoder's inputs for some of the prompts.

    Args:
        some: their indices.
        size: side of mask prompts.
    """
    if prompts.masks is None:
        masks: Float32 = np.zeros((len(some), 1, size, size), np.float32)
        has_mask: Float32 = np.zeros(len(some), np.float32)
    else:
        masks = prompts.masks[some]
        has_mask = np.ones(len(some), np.float32)
        if prompts.has_mask is not None:
            has_mask = prompts.has_mask[some].astype(np.float32)
    return {
        "coords": np.ascontiguousarray(prompts.coords[some], np.float32),
        "labels": prompts.labels[some].astype(np.float32),
        "mask_prompts": np.ascontiguousarray(masks, np.float32),
        "has_mask": has_mask,
    }
