"""The PyTorch backend, the reference for all other runtimes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ultrasam.model.config import ModelConfig
from ultrasam.model.mask_decoder import NUM_MASK_TOKENS
from ultrasam.model.postprocessing import Postprocessor
from ultrasam.model.preprocessing import Preprocessor, TestTimeAugmentation
from ultrasam.model.prompt_encoder import PromptTensors
from ultrasam.model.ultrasam import ImageEmbedding, UltraSam
from ultrasam.prompts import Float32, IntArray, PromptArrays
from ultrasam.runtimes import cpu_decoder
from ultrasam.runtimes.attention import set_attention

# Image tokens per call on a CPU; more than those of one ViT-B image exceed its cache.
_CPU_TOKENS = 4096
# Prompts per call on a prepared image, where each prompt needs only rows [112, L].
_CPU_SHARED = 4


@dataclass(slots=True)
class TorchEmbedding:
    """One encoded image and, on a CPU, what its prompts without a mask share, computed for the first one."""

    image: ImageEmbedding
    shared: cpu_decoder.SharedImage | None = None


class TorchBackend:
    """Runs a model on its current device.

    Sets the model's attention to the form for that device, which changes results only by rounding. Several
    threads may share a model or a backend.
    """

    def __init__(self, model: UltraSam) -> None:
        self.model = model
        self._samples: tuple[tuple[int, ...], list[list[Tensor]]] = ((), [])
        set_attention(model, str(model.device))

    @property
    def config(self) -> ModelConfig:
        return self.model.config

    @property
    def preprocessor(self) -> Preprocessor:
        return self.model.preprocessor

    @property
    def tta(self) -> TestTimeAugmentation:
        return self.model.tta

    @property
    def postprocessor(self) -> Postprocessor:
        return self.model.postprocessor

    def weights_version(self) -> bytes:
        """Changes when weights that embeddings depend on change: by an optimizer, a merge or a file.

        It is a few values of each tensor, so a change of single weights goes unnoticed; PyTorch's own version
        counters miss writes to ``.data``, as an exponential moving average makes them.
        """
        decoder = self.model.mask_decoder
        modules: list[nn.Module] = [self.model.image_encoder]
        if decoder.high_res_features:
            modules += [decoder.conv_s0, decoder.conv_s1]
        parameters = [p for module in modules for p in module.parameters()]
        places = tuple(p.data_ptr() for p in parameters)
        with torch.inference_mode():
            if places != self._samples[0]:
                # The views keep their memory, so no other weights can take its place unnoticed.
                self._samples = (places, _samples(parameters))
            joined = [torch.cat(values).double() for values in self._samples[1]]
            return bytes(torch.cat(joined).cpu().numpy().tobytes())

    def encode(self, pixels: Float32) -> list[TorchEmbedding]:
        """As `Backend.encode`."""
        with torch.inference_mode():
            images = self.model.encode(torch.from_numpy(pixels).to(self.model.device))
        return [TorchEmbedding(image) for image in images.split()]

    def embedding_to_arrays(self, embedding: TorchEmbedding) -> dict[str, Float32]:
        """An embedding as float32 arrays by name, for a file."""
        image, *high_res = (part.float().cpu().numpy() for part in _parts(embedding.image))
        return {"image": image, **{f"high_res_{i}": part for i, part in enumerate(high_res)}}

    def embedding_from_arrays(self, arrays: Mapping[str, Float32]) -> TorchEmbedding:
        """The embedding of `embedding_to_arrays`, on the model's device."""
        parts = [
            torch.from_numpy(np.ascontiguousarray(arrays[name])).to(self.model.device)
            for name in sorted(arrays, key=lambda name: (name != "image", name))
        ]
        return TorchEmbedding(ImageEmbedding(parts[0], tuple(parts[1:])))

    def decode(
        self,
        embeddings: Sequence[TorchEmbedding],
        prompts: PromptArrays,
        image_index: IntArray,
        *,
        multimask: bool,
    ) -> tuple[Float32, Float32]:
        """As `Backend.decode`."""
        tensors = PromptTensors.from_arrays(prompts).to(self.model.device)
        masks = NUM_MASK_TOKENS if multimask else 1
        with torch.inference_mode():
            if len(embeddings) == 1 and prompts.masks is None and self._shares():
                logits, iou = self._decode_shared(embeddings[0], tensors, masks)
            else:
                images = ImageEmbedding.join([embedding.image for embedding in embeddings])
                logits, iou = self._decode_plain(images, tensors, image_index, masks)
        return _array(logits), _array(iou)

    def _shares(self) -> bool:
        # The norm's deviation, a sum of products, needs more precision than bfloat16.
        return (
            self.model.device.type == "cpu"
            and not self.model.config.prompt_maps
            and not torch.is_autocast_enabled("cpu")
            and cpu_decoder.supports(self.model.mask_decoder)
        )

    def _decode_plain(
        self, images: ImageEmbedding, prompts: PromptTensors, image_index: IntArray, masks: int
    ) -> tuple[Tensor, Tensor]:
        index = torch.from_numpy(np.ascontiguousarray(image_index)).to(self.model.device)
        count = len(prompts)
        if self.model.device.type == "cpu":
            count = max(1, _CPU_TOKENS // self.model.config.grid**2)
        logits, iou = [], []
        for start in range(0, len(prompts), count):
            some = slice(start, start + count)
            output = self.model.decode(images, prompts[some], image_index=index[some])
            logits.append(output.masks[:, :masks])
            iou.append(output.predicted_iou[:, :masks])
        return torch.cat(logits), torch.cat(iou)

    def _decode_shared(
        self, embedding: TorchEmbedding, prompts: PromptTensors, masks: int
    ) -> tuple[Tensor, Tensor]:
        encoder, decoder = self.model.prompt_encoder, self.model.mask_decoder
        shared = embedding.shared
        if shared is None or not torch.equal(
            shared.checksum, cpu_decoder.weights_checksum(self.model)
        ):
            shared = cpu_decoder.prepare(self.model, embedding.image.image)
            embedding.shared = shared
        logits, iou = [], []
        for start in range(0, len(prompts), _CPU_SHARED):
            tokens, unused = decoder.all_tokens(encoder(prompts[start : start + _CPU_SHARED]))
            part = cpu_decoder.decode(decoder, shared, tokens, unused, masks=masks)
            logits.append(part[0])
            iou.append(part[1])
        return torch.cat(logits), torch.cat(iou)


def _parts(image: ImageEmbedding) -> tuple[Tensor, ...]:
    return (image.image, *image.high_res)


def _samples(parameters: Sequence[Tensor]) -> list[list[Tensor]]:
    """Views of a few values of each tensor, by number format."""
    found: dict[torch.dtype, list[Tensor]] = {}
    for flat in (p.detach().reshape(-1) for p in parameters):
        found.setdefault(flat.dtype, []).append(flat[:: max(1, (len(flat) - 1) // 3)])
    return list(found.values())


def _array(tensor: Tensor) -> Float32:
    return tensor.float().cpu().numpy()
