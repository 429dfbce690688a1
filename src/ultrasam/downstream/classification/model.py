"""The image classifier, and how to save and load it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultrasam.downstream.backbone import Backbone, empty_backbone
from ultrasam.downstream.features import ModelInput, pooled
from ultrasam.downstream.settings import Mode
from ultrasam.downstream.task_folders import CLASSIFIER, read_model, write_model
from ultrasam.errors import CheckpointError
from ultrasam.model.image_encoder import ImageEncoder
from ultrasam.model.ultrasam import UltraSam
from ultrasam.weights.adaptation import Adaptation
from ultrasam.weights.adapters import adapt


@dataclass(frozen=True, slots=True)
class Head:
    """Configuration of the classification head.

    Attributes:
        mode: ``linear`` and ``attention`` train a head on a frozen encoder, and pool patches by their mean or
            by a learned query; ``full`` trains everything (arXiv 2411.16222, downstream); ``lora`` and
            ``adapter`` train the head and a few of the encoder's parameters (see
            `ultrasam.weights.adapters.Adaptation`).
        classes: names, in the order of the logits.
        size: side of the model input in pixels.
    """

    mode: Mode
    classes: tuple[str, ...]
    size: int

    @property
    def frozen(self) -> bool:
        """Whether the encoder is not trained."""
        return self.mode in ("linear", "attention")


class Classifier(nn.Module):
    """Image classifier: encoder without neck, pooling over patches, linear layer (arXiv 2411.16222,
    downstream).

    Takes preprocessed pixels [B, 3, S, S] and the valid fraction of each patch [B, h, w]; returns logits
    [B, classes].

    Raises:
        CheckpointError: The backbone has no transformer blocks for ``lora`` or ``adapter``.
    """

    def __init__(self, model: Backbone, head: Head) -> None:
        super().__init__()
        if head.mode in ("lora", "adapter"):
            if not isinstance(model, UltraSam):
                raise CheckpointError(
                    f"'{model.config.name}' has no transformer blocks to adapt; use --mode linear, "
                    "attention or full."
                )
            adapt(model, Adaptation(kind=head.mode, decoder=False))
        self.config, self.preprocessor = model.config, model.preprocessor
        self.head = head
        self.encoder = model.image_encoder
        # The neck and the decoder are unused.
        if isinstance(self.encoder, ImageEncoder):
            self.encoder.neck = nn.Sequential()
        self.encoder.requires_grad_(head.mode == "full")
        if head.mode in ("lora", "adapter"):
            for name, parameter in self.encoder.named_parameters():
                parameter.requires_grad_("lora_" in name or "_adapter" in name)
        width = model.config.width
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, 1, bias=False) if head.mode == "attention" else None
        self.classify = nn.Linear(width, len(head.classes))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, in the order of the logits."""
        return self.head.classes

    def forward(self, pixels: Tensor, valid: Tensor) -> Tensor:
        """Logits [B, classes]."""
        return self.from_tokens(self.encoder.features(pixels)[-1], valid)

    def from_tokens(self, tokens: Tensor, valid: Tensor) -> Tensor:
        """Logits [B, classes] from patches [B, h, w, C]."""
        tokens = self.norm(tokens)
        if self.query is not None:
            scores = self.query(tokens)[..., 0].masked_fill(valid <= 0, -torch.inf)  # [B, h, w]
            valid = scores.flatten(1).softmax(dim=1).view_as(scores)
        out: Tensor = self.classify(pooled(tokens, valid))
        return out

    def input(self, frame: Any) -> tuple[Tensor, Tensor]:
        """Convert a frame [H, W] or [H, W, 3] to the arguments of ``forward``, without the batch
        dimension."""
        return self.input_of()(frame)

    def input_of(self) -> ModelInput:
        """The preprocessing, without weights, so that it can be sent to worker processes."""
        return ModelInput(self.preprocessor, self.head.size, self.config.patch_size)

    @torch.no_grad()
    def class_activation_map(self, pixels: Tensor, valid: Tensor, label: int) -> Tensor:
        """Class activation map [B, h, w] (Zhou et al. 2016): each patch's contribution to a class's logit."""
        tokens = self.norm(self.encoder.features(pixels)[-1])
        weight = self.classify.weight[label] - self.classify.weight.mean(dim=0)
        out: Tensor = (tokens @ weight) * (valid > 0)
        return out

    @torch.no_grad()
    def predict(self, frames: Any) -> Tensor:
        """Class probabilities [N, classes] of frames [H, W] or [H, W, 3] uint8."""
        self.eval()
        device = self.classify.weight.device
        rows = []
        for frame in frames:
            pixels, valid = self.input(frame)
            rows.append(
                self(pixels[None].to(device), valid[None].to(device))[0].softmax(dim=0).cpu()
            )
        return torch.stack(rows) if rows else torch.zeros(0, len(self.head.classes))


def focal(logits: Tensor, labels: Tensor, *, gamma: float = 2.0, smoothing: float = 0.0) -> Tensor:
    """Multi-class focal loss [N] (Lin et al. 2017): (1 - p)^gamma × cross-entropy."""
    cost = F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
    p = logits.softmax(dim=1).gather(1, labels[:, None])[:, 0]
    return (1 - p) ** gamma * cost


def save_classifier(model: Classifier, folder: Path, note: dict[str, Any]) -> None:
    """Save a classifier to a folder; ``note`` is added to its description (see `write_model`)."""
    head = asdict(model.head)
    classes = head.pop("classes")
    about = {"head": head, **note}
    write_model(
        model, folder, CLASSIFIER, classes=classes, config=model.config.to_json(),
        preprocessor=model.preprocessor, about=about,
    )  # fmt: skip


def load_classifier(folder: str | Path, device: str | None = None) -> Classifier:
    """Load a saved classifier, ready to predict.

    Raises:
        CheckpointError: The folder contains no classifier, or it is damaged.
        DeviceError: The device is not available.
    """

    def build(about: dict[str, Any]) -> Classifier:
        head = Head(classes=tuple(about["classes"]), **about["head"])
        return Classifier(empty_backbone(about), head)

    return read_model(Path(folder), CLASSIFIER, build, device=device)
