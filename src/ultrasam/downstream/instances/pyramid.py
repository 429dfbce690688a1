"""Multi-scale feature maps from the blocks of an image encoder."""

from __future__ import annotations

from torch import Tensor, nn

from ultrasam.downstream.backbone import Backbone
from ultrasam.downstream.resnet import ResNet, ResNetEncoder
from ultrasam.downstream.settings import PyramidKind
from ultrasam.model.layers import LayerNorm2d


class Pyramid(nn.Module):
    """Feature pyramid: preprocessed pixels [B, 3, S, S] to four maps [B, C, S / stride, S / stride], finest
    first.

    For a ViT, the maps are the outputs of the last block of each quarter (2, 5, 8, 11 for ViT-B). ``flat``
    uses them as they are, all at one scale (arXiv 2411.16222, downstream); ``simple`` resamples them to
    strides 4, 8, 16 and 32 with transposed convolutions and pooling, as the simple feature pyramid does with
    the last block's output (Li et al. 2022, "Exploring plain vision transformer backbones for object
    detection"). The stages of a ResNet already have these strides.

    Attributes:
        channels, strides: of the four maps.
    """

    def __init__(self, model: Backbone, kind: PyramidKind) -> None:
        super().__init__()
        self.encoder = model.image_encoder
        self.scales = nn.ModuleList(nn.Identity() for _ in range(4))
        if isinstance(model, ResNet):
            self.blocks = [0, 1, 2, 3]
            self.channels, self.strides = ResNetEncoder.widths, ResNetEncoder.strides
            return
        model.image_encoder.neck = nn.Sequential()  # unused
        width, patch, depth = model.config.width, model.config.patch_size, model.config.depth
        self.blocks = [depth * (i + 1) // 4 - 1 for i in range(4)]
        self.channels, self.strides = (width,) * 4, (patch,) * 4
        if kind == "simple":
            self.channels = (width // 4, width // 2, width, width)
            self.strides = (patch // 4, patch // 2, patch, patch * 2)
            self.scales[0] = nn.Sequential(
                nn.ConvTranspose2d(width, width // 2, 2, 2),
                LayerNorm2d(width // 2),
                nn.GELU(),
                nn.ConvTranspose2d(width // 2, width // 4, 2, 2),
            )
            self.scales[1] = nn.ConvTranspose2d(width, width // 2, 2, 2)
            self.scales[3] = nn.MaxPool2d(2)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Four maps, finest first."""
        tokens = self.encoder.features(pixels, self.blocks)
        return tuple(
            scale(map_.permute(0, 3, 1, 2)) for scale, map_ in zip(self.scales, tokens, strict=True)
        )
