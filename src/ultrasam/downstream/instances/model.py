"""The instance segmenter: Mask2Former with an UltraSam image encoder as its backbone.

Mask2Former (Cheng et al. 2022) is transformers' implementation; its backbone is replaced by a feature pyramid
over the image encoder (arXiv 2411.16222, downstream).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ultrasam.downstream.backbone import Backbone, empty_backbone
from ultrasam.downstream.features import ModelInput
from ultrasam.downstream.instances.detections import FindsObjects
from ultrasam.downstream.instances.pyramid import Pyramid
from ultrasam.downstream.settings import HeadSettings
from ultrasam.downstream.task_folders import INSTANCES, read_model, write_model
from ultrasam.errors import CheckpointError, one_line
from ultrasam.extras import needs
from ultrasam.geometry import ViewTransform
from ultrasam.prompts import Float32


class HeadConfig(HeadSettings):
    """The head of a segmenter that is built.

    Attributes:
        classes: names, in the order of the logits.
        size: side of the model input in pixels.
    """

    classes: tuple[str, ...]
    size: int


class InstanceSegmenter(FindsObjects, nn.Module):
    """Mask2Former with the encoder of ``model``, which is trained in place.

    ``forward(pixels, masks, labels)`` takes preprocessed pixels [B, 3, S, S] and, for each image, masks [n,
    S, S] and class indices [n]. It returns the loss: 2 × classification + 5 × mask cross-entropy + 5 × mask
    Dice, at sampled points and after every layer (arXiv 2411.16222, downstream).
    """

    def __init__(self, model: Backbone, head_config: HeadConfig) -> None:
        super().__init__()
        with needs("Instance segmentation", extra="downstream"):
            from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation
            from transformers.models.mask2former.modeling_mask2former import Mask2FormerPixelDecoder

        self.head_config = head_config
        self.config, self.preprocessor = model.config, model.preprocessor
        pyramid = Pyramid(model, head_config.pyramid)
        # transformers requires a backbone; this tiny one is replaced below.
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
            # Half of the finest stride among the three coarser maps, so that the pixel decoder takes one
            # upsampling step, which uses the finest map.
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
        """The feature pyramid that serves as backbone."""
        return cast(Pyramid, self.net.model.pixel_level_module.encoder.pyramid)

    def forward(self, pixels: Tensor, masks: Sequence[Tensor], labels: Sequence[Tensor]) -> Tensor:
        """Training loss (scalar)."""
        out = self.net(pixel_values=pixels, mask_labels=list(masks), class_labels=list(labels))
        return cast(Tensor, out.loss)

    def input(self, frame: npt.NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
        """Preprocess a frame [H, W] or [H, W, 3] to pixels [3, S, S], and the valid fraction of each patch
        [h, w]."""
        size = self.head_config.size
        return ModelInput(self.preprocessor, size, self.config.patch_size)(frame)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, in the order of the labels."""
        return self.head_config.classes

    @torch.inference_mode()
    def _predict(self, frame: npt.NDArray[np.uint8]) -> tuple[Float32, Float32, ViewTransform]:
        """Class logits [Q, K + 1], mask logits [Q, h, w] in the model input, and the view."""
        self.eval()
        pixels, _ = self.input(frame)
        device = self.net.class_predictor.weight.device
        classes, masks = self.logits(pixels[None].to(device))
        view = replace(self.preprocessor, size=self.head_config.size).view(*frame.shape[:2])
        return classes[0].float().cpu().numpy(), masks[0].float().cpu().numpy(), view

    def logits(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits [B, Q, K + 1], the last for no object, and mask logits [B, Q, h, w] of preprocessed
        pixels [B, 3, S, S]."""
        out = self.net(pixel_values=pixels)
        return out.class_queries_logits, out.masks_queries_logits


class _Backbone(nn.Module):
    """Adapts a pyramid to the interface of transformers' backbones."""

    def __init__(self, pyramid: Pyramid) -> None:
        super().__init__()
        self.pyramid = pyramid

    def forward(self, pixels: Tensor) -> SimpleNamespace:
        return SimpleNamespace(feature_maps=self.pyramid(pixels))


def start_head(segmenter: InstanceSegmenter, repository: str) -> tuple[int, int]:
    """Initialize everything except the encoder from a Mask2Former on the Hugging Face hub.

    For example ``facebook/mask2former-swin-small-coco-instance`` (arXiv 2411.16222 starts from COCO weights).
    Tensors of other shapes, such as the class head and the projections of encoder channels, keep their random
    weights.

    Returns:
        Number of copied tensors, and number of all tensors.

    Raises:
        CheckpointError: The repository cannot be loaded, or none of its tensors fits.
    """
    with needs("Instance segmentation", extra="downstream"):
        from transformers import Mask2FormerForUniversalSegmentation

        from ultrasam.download import from_pretrained

    try:
        theirs = from_pretrained(Mask2FormerForUniversalSegmentation, repository).state_dict()
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"transformers cannot load '{repository}': {one_line(error)}."
        ) from error
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
        raise CheckpointError(
            f"No tensor of '{repository}' fits this head; set width=256 and queries=100."
        )
    segmenter.net.load_state_dict(taken, strict=False)
    return len(taken), len(ours)


def save_instance_segmenter(
    segmenter: InstanceSegmenter, folder: Path, note: dict[str, Any]
) -> None:
    """Save an instance segmenter to a folder; ``note`` is added to its description (see `write_model`)."""
    head = segmenter.head_config.model_dump(mode="json")
    classes = head.pop("classes")
    about = {"head": head, **note}
    write_model(
        segmenter, folder, INSTANCES, classes=classes, config=segmenter.config.to_json(),
        preprocessor=segmenter.preprocessor, about=about,
    )  # fmt: skip


def load_instance_segmenter(folder: str | Path, device: str | None = None) -> InstanceSegmenter:
    """Load a saved instance segmenter, ready to use.

    Raises:
        CheckpointError: The folder contains no instance segmenter, or it is damaged.
        DeviceError: The device is not available.
    """

    def build(about: dict[str, Any]) -> InstanceSegmenter:
        head = about["head"] if "head" in about else about["plan"]  # before 0.2
        head_config = HeadConfig.model_validate({**head, "classes": about["classes"]})
        return InstanceSegmenter(empty_backbone(about), head_config)

    return read_model(Path(folder), INSTANCES, build, device=device)
