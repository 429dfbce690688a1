"""ResNet-50 as an initialisation, in place of a promptable model's image encoder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from torch import Tensor, nn

from ultrasam.errors import CheckpointError
from ultrasam.extras import needs
from ultrasam.model.preprocessing import Preprocessor

RESNET = "resnet50"


@dataclass(frozen=True, slots=True)
class ResNetConfig:
    """Sizes of a ResNet-50 (He et al. 2016); as in `ModelConfig`."""

    name: str = RESNET
    image_size: int = 1024
    patch_size: int = 32
    width: int = 2048
    # Statistics of weights that were trained on large batches are kept; those of fresh ones are learnt.
    fixed_statistics: bool = True

    def to_json(self) -> str:
        return json.dumps(asdict(self))


class ResNetEncoder(nn.Module):
    """The four stages; pixels [B, 3, h, w] to channels-last features, as `ImageEncoder.features`."""

    widths = (256, 512, 1024, 2048)
    strides = (4, 8, 16, 32)

    def __init__(self, net: nn.Module, *, fixed_statistics: bool) -> None:
        super().__init__()
        self.net = net
        self.fixed_statistics = fixed_statistics

    def features(self, pixels: Tensor, blocks: Sequence[int] | None = None) -> list[Tensor]:
        """[B, h, w, C] after each stage of ``blocks`` (0 to 3; the last where None)."""
        maps = self.net(pixels).feature_maps
        wanted = [3] if blocks is None else blocks
        return [maps[index].permute(0, 2, 3, 1) for index in wanted]

    def train(self, mode: bool = True) -> ResNetEncoder:
        super().train(mode)
        if self.fixed_statistics:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self


class ResNet(nn.Module):
    """A ResNet-50 with what fine-tuning asks of a model: ``config``, ``preprocessor`` and
    ``image_encoder``."""

    def __init__(
        self,
        config: ResNetConfig,
        *,
        repository: str | None = None,
        preprocessor: Preprocessor | None = None,
    ) -> None:
        super().__init__()
        self.preprocessor = preprocessor or Preprocessor(size=config.image_size)
        with needs("A ResNet", extra="downstream"):
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
                reason = str(error).strip().splitlines()[0]
                raise CheckpointError(
                    f"transformers cannot load '{repository}': {reason}"
                ) from error
            if tuple(net.channels) != ResNetEncoder.widths:
                raise CheckpointError(
                    f"'{repository}' has the widths {tuple(net.channels)}, not a ResNet-50's "
                    f"{ResNetEncoder.widths}."
                )
        self.config = config
        self.image_encoder = ResNetEncoder(net, fixed_statistics=config.fixed_statistics)


def open_resnet(repository: str | None, pretrained: bool) -> ResNet:
    """``resnet50``, ``resnet50:REPOSITORY`` (ImageNet weights from the Hugging Face hub) or
    ``random:resnet50``.

    Raises:
        CheckpointError: the weights can't be loaded.
    """
    if not pretrained:
        return ResNet(ResNetConfig(fixed_statistics=False))
    return ResNet(ResNetConfig(), repository=repository or "microsoft/resnet-50")
