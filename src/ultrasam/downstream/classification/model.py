"""An image classifier over the image encoder: its parts, and how it is saved and loaded."""

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
    """What is put over the encoder.

    Attributes:
        mode: ``linear`` and ``attention`` train a head over a frozen encoder, pooling patches by their mean
            or by a learned query; ``full`` trains all (arXiv 2411.16222, downstream), ``lora`` and
            ``adapter`` a few of the encoder's parameters (see `ultrasam.weights.adapters.Adaptation`).
        classes: names, in the order of the logits.
        size: side of the model's input in pixels.
    """

    mode: Mode
    classes: tuple[str, ...]
    size: int

    @property
    def frozen(self) -> bool:
        """The encoder does not change."""
        return self.mode in ("linear", "attention")


class Classifier(nn.Module):
    """Preprocessed pixels [B, 3, S, S] and the share of each patch that shows the image [B, h, w] to logits.

    The encoder without its neck, patches pooled to one vector, one linear layer (arXiv 2411.16222,
    downstream).
    """

    def __init__(self, model: Backbone, head: Head) -> None:
        super().__init__()
        if head.mode in ("lora", "adapter"):
            if not isinstance(model, UltraSam):
                raise CheckpointError(
                    f"'{model.config.name}' has no transformer blocks to adapt; use --mode full, linear or "
                    "attention."
                )
            adapt(model, Adaptation(kind=head.mode, decoder=False))
        self.config, self.preprocessor = model.config, model.preprocessor
        self.head = head
        self.encoder = model.image_encoder
        # The neck and the decoder take no part.
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

    def forward(self, pixels: Tensor, valid: Tensor) -> Tensor:
        """Logits [B, classes]."""
        return self.from_tokens(self.encoder.features(pixels)[-1], valid)

    def from_tokens(self, tokens: Tensor, valid: Tensor) -> Tensor:
        """Logits [B, classes] of patches [B, h, w, C]."""
        tokens = self.norm(tokens)
        if self.query is not None:
            scores = self.query(tokens)[..., 0].masked_fill(valid <= 0, -torch.inf)  # [B, h, w]
            valid = scores.flatten(1).softmax(dim=1).view_as(scores)
        out: Tensor = self.classify(pooled(tokens, valid))
        return out

    def input(self, frame: Any) -> tuple[Tensor, Tensor]:
        """A frame [H, W] or [H, W, 3] as ``forward``'s pixels [3, S, S] and shares [h, w]."""
        return self.input_of()(frame)

    def input_of(self) -> ModelInput:
        """What makes an input of a frame; it holds no weights, so that workers can have it."""
        return ModelInput(self.preprocessor, self.head.size, self.config.patch_size)

    @torch.no_grad()
    def class_activation_map(self, pixels: Tensor, valid: Tensor, label: int) -> Tensor:
        """[B, h, w]: what each patch adds to a class's logit before pooling (class activation maps, Zhou et
        al. 2016)."""
        tokens = self.norm(self.encoder.features(pixels)[-1])
        weight = self.classify.weight[label] - self.classify.weight.mean(dim=0)
        out: Tensor = (tokens @ weight) * (valid > 0)
        return out

    @torch.no_grad()
    def predict(self, frames: Any) -> Tensor:
        """Probabilities [N, classes] of frames [H, W] or [H, W, 3] uint8."""
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
    """Multi-class focal loss (Lin et al. 2017) of each of N items: (1 - p)^gamma × cross-entropy."""
    cost = F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
    p = logits.softmax(dim=1).gather(1, labels[:, None])[:, 0]
    return (1 - p) ** gamma * cost


def save_classifier(model: Classifier, folder: Path, note: dict[str, Any]) -> None:
    """Weights, and a JSON file with classes, sizes, preprocessing and ``note`` (recipe and figures)."""
    head = asdict(model.head)
    classes = head.pop("classes")
    about = {"head": head, **note}
    write_model(
        model, folder, CLASSIFIER, classes=classes, config=model.config.to_json(),
        preprocessor=model.preprocessor, about=about,
    )  # fmt: skip


def load_classifier(folder: str | Path, device: str | None = None) -> Classifier:
    """A saved classifier, ready to predict.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """

    def build(about: dict[str, Any]) -> Classifier:
        head = Head(classes=tuple(about["classes"]), **about["head"])
        return Classifier(empty_backbone(about), head)

    return read_model(Path(folder), CLASSIFIER, build, device=device)
