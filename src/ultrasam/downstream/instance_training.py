"""Training an instance segmenter."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ultrasam.downstream.annotated import Annotated
from ultrasam.downstream.backbone import Backbone
from ultrasam.downstream.instances import InstanceSegmenter, Plan, start_head
from ultrasam.downstream.pyramid import Kind
from ultrasam.downstream.training import Masks, Schedule, changed, parts, train
from ultrasam.errors import DataError
from ultrasam.hardware import place
from ultrasam.model.image_encoder import ImageEncoder
from ultrasam.runtimes.attention import set_attention
from ultrasam.runtimes.checkpointing import checkpoint_blocks


class Settings(Schedule):
    """How an instance segmenter is trained; see `ultrasam.downstream.instances.Plan` for what is built.

    The defaults are of a size that learns on a processor; the paper's are in recipes/downstream/paper.yaml.

    Attributes:
        size: side of the canvas; the model's own where None.
        head: a Mask2Former on the Hugging Face hub that all but the encoder starts from.
    """

    batch: int = Field(4, ge=1)
    lr: float = Field(5e-4, gt=0)
    encoder_lr: float = Field(0.3, gt=0)
    decay_all: bool = False
    size: int | None = Field(None, ge=32)
    pyramid: Kind = "simple"
    queries: int = Field(30, ge=1)
    width: int = Field(128, ge=32, multiple_of=32)
    pixel_layers: int = Field(1, ge=1)
    layers: int = Field(3, ge=1)
    points: int = Field(4096, ge=16)
    head: str | None = None


def new_segmenter(model: Backbone, classes: Sequence[str], settings: Settings) -> InstanceSegmenter:
    """An untrained segmenter over a copy of ``model``.

    Raises:
        DataError: the canvas is not in whole patches of the coarsest map.
        CheckpointError: the head's weights can't be had.
    """
    plan = Plan(
        tuple(classes), settings.size or model.config.image_size, settings.pyramid, settings.queries,
        settings.width, settings.pixel_layers, settings.layers, settings.points,
    )  # fmt: skip
    torch.manual_seed(settings.seed)
    segmenter = InstanceSegmenter(copy.deepcopy(model), plan)
    coarsest = max(*segmenter.pyramid.strides, model.config.patch_size)
    if plan.size % coarsest:
        raise DataError(f"The size {plan.size} is not a multiple of {coarsest}; change size.")
    if settings.head is not None:
        start_head(segmenter, settings.head)
    return segmenter


def fit(
    model: Backbone,
    images: Sequence[Annotated],
    classes: Sequence[str],
    settings: Settings,
    *,
    device: str = "cpu",
    say: Callable[[int, float], object] = lambda _step, _loss: None,
) -> InstanceSegmenter:
    """A segmenter trained on ``images``; ``model`` itself is left as it is.

    Args:
        say: told the step and its loss.

    Raises:
        DataError: the canvas is not in whole patches of the coarsest map.
        CheckpointError: the head's weights can't be had.
    """
    segmenter = place(new_segmenter(model, classes, settings), device)
    set_attention(segmenter, device)
    if isinstance(segmenter.pyramid.encoder, ImageEncoder):
        checkpoint_blocks(segmenter.pyramid.encoder, enabled=settings.checkpointing)
    rng = np.random.default_rng(settings.seed)
    places = {name: index for index, name in enumerate(classes)}

    def losses(_step: int) -> Iterator[Tensor]:
        chosen = rng.choice(len(images), settings.batch)
        for part in parts(settings.batch, settings.at_once):
            rows = chosen[part]
            pixels, masks, labels = [], [], []
            for row in rows:
                image = images[row]
                frame, drawn = changed(rng, image.pixels, image.masks, settings)
                kept = np.array([bool(mask.any()) for mask in drawn], bool)
                pixels.append(segmenter.input(frame)[0])
                masks.append(_in_input(drawn[kept], segmenter).to(device))
                told = [places[n] for n, k in zip(image.labels, kept, strict=True) if k]
                labels.append(torch.tensor(told, dtype=torch.long, device=device))
            loss = segmenter(torch.stack(pixels).to(device), masks, labels)
            yield loss * (len(rows) / settings.batch)

    segmenter.train()
    train(
        segmenter,
        settings,
        losses,
        encoder="net.model.pixel_level_module.encoder.pyramid.encoder.",
        say=say,
    )
    return segmenter.eval()


def _in_input(masks: Masks, segmenter: InstanceSegmenter) -> Tensor:
    """Masks [N, H, W] in the network's input [N, size, size], nearest."""
    size = segmenter.plan.size
    out = torch.zeros(len(masks), size, size)
    view = replace(segmenter.preprocessor, size=size).view(*masks.shape[1:])
    height, width = view.resized_shape
    for index, mask in enumerate(masks):
        small = cv2.resize(
            mask.astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST
        )
        out[index, :height, :width] = torch.from_numpy(small)
    return out
