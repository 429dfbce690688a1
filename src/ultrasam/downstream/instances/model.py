"""Instance and semantic segmentation without prompts: Mask2Former over an image encoder of ours.

Mask2Former (Cheng et al. 2022) is transformers' implementation; what is ours is what it looks at: a pyramid
over our encoder in place of its backbone (arXiv 2411.16222, downstream).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ultrasam.downstream.backbone import Backbone, empty_backbone
from ultrasam.downstream.features import ModelInput
from ultrasam.downstream.instances.pyramid import Pyramid
from ultrasam.downstream.settings import PyramidKind
from ultrasam.downstream.task_folders import INSTANCES, read_model, write_model
from ultrasam.errors import CheckpointError
from ultrasam.extras import needs
from ultrasam.geometry import ViewTransform

_MAX_DETECTIONS = 100  # detections an image, as COCO counts


@dataclass(frozen=True, slots=True)
class HeadConfig:
    """What is put over the encoder; the defaults are the paper's but for the pyramid's scales.

    Attributes:
        classes: names, in the order of the logits.
        size: side of the model's input in pixels.
        pyramid: see `ultrasam.downstream.instances.pyramid.Pyramid`.
        queries: most objects that can be told apart in an image.
        width: channels of pixel decoder, queries and masks.
        pixel_layers, layers: of the pixel decoder (deformable attention) and of the decoder.
        points: at which a mask's losses are computed.
    """

    classes: tuple[str, ...]
    size: int
    pyramid: PyramidKind = "simple"
    queries: int = 100
    width: int = 256
    pixel_layers: int = 6
    layers: int = 9
    points: int = 12544


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Objects found in a frame, the most confident first.

    Attributes:
        masks: [N, H, W] bool, in the frame's pixels; they may overlap.
        labels: N indices of classes.
        scores: [N], the class's probability times the mean of the mask's.
    """

    masks: npt.NDArray[np.bool_]
    labels: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]

    def above(self, score: float) -> Detections:
        """Those of at least this score."""
        keep = self.scores >= score
        return Detections(self.masks[keep], self.labels[keep], self.scores[keep])


