"""Apply an `Adaptation` to a model: train all of it, its decoder, low-rank updates or bottleneck adapters.

All but full training freeze the image encoder. Low-rank updates can be merged into the weights of an ordinary
model. `adapter_files` saves and loads the trained tensors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch.nn.functional as F
from torch import Tensor, nn

from ultrasam.errors import CheckpointError
from ultrasam.extras import needs
from ultrasam.model.image_encoder import Block, attend
from ultrasam.weights.adaptation import Adaptation

if TYPE_CHECKING:
    from ultrasam.model.ultrasam import UltraSam

# The joint qkv projection, as in the paper's LoRA variant.
_TARGETS = r"image_encoder\.blocks\.\d+\.attn\.qkv"


class Bottleneck(nn.Module):
    """Down projection, GELU, up projection; the latter starts at zero, so a new adapter changes nothing."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, hidden)
        self.up = nn.Linear(hidden, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.up(F.gelu(self.down(x)))
        return out


class AdaptedBlock(nn.Module):
    """An encoder block with a residual bottleneck after the attention and one parallel to the MLP, scaled by
    0.5 (Med-SA)."""

    def __init__(self, block: Block, *, ratio: float) -> None:
        super().__init__()
        self.norm1, self.attn, self.norm2, self.mlp = (
            block.norm1, block.attn, block.norm2, block.mlp,
        )  # fmt: skip
        self.window = block.window
        width = block.norm1.normalized_shape[0]
        self.attn_adapter = Bottleneck(width, int(width * ratio))
        self.mlp_adapter = Bottleneck(width, int(width * ratio))

    def forward(self, x: Tensor) -> Tensor:
        attended = attend(self.attn, self.norm1(x), self.window)
        x = x + attended + self.attn_adapter(attended)
        normed = self.norm2(x)
        out: Tensor = x + self.mlp(normed) + 0.5 * self.mlp_adapter(normed)
        return out


def adapt(model: UltraSam, adaptation: Adaptation) -> None:
    """Add an adaptation's layers to a model, in place, and freeze what it does not train.

    Raises:
        MissingDependencyError: LoRA needs peft, which is not installed.
    """
    if adaptation.kind == "full":
        return
    if adaptation.kind == "lora":
        with needs("LoRA", extra="train"):
            from peft import LoraConfig, inject_adapter_in_model
    model.image_encoder.requires_grad_(False)
    if not adaptation.decoder and adaptation.kind != "decoder":
        model.requires_grad_(False)
    if adaptation.kind == "lora":
        from peft import LoraConfig, inject_adapter_in_model

        settings = LoraConfig(
            r=adaptation.rank,
            lora_alpha=cast(int, adaptation.alpha),
            lora_dropout=adaptation.dropout,
            target_modules=_TARGETS,
        )
        trainable = {n: p for n, p in model.named_parameters() if p.requires_grad}
        inject_adapter_in_model(settings, model)
        for parameter in trainable.values():  # peft freezes everything else
            parameter.requires_grad_(True)
    if adaptation.kind == "adapter":
        blocks = model.image_encoder.blocks
        for index, block in enumerate(blocks):
            blocks[index] = AdaptedBlock(cast(Block, block), ratio=adaptation.ratio)


def merge(model: UltraSam) -> UltraSam:
    """Merge low-rank updates into the weights, in place.

    Raises:
        CheckpointError: The model has bottleneck adapters, which cannot be merged.
        MissingDependencyError: peft is not installed.
    """
    with needs("LoRA", extra="train"):
        from peft.tuners.tuners_utils import BaseTunerLayer

    if has_bottlenecks(model):
        raise CheckpointError(
            "Bottleneck adapters cannot be merged into a model; save them with save_adaptation."
        )
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, BaseTunerLayer):
                child.merge()
                setattr(parent, name, child.get_base_layer())
    return model


def has_bottlenecks(model: nn.Module) -> bool:
    """Whether a model has bottleneck adapters, which no configuration describes."""
    return any(isinstance(m, AdaptedBlock) for m in model.modules())


def refuse_bottlenecks(model: nn.Module, name: str) -> None:
    """Reject a model with bottleneck adapters, which can neither be trained further nor saved.

    Raises:
        CheckpointError: The model has bottleneck adapters.
    """
    if has_bottlenecks(model):
        raise CheckpointError(
            f"'{name}' has bottleneck adapters; start training from a model without them, such as its base "
            "model."
        )


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """The numbers of trainable and of frozen parameters."""
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return trained, sum(p.numel() for p in model.parameters()) - trained


def layer_scales(module: nn.Module, encoder: str, decay: float) -> dict[str, float]:
    """Layer-wise learning-rate decay: the factor of each parameter (Clark et al. 2020; Bao et al. 2022).

    The factor is 1 after the encoder's blocks and is multiplied by ``decay`` per block towards the input.

    Args:
        encoder: prefix of the image encoder's parameter names, with the final dot.
    """
    names = [name for name, _ in module.named_parameters()]
    inside = [n.removeprefix(encoder) for n in names if n.startswith(encoder)]
    depth = 1 + max((int(n.split(".")[1]) for n in inside if n.startswith("blocks.")), default=-1)
    scales = dict.fromkeys(names, 1.0)
    for part in inside:
        above = 0
        if part.startswith("blocks."):
            above = depth - int(part.split(".")[1])
        elif part.startswith(("patch_embed", "pos_embed")):
            above = depth + 1
        scales[encoder + part] = decay**above
    return scales
