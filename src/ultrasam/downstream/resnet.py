"""ResNet-50 as a backbone for fine-tuning, in place of a promptable model's image encoder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from torch import Tensor, nn

from ultrasam.errors import CheckpointError, one_line
from ultrasam.extras import needs
from ultrasam.model.preprocessing import Preprocessor

RESNET = "resnet50"


@dataclass(frozen=True, slots=True)
class ResNetConfig:
    """Sizes of a ResNet-50 (He et al. 2016), with the names of `ModelConfig`."""

    name: str = RESNET
    image_size: int = 1024
    patch_size: int = 32
    width: int = 2048
    # Freeze the batch-norm statistics of pretrained weights; learn those of random weights.
    fixed_statistics: bool = True

    def to_json(self) -> str:
        return json.dumps(asdict(self))


class ResNetEncoder(nn.Module):
    """Four stages with the interface of `ImageEncoder`: pixels [B, 3, h, w] to channels-last features."""

    widths = (256, 512, 1024, 2048)
    strides = (4, 8, 16, 32)

    def __init__(self, net: nn.Module, *, fixed_statistics: bool) -> None:
        super().__init__()
        self.net = net
        self.fixed_statistics = fixed_statistics

    def features(self, pixels: Tensor, blocks: Sequence[int] | None = None) -> list[Tensor]:
        """Features [B, h, w, C] after the stages ``blocks`` (0 to 3); None for the last."""
        maps = self.net(pixels).feature_maps
        stages = [3] if blocks is None else blocks
        return [maps[index].permute(0, 2, 3, 1) for index in stages]

    def train(self, mode: bool = True) -> ResNetEncoder:
        super().train(mode)
        if self.fixed_statistics:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self


class ResNet(nn.Module):
    """A ResNet-50 with the attributes that fine-tuning uses: ``config``, ``preprocessor``, ``image_encoder``.

    Raises:
        CheckpointError: The repository cannot be loaded, or it is not a ResNet-50.
    """

    def __init__(
        self,
        config: ResNetConfig,
        *,
        repository: str | None = None,
        preprocessor: Preprocessor | None = None,
    ) -> None:
        super().__init__()
        self.preprocessor = preprocessor or Preprocessor(size=config.image_size)
        with needs("ResNet", extra="downstream"):
            from transformers import ResNetBackbone
            from transformers import ResNetConfig as TheirConfig

            from ultrasam.download import from_pretrained

        stages = ["stage1", "stage2", "stage3", "stage4"]
        if repository is None:
            net = ResNetBackbone(TheirConfig(out_features=stages))  # type: ignore[call-arg]
        else:
            try:
                net = from_pretrained(ResNetBackbone, repository, out_features=stages)
            except (OSError, ValueError) as error:
                raise CheckpointError(
                    f"transformers cannot load '{repository}': {one_line(error)}."
                ) from error
            if tuple(net.channels) != ResNetEncoder.widths:
                raise CheckpointError(
                    f"'{repository}' is not a ResNet-50: its stages have {tuple(net.channels)} channels, not "
                    f"{ResNetEncoder.widths}."
                )
        self.config = config
        self.image_encoder = ResNetEncoder(net, fixed_statistics=config.fixed_statistics)


def open_resnet(repository: str | None, pretrained: bool) -> ResNet:
    """Open ``resnet50``, ``resnet50:REPOSITORY`` (ImageNet weights from the Hugging Face hub) or
    ``random:resnet50``.

    Raises:
        CheckpointError: The weights cannot be loaded.
    """
    if not pretrained:
        return ResNet(ResNetConfig(fixed_statistics=False))
    return ResNet(ResNetConfig(), repository=repository or "microsoft/resnet-50")