class InstanceSegmenter(nn.Module):
    """Mask2Former over the encoder of ``model``, which is used as it is, and trained.

    ``forward(pixels, masks, labels)`` takes preprocessed pixels [B, 3, S, S] and, of each image, its masks
    [n, S, S] and class indices [n], and returns the loss: classes × 2, masks' cross-entropy × 5 and Dice × 5
    at sampled points, after every layer (arXiv 2411.16222, downstream).
    """

    def __init__(self, model: Backbone, head_config: HeadConfig) -> None:
        super().__init__()
        with needs("Finding objects without prompts", extra="downstream"):
            from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation
            from transformers.models.mask2former.modeling_mask2former import Mask2FormerPixelDecoder

        self.head_config = head_config
        self.config, self.preprocessor = model.config, model.preprocessor
        pyramid = Pyramid(model, head_config.pyramid)
        # A backbone has to be named; a tiny one is, and then replaced.
        config = Mask2FormerConfig(
            backbone_config={
                "model_type": "swin", "depths": [1, 1, 1, 1], "embed_dim": 8, "num_heads": [1, 1, 1, 1],
                "out_features": ["stage1", "stage2", "stage3", "stage4"],
            },
            num_queries=head_config.queries,
            feature_size=head_config.width, mask_feature_size=head_config.width, hidden_dim=head_config.width,
            encoder_feedforward_dim=4 * head_config.width, dim_feedforward=8 * head_config.width,
            encoder_layers=head_config.pixel_layers, decoder_layers=head_config.layers + 1,
            train_num_points=head_config.points, feature_strides=list(pyramid.strides),
            # Half of what is finest among the three coarser maps: the pixel decoder then takes one step
            # upwards, and the finest map goes in there.
            common_stride=pyramid.strides[1] // 2,
        )  # fmt: skip
        config.num_labels = len(head_config.classes)
        net = Mask2FormerForUniversalSegmentation(config)
        level = net.model.pixel_level_module
        level.encoder = _Backbone(pyramid)
        level.decoder = Mask2FormerPixelDecoder(config, feature_channels=list(pyramid.channels))
        level.decoder.apply(net._init_weights)
        self.net = net

    @property
    def pyramid(self) -> Pyramid:
        return cast(Pyramid, self.net.model.pixel_level_module.encoder.pyramid)

    def forward(self, pixels: Tensor, masks: Sequence[Tensor], labels: Sequence[Tensor]) -> Tensor:
        out = self.net(pixel_values=pixels, mask_labels=list(masks), class_labels=list(labels))
        return cast(Tensor, out.loss)

    def input(self, frame: npt.NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
        """A frame [H, W] or [H, W, 3] as the network's pixels [3, S, S], and the share of each patch that
        shows it [h, w]."""
        size = self.head_config.size
        return ModelInput(self.preprocessor, size, self.config.patch_size)(frame)

    def find(self, frame: npt.NDArray[np.uint8]) -> Detections:
        """Objects of a frame [H, W] or [H, W, 3], as Mask2Former finds instances: the most confident pairs of
        query and class, at most 100."""
        return self._detections(*self._predict(frame))

    def label_map(self, frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Semantic segmentation of a frame: [H, W], 0 is background, k the k-th class; as Mask2Former's
        (queries' masks weighted by their classes), where it is over one half."""
        return self._label_map(*self._predict(frame))

    def predict(self, frame: npt.NDArray[np.uint8]) -> tuple[Detections, npt.NDArray[np.uint8]]:
        """`find` and `label_map` from one pass through the network."""
        seen = self._predict(frame)
        return self._detections(*seen), self._label_map(*seen)

    @torch.inference_mode()
    def _predict(self, frame: npt.NDArray[np.uint8]) -> tuple[Tensor, Tensor, ViewTransform]:
        """Class probabilities [Q, K], mask logits [Q, h, w] of the input, and the view."""
        self.eval()
        pixels, _ = self.input(frame)
        device = self.net.class_predictor.weight.device
        out = self.net(pixel_values=pixels[None].to(device))
        chances = out.class_queries_logits[0].softmax(dim=-1)[:, :-1].float().cpu()
        view = replace(self.preprocessor, size=self.head_config.size).view(*frame.shape[:2])
        return chances, out.masks_queries_logits[0].float().cpu(), view

    def _detections(self, chances: Tensor, logits: Tensor, view: ViewTransform) -> Detections:
        best = chances.flatten().topk(min(_MAX_DETECTIONS, chances.numel()))
        masks, scores, labels = [], [], []
        for value, index in zip(best.values.tolist(), best.indices.tolist(), strict=True):
            query, label = divmod(index, len(self.head_config.classes))
            at_scan = view.logits_to_scan(logits[query].numpy())
            mask = at_scan > 0
            if mask.any():
                masks.append(mask)
                labels.append(label)
                scores.append(value * float((1 / (1 + np.exp(-at_scan[mask]))).mean()))
        order = np.argsort(-np.asarray(scores), kind="stable")
        shape = (view.height, view.width)
        stacked = np.stack(masks)[order] if masks else np.zeros((0, *shape), bool)
        return Detections(stacked, np.asarray(labels, int)[order], np.asarray(scores, float)[order])

    def _label_map(
        self, chances: Tensor, logits: Tensor, view: ViewTransform
    ) -> npt.NDArray[np.uint8]:
        by_class = torch.einsum("qk,qhw->khw", chances, logits.sigmoid()).numpy()
        maps = np.stack([view.logits_to_scan(m, outside=0.0) for m in by_class])
        out = np.where(maps.max(axis=0) > 0.5, maps.argmax(axis=0) + 1, 0)
        return np.asarray(out, np.uint8)


class _Backbone(nn.Module):
    """A pyramid as transformers' pixel decoder wants it."""

    def __init__(self, pyramid: Pyramid) -> None:
        super().__init__()
        self.pyramid = pyramid

    def forward(self, pixels: Tensor) -> SimpleNamespace:
        return SimpleNamespace(feature_maps=self.pyramid(pixels))


def start_head(segmenter: InstanceSegmenter, repository: str) -> tuple[int, int]:
    """Give all but the encoder the weights of a Mask2Former from the Hugging Face hub, such as
    ``facebook/mask2former-swin-small-coco-instance`` (arXiv 2411.16222 starts from COCO's), as far as shapes
    agree: classes and what touches the encoder's channels stay fresh.

    Returns:
        How many tensors were taken, of how many.

    Raises:
        CheckpointError: it cannot be loaded, or nothing of it fits.
    """
    with needs("Finding objects without prompts", extra="downstream"):
        from transformers import Mask2FormerForUniversalSegmentation

        from ultrasam.download import from_pretrained

    try:
        theirs = from_pretrained(Mask2FormerForUniversalSegmentation, repository).state_dict()
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(f"transformers cannot load '{repository}': {reason}") from error
    ours = {
        name: value
        for name, value in segmenter.net.state_dict().items()
        if ".encoder.pyramid." not in name and not name.startswith("criterion.")
    }
    taken = {
        name: theirs[name]
        for name, value in ours.items()
        if name in theirs and theirs[name].shape == value.shape
    }
    if not taken:
        raise CheckpointError(f"Nothing of '{repository}' fits; set width=256 and queries=100.")
    segmenter.net.load_state_dict(taken, strict=False)
    return len(taken), len(ours)


def save_instance_segmenter(
    segmenter: InstanceSegmenter, folder: Path, note: dict[str, Any]
) -> None:
    """Weights, and a JSON file with classes, sizes, preprocessing and ``note`` (recipe and figures)."""
    head = asdict(segmenter.head_config)
    classes = head.pop("classes")
    about = {"head": head, **note}
    write_model(
        segmenter, folder, INSTANCES, classes=classes, config=segmenter.config.to_json(),
        preprocessor=segmenter.preprocessor, about=about,
    )  # fmt: skip


def load_instance_segmenter(folder: str | Path, device: str | None = None) -> InstanceSegmenter:
    """A saved instance segmenter, ready to find.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """

    def build(about: dict[str, Any]) -> InstanceSegmenter:
        head = about["head"] if "head" in about else about["plan"]  # before 0.2
        head_config = HeadConfig(classes=tuple(about["classes"]), **head)
        return InstanceSegmenter(empty_backbone(about), head_config)

    return read_model(Path(folder), INSTANCES, build, device=device)
