"""Extract features of images, prompted regions and patches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ultrasam.errors import ConfigError
from ultrasam.hardware import available_memory
from ultrasam.inference.predictor import Predictor
from ultrasam.inference.segmenter import ScanLike, one_frame
from ultrasam.model.preprocessing import Preprocessor
from ultrasam.model.ultrasam import UltraSam
from ultrasam.prompts import Prompt
from ultrasam.runtimes.attention import set_attention

Features = npt.NDArray[np.float32]

_MAX_SIZE = 4096  # pixels; four times the input of a Segment-Anything model


@dataclass(frozen=True, slots=True)
class ModelInput:
    """Converts a frame to encoder input.

    Attributes:
        size: side S of the input in pixels.
        patch: side of a patch in pixels.
    """

    preprocessor: Preprocessor
    size: int
    patch: int

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
        """Preprocess a frame [H, W] or [H, W, 3].

        Returns:
            Pixels [3, S, S], and the fraction of each patch that the frame covers [S / patch, S / patch].
        """
        resized = replace(self.preprocessor, size=self.size)
        view = resized.view(*pixels.shape[:2])
        image = torch.from_numpy(resized.image(pixels, view))
        return image, torch.from_numpy(view.coverage(self.patch))


def memory_needed(model: UltraSam, size: int) -> float:
    """Rough memory in bytes to encode an image at ``size`` pixels a side: activations of a block, scores of a
    slice of queries, and pixels.

    For nano at 1536 px, 0.27 GiB were measured, for ViT-B at 1024 px 0.33 GiB; this function returns 0.30 and
    0.33.
    """
    config = model.config
    grid = size / config.patch_size
    activations = 12 * config.width * grid**2
    scores = config.heads * 4 * grid**3  # 4 rows of queries at a time
    pixels = 3 * 3 * size**2
    return 1.5 * 4 * (activations + scores + pixels)


def pooled(tokens: Tensor, weights: Tensor) -> Tensor:
    """Weighted means [B, C] of tokens [B, H, W, C] with weights [B, H, W]."""
    weights = weights.to(tokens)[..., None]
    return (tokens * weights).sum(dim=(1, 2)) / weights.sum(dim=(1, 2)).clamp(min=1e-6)


class Embedder:
    """Computes features of the image encoder before its neck (768 channels for ViT-B).

    Methods take a frame's index; None is frame 0, with an `UltraSamWarning` if a scan has others.

    Args:
        model: in evaluation mode.
        size: side of the model input in pixels, a multiple of the patch size and at most 4096; None for the
            model's own. Learned position embeddings are interpolated to other sizes.
        batch: number of images per batch; fewer if the memory is too small.

    Raises:
        ConfigError: The size is not such a number, or needs more memory than the machine has.
    """

    def __init__(self, model: UltraSam, *, size: int | None = None, batch: int = 8) -> None:
        self.model = model
        set_attention(model, str(model.device))
        self.size = size or model.config.image_size
        if self.size % model.config.patch_size or self.size < model.config.patch_size:
            raise ConfigError(
                f"Size {self.size} is not a multiple of the model's patch size, {model.config.patch_size}."
            )
        if self.size > _MAX_SIZE:
            raise ConfigError(
                f"Size {self.size} is too large; use at most {_MAX_SIZE}, the model's own is "
                f"{model.config.image_size}."
            )
        available = available_memory(str(model.device))
        one = memory_needed(model, self.size)
        if available is not None and one > available:
            raise ConfigError(
                f"An image at a size of {self.size} needs about {one / 2**30:.1f} GiB of memory, but "
                f"{available / 2**30:.1f} GiB are free; use a smaller size."
            )
        self.batch = batch if available is None else max(1, min(batch, int(available / one)))

    def images(self, scans: Iterable[ScanLike], *, frame: int | None = None) -> Iterator[Features]:
        """One vector [C] per scan: the mean over the patches that it covers.

        Raises:
            ScanError: A file cannot be read as a scan.
        """
        remaining = iter(scans)
        while group := list(islice(remaining, self.batch)):
            tokens, valid = self._tokens([one_frame(scan, frame) for scan in group])
            yield from np.asarray(pooled(tokens, valid).cpu().numpy(), np.float32)

    def patches(self, scan: ScanLike, *, frame: int | None = None) -> Features:
        """Patch features [h, w, C] of a scan, without padding."""
        tokens, valid = self._tokens([one_frame(scan, frame)])
        rows, columns = (valid[0] > 0).any(dim=1).sum(), (valid[0] > 0).any(dim=0).sum()
        return np.asarray(tokens[0, :rows, :columns].cpu().numpy(), np.float32)

    def regions(
        self, scan: ScanLike, prompts: Sequence[Prompt], *, frame: int | None = None
    ) -> Features:
        """One vector per prompt [N, C]: the mean over patches, weighted by how much the predicted mask
        covers.

        The vector of an empty mask is NaN.

        Raises:
            PromptError: A prompt lies outside the scan.
        """
        pixels = one_frame(scan, frame)
        predictor = Predictor(self.model)
        predictor.set_image(pixels)
        masks = predictor.predict(list(prompts)).masks[:, 0]
        tokens, valid = self._tokens([pixels])
        view = replace(self.model.preprocessor, size=self.size).view(*pixels.shape[:2])
        weights = []
        for mask in masks:
            covered = torch.zeros(self.size, self.size)
            height, width = view.resized_shape
            small = cv2.resize(
                mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA
            )
            covered[:height, :width] = torch.from_numpy(small)
            patch = self.model.config.patch_size
            grid = covered.view(valid.shape[1], patch, valid.shape[2], patch).mean(dim=(1, 3))
            weights.append(grid)
        stacked = torch.stack(weights).to(tokens.device)
        vectors = pooled(tokens.expand(len(masks), -1, -1, -1), stacked)
        vectors[stacked.sum(dim=(1, 2)) == 0] = torch.nan
        return np.asarray(vectors.cpu().numpy(), np.float32)

    def _tokens(self, frames: Sequence[npt.NDArray[np.uint8]]) -> tuple[Tensor, Tensor]:
        preprocess = ModelInput(self.model.preprocessor, self.size, self.model.config.patch_size)
        pairs = [preprocess(pixels) for pixels in frames]
        encoder = self.model.image_encoder
        pixels = torch.stack([pair[0] for pair in pairs]).to(
            self.model.device, encoder.pos_embed.dtype
        )
        with torch.inference_mode():
            tokens = encoder.features(pixels)[-1].float()
        return tokens, torch.stack([pair[1] for pair in pairs]).to(tokens.device)


def nearest(features: Features, query: Features, count: int = 5) -> npt.NDArray[np.int64]:
    """Indices of the rows of ``features`` [N, C] closest to ``query`` [C], best first.

    Closeness is the cosine of the angle seen from the mean of ``features``: what all images share is no
    similarity.
    """
    centered = features - features.mean(axis=0)
    direction = query - features.mean(axis=0)
    norms = np.linalg.norm(centered, axis=1) * np.linalg.norm(direction) + 1e-12
    return np.argsort(-(centered @ direction) / norms, kind="stable")[:count]


def pca_picture(patches: Features) -> npt.NDArray[np.uint8]:
    """RGB image [h, w, 3] of the first three principal components of patches [h, w, C], each rescaled."""
    flat = patches.reshape(-1, patches.shape[-1])
    centered = flat - flat.mean(axis=0)
    _, _, directions = np.linalg.svd(centered, full_matrices=False)
    parts = centered @ directions[:3].T
    low, high = np.percentile(parts, [1, 99], axis=0)
    scaled = np.clip((parts - low) / np.maximum(high - low, 1e-9), 0, 1)
    return np.asarray(255 * scaled, np.uint8).reshape(*patches.shape[:2], -1)
