"""Adaptation: which parts of a model are trained; `ultrasam.weights.adapters` applies it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ultrasam.errors import ConfigError

Kind = Literal["full", "decoder", "lora", "adapter"]


@dataclass(frozen=True, slots=True)
class Adaptation:
    """How a model is fine-tuned (arXiv 2411.16222, variants).

    Attributes:
        kind: ``full`` trains everything; ``decoder`` everything but the image encoder; ``lora`` the decoder
            and low-rank updates of each block's qkv (Hu et al. 2022); ``adapter`` the decoder and two
            bottlenecks per block (Wu et al. 2023, Med-SA).
        rank, alpha, dropout: of the low-rank updates; updates are scaled by alpha / rank.
        ratio: width of a bottleneck relative to the encoder's width.
        decoder: for lora and adapter, also train the prompt encoder and the mask decoder.

    Raises:
        ConfigError: A value is out of range.
    """

    # Read by pydantic where this class is a field of a model.
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    kind: Kind = "full"
    rank: int = 16
    alpha: float = 16.0
    dropout: float = 0.1
    ratio: float = 0.25
    decoder: bool = True

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha <= 0 or not 0 <= self.dropout < 1 or self.ratio <= 0:
            raise ConfigError(
                "Adaptation: rank must be at least 1, alpha and ratio above 0, dropout in [0, 1)."
            )
