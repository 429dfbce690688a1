"""ModelConfig: the sizes of the network, and four named configurations."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal

from ultrasam.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Sizes and options of a Segment-Anything network (Kirillov et al. 2023, appendix A).

    The defaults are Meta's SAM ViT-B at 1024 px, with identical tensors. The last five options are not in
    SAM; small models use them.

    Attributes:
        name: name of the configuration in model cards and reports.
        image_size: side of the square input in model pixels.
        patch_size: model pixels per token; the embedding has ``image_size // patch_size`` tokens per side.
        width, depth, heads, mlp_width: sizes of the image encoder.
        window: side of the attention windows in tokens; 0 makes all blocks global.
        global_blocks: indices of blocks with global attention if ``window`` is not 0.
        decoder_width: channels of the image embedding and the mask decoder.
        decoder_heads, decoder_mlp_width: sizes of the two two-way layers.
        upscale_channels: channels after the first and the second ×2 upscaling.
        mask_prompt_channels: channels of the two stride-2 convolutions over a mask prompt.
        relative_positions: use decomposed relative positions in all encoder blocks.
        stem: ``patch`` is one strided convolution; ``conv`` is four 3 × 3 convolutions of stride 2, which
            learn edges from far fewer images (Xiao et al. 2021, "Early convolutions help transformers see
            better").
        high_res_features: add the conv stem's stride-4 and stride-8 features, and the prompt maps, to the
            decoder's upscaling (SAM 2 adds its encoder's features, Ravi et al. 2024).
        prompt_maps: rasterize boxes and clicks as two channels next to the mask prompt, so the decoder does
            not have to learn prompt locations from tokens.
        mask_quality: rate each mask by the features inside and around it, and estimate whether there is an
            object at all (`ultrasam.model.mask_quality`).

    Raises:
        ConfigError: The sizes do not fit together.
    """

    name: str = "vit-b"
    image_size: int = 1024
    patch_size: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_width: int = 3072
    window: int = 14
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)
    decoder_width: int = 256
    decoder_heads: int = 8
    decoder_mlp_width: int = 2048
    upscale_channels: tuple[int, int] = (64, 32)
    mask_prompt_channels: tuple[int, int] = (4, 16)

    relative_positions: bool = True
    stem: Literal["patch", "conv"] = "patch"
    high_res_features: bool = False
    prompt_maps: bool = False
    mask_quality: bool = False

    def __post_init__(self) -> None:
        if self.image_size % self.patch_size:
            raise ConfigError(
                f"Configuration '{self.name}': image_size {self.image_size} is not a multiple of "
                f"patch_size {self.patch_size}; change one of them."
            )
        if self.width % self.heads or self.decoder_width % (2 * self.decoder_heads):
            raise ConfigError(
                f"Configuration '{self.name}': width {self.width} must be a multiple of heads {self.heads}, "
                f"and decoder_width {self.decoder_width} of 2 × decoder_heads {self.decoder_heads}."
            )
        if self.high_res_features and self.stem != "conv":
            raise ConfigError(
                f"Configuration '{self.name}': high_res_features requires stem 'conv'."
            )

    @property
    def grid(self) -> int:
        """Side of the image embedding in tokens."""
        return self.image_size // self.patch_size

    @property
    def mask_size(self) -> int:
        """Side of low-res logits and mask prompts."""
        return 4 * self.grid

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """Read the output of ``to_json``, from this or an earlier version.

        Raises:
            ConfigError: The text is not JSON, a key is unknown, or a value is invalid.
        """
        try:
            values: dict[str, Any] = json.loads(text)
        except json.JSONDecodeError as error:
            raise ConfigError(
                "The model configuration is not valid JSON; save the model again."
            ) from error
        if isinstance(values, dict):
            values = {_EARLIER_KEYS.get(key, key): value for key, value in values.items()}
            values = {key: value for key, value in values.items() if key not in _ELSEWHERE}
            values["name"] = SIZE_ALIASES.get(values.get("name", ""), values.get("name", "custom"))
        known = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(values, dict) or set(values) - known:
            extra = sorted(set(values) - known) if isinstance(values, dict) else text[:40]
            raise ConfigError(
                f"The model configuration has unknown keys {extra}; it may come from a newer UltraSam, so "
                "update the package."
            )
        lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        try:
            return cls(**{**values, **lists})
        except (TypeError, ZeroDivisionError) as error:
            raise ConfigError(f"The model configuration is malformed: {error}.") from error


# Keys of earlier versions; those in _ELSEWHERE have moved to Preprocessor and TestTimeAugmentation.
_EARLIER_KEYS = {"fine_features": "high_res_features", "drawn_prompts": "prompt_maps"}
_ELSEWHERE = ("pixel_mean", "pixel_std", "zoom", "mirror")
SIZE_ALIASES = {"base": "vit-b", "large": "vit-l", "huge": "vit-h"}

CONFIGS: dict[str, ModelConfig] = {
    "nano": ModelConfig(
        name="nano",
        image_size=256,
        width=192,
        depth=8,
        heads=3,
        mlp_width=768,
        window=0,
        global_blocks=(),
        decoder_width=128,
        decoder_heads=4,
        decoder_mlp_width=512,
        upscale_channels=(32, 16),
        mask_prompt_channels=(16, 64),
        relative_positions=False,
        stem="conv",
        high_res_features=True,
        prompt_maps=True,
        mask_quality=True,
    ),
    "vit-b": ModelConfig(),
    "vit-l": ModelConfig(
        name="vit-l",
        width=1024,
        depth=24,
        heads=16,
        mlp_width=4096,
        global_blocks=(5, 11, 17, 23),
    ),
    "vit-h": ModelConfig(
        name="vit-h",
        width=1280,
        depth=32,
        heads=16,
        mlp_width=5120,
        global_blocks=(7, 15, 23, 31),
    ),
}


def get_config(size: str) -> ModelConfig:
    """The configuration of size ``nano``, ``vit-b``, ``vit-l`` or ``vit-h``.

    Raises:
        ConfigError: The size is unknown.
    """
    name = SIZE_ALIASES.get(size, size)
    if name not in CONFIGS:
        raise ConfigError(f"Unknown model size '{size}'; use {', '.join(CONFIGS)}.")
    return CONFIGS[name]
