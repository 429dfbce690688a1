"""Features of images, of regions that prompts point at, and of patches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ultrasam.errors import PromptError
from ultrasam.geometry import Letterbox
from ultrasam.inference.predictor import Predictor
from ultrasam.inference.segmenter import ScanLike, as_scan
from ultrasam.model.ultrasam import UltraSam
from ultrasam.prompts import Prompt

Features = npt.NDArray[np.float32]


class CanvasConfig(Protocol):
    """What a canvas must know of a model."""

    @property
    def patch_size(self) -> int: ...
    @property
    def pixel_mean(self) -> tuple[float, float, float]: ...
    @property
    def pixel_std(self) -> tuple[float, float, float]: ...


def canvas(config: CanvasConfig, pixels: npt.NDArray[np.uint8], size: int) -> tuple[Tensor, Tensor]:
    """A frame [H, W] or [H, W, 3] on a square canvas.

    Returns:
        Normalised pixels [3, size, size], zero-padded; and the share of each patch that shows the frame,
        [size / patch, size / patch].
    """
    view = Letterbox.whole(*pixels.shape[:2], size=size)
    image = view.image_to_model(pixels)
    rgb = np.repeat(image[..., None], 3, axis=-1) if image.ndim == 2 else image
    mean, std = (torch.tensor(v)[:, None, None] for v in (config.pixel_mean, config.pixel_std))
    tensor = (torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1).float() - mean) / std
    height, width = view.inner
    padded = torch.zeros(3, size, size)
    padded[:, :height, :width] = tensor
    patch = config.patch_size
    shown = torch.zeros(size, size)
    shown[:height, :width] = 1
    grid = shown.view(size // patch, patch, size // patch, patch).mean(dim=(1, 3))
    return padded, grid


def pooled(tokens: Tensor, weights: Tensor) -> Tensor:
    """Means of tokens [B, H, W, C] by weights [B, H, W]; [B, C]."""
    weights = weights.to(tokens)[..., None]
    return (tokens * weights).sum(dim=(1, 2)) / weights.sum(dim=(1, 2)).clamp(min=1e-6)


class Embedder:
    """Features of the image encoder before its neck (768 numbers of a ViT-B).

    Args:
        model: in evaluation mode.
        size: side of the canvas in pixels, a multiple of the patch; the model's own where None. Learned
            positions are interpolated to another one.
        batch: images at once.

    Raises:
        PromptError: the size is not in whole patches.
    """

    def __init__(self, model: UltraSam, *, size: int | None = None, batch: int = 8) -> None:
        self.model, self.batch = model, batch
        self.size = size or model.config.image_size
        if self.size % model.config.patch_size or self.size < model.config.patch_size:
            raise PromptError(
                f"The size {self.size} is not a multiple of the model's patch, {model.config.patch_size}."
            )

    def images(self, scans: Iterable[ScanLike], *, frame: int = 0) -> Iterator[Features]:
        """One vector [C] of each scan: the mean of the patches that show it.

        Raises:
            ScanError: a file is no scan.
        """
        waiting = iter(scans)
        while group := list(islice(waiting, self.batch)):
            tokens, shown = self._tokens([as_scan(scan).frame(frame) for scan in group])
            yield from np.asarray(pooled(tokens, shown).cpu().numpy(), np.float32)

    def patches(self, scan: ScanLike, *, frame: int = 0) -> Features:
        """[h, w, C]: the patches that show the scan, padding cut away."""
        tokens, shown = self._tokens([as_scan(scan).frame(frame)])
        rows, columns = (shown[0] > 0).any(dim=1).sum(), (shown[0] > 0).any(dim=0).sum()
        return np.asarray(tokens[0, :rows, :columns].cpu().numpy(), np.float32)

    def regions(self, scan: ScanLike, prompts: Sequence[Prompt], *, frame: int = 0) -> Features:
        """[N, C]: means of the patches that each prompt's mask covers, by the share that it covers.

        Where the model finds nothing, the patches of the whole scan.

        Raises:
            PromptError: a prompt lies outside the scan.
        """
        pixels = as_scan(scan).frame(frame)
        predictor = Predictor(self.model)
        predictor.set_image(pixels)
        masks = predictor.predict(list(prompts)).masks[:, 0]
        tokens, shown = self._tokens([pixels])
        view = Letterbox.whole(*pixels.shape[:2], size=self.size)
        weights = []
        for mask in masks:
            covered = torch.zeros(self.size, self.size)
            height, width = view.inner
            small = cv2.resize(
                mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA
            )
            covered[:height, :width] = torch.from_numpy(small)
            patch = self.model.config.patch_size
            grid = covered.view(shown.shape[1], patch, shown.shape[2], patch).mean(dim=(1, 3))
            weights.append(grid if bool(grid.any()) else shown[0])
        stacked = torch.stack(weights).to(tokens.device)
        return np.asarray(
            pooled(tokens.expand(len(masks), -1, -1, -1), stacked).cpu().numpy(), np.float32
        )

    def _tokens(self, frames: Sequence[npt.NDArray[np.uint8]]) -> tuple[Tensor, Tensor]:
        pairs = [canvas(self.model.config, pixels, self.size) for pixels in frames]
        encoder = self.model.image_encoder
        pixels = torch.stack([pair[0] for pair in pairs]).to(
            self.model.device, encoder.pos_embed.dtype
        )
        with torch.inference_mode():
            tokens = encoder.features(pixels)[-1].float()
        return tokens, torch.stack([pair[1] for pair in pairs]).to(tokens.device)


def nearest(features: Features, query: Features, count: int = 5) -> npt.NDArray[np.int64]:
    """Indices of the rows of ``features`` [N, C] most alike to ``query`` [C] by cosine, best first."""
    centred = features - features.mean(axis=0)
    wanted = query - features.mean(axis=0)
    norms = np.linalg.norm(centred, axis=1) * np.linalg.norm(wanted) + 1e-12
    return np.argsort(-(centred @ wanted) / norms, kind="stable")[:count]


def pca_picture(patches: Features) -> npt.NDArray[np.uint8]:
    """[h, w, 3] RGB: the first three principal components of patches [h, w, C], each over its range."""
    flat = patches.reshape(-1, patches.shape[-1])
    centred = flat - flat.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    parts = centred @ directions[:3].T
    low, high = np.percentile(parts, [1, 99], axis=0)
    scaled = np.clip((parts - low) / np.maximum(high - low, 1e-9), 0, 1)
    return np.asarray(255 * scaled, np.uint8).reshape(*patches.shape[:2], -1)
