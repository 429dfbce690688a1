"""Settings of all fine-tuning tasks; importing them is fast, so that invalid keys are reported at once."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ultrasam.settings import StrictModel
from ultrasam.training.augmentation import Augmentation
from ultrasam.training.prompt_sampling import PromptSampling
from ultrasam.training.recipe import Interaction, MaskLosses
from ultrasam.training.run_settings import OptimizerSettings, RunSettings, TrainerSettings

Mode = Literal["linear", "attention", "full", "lora", "adapter"]
PyramidKind = Literal["simple", "flat"]
# Keys of earlier versions and their current names.
RENAMED = {
    "steps": "trainer.max_steps",
    "batch": "trainer.batch",
    "at_once": "trainer.batch with trainer.accumulate",
    "checkpointing": "trainer.checkpointing",
    "lr": "optimizer.lr",
    "encoder_lr": "optimizer.encoder_lr",
    "weight_decay": "optimizer.weight_decay",
    "decay_all": "optimizer.decay_vectors",
    "warmup": "optimizer.warmup_steps",
    "milestones": "optimizer.milestones",
    "clip": "optimizer.clip",
    "flip": "augmentation.flip",
    "shift": "augmentation.rotation, .scale and .brightness",
    "optimizer.decay_fraction": "optimizer.decay_fraction",
    "validation.fraction": "validation.fraction",
}


def optimizer_settings(**changes: Any) -> OptimizerSettings:
    """AdamW with a learning-rate step at 80 % of the run, as in the paper (arXiv 2411.16222, downstream)."""
    defaults = {
        "lr": 1e-3,
        "encoder_lr": 0.1,
        "decay_vectors": True,
        "betas": (0.9, 0.999),
        "clip": 1.0,
        "warmup_steps": 20,
        "schedule": "steps",
        "milestones": (0.8,),
    }
    return OptimizerSettings.model_validate({**defaults, **changes})


def trainer_settings(**changes: Any) -> TrainerSettings:
    """A run that is short enough for a CPU."""
    defaults = {
        "max_steps": 300,
        "batch": 16,
        "precision": "32-true",
        "workers": 0,
        "checkpoint_every": 100,
        "log_every": 10,
    }
    return TrainerSettings.model_validate({**defaults, **changes})


class FinetuneSettings(RunSettings):
    """Settings common to all fine-tuning tasks.

    The defaults suit a CPU; the paper's settings are in the recipe ``downstream/paper.yaml``.
    """

    optimizer: OptimizerSettings = optimizer_settings()
    trainer: TrainerSettings = trainer_settings()
    augmentation: Augmentation = Augmentation(rotation=10, scale=0.1, brightness=0.5)


class ClassifierSettings(FinetuneSettings):
    """Settings of image classification; a frozen encoder is trained without augmentation.

    Attributes:
        mode: trained parameters (see `ultrasam.downstream.classification.model.Head`).
        size: side of the model input in pixels; None for the model's own.
        balance: sample all classes equally often.
        gamma: exponent of the focal loss.
    """

    mode: Mode = "linear"
    size: int | None = Field(None, ge=16)
    balance: bool = True
    gamma: float = Field(2.0, ge=0)


class RegionSettings(FinetuneSettings):
    """Settings of region classification, which trains masks (arXiv 2411.16222, 3.2) and classes together.

    Attributes:
        prompts, interaction, losses: as in a recipe for promptable segmentation.
        weight: weight of the focal loss on the class.
        gamma: exponent of the focal loss on the class.
    """

    optimizer: OptimizerSettings = optimizer_settings(lr=3e-4, encoder_lr=1.0)
    trainer: TrainerSettings = trainer_settings(batch=8)
    augmentation: Augmentation = Augmentation()
    prompts: PromptSampling = PromptSampling()
    interaction: Interaction = Interaction(masks="last", feedback_gradient=False)
    losses: MaskLosses = MaskLosses()
    weight: float = Field(1.0, ge=0)
    gamma: float = Field(2.0, ge=0)


class HeadSettings(StrictModel):
    """The head of an instance segmenter, Mask2Former.

    Attributes:
        pyramid: see `ultrasam.downstream.instances.pyramid.Pyramid`.
        queries: maximum number of objects per image.
        width: channels of pixel decoder, queries and masks.
        pixel_layers: layers of the pixel decoder (deformable attention).
        layers: layers of the transformer decoder.
        points: number of points per mask at which losses are computed.
    """

    pyramid: PyramidKind = "simple"
    queries: int = Field(30, ge=1)
    width: int = Field(128, ge=32, multiple_of=32)
    pixel_layers: int = Field(1, ge=1)
    layers: int = Field(3, ge=1)
    points: int = Field(4096, ge=16)


class InstanceSettings(FinetuneSettings, HeadSettings):
    """Settings of instance segmentation.

    Attributes:
        size: side of the model input in pixels; None for the model's own.
        head: Mask2Former on the Hugging Face hub that initializes everything except the encoder.
    """

    optimizer: OptimizerSettings = optimizer_settings(lr=5e-4, encoder_lr=0.3, decay_vectors=False)
    trainer: TrainerSettings = trainer_settings(batch=4)
    size: int | None = Field(None, ge=32)
    head: str | None = None


SETTINGS: dict[str, type[FinetuneSettings]] = {
    "classify": ClassifierSettings,
    "regions": RegionSettings,
    "instances": InstanceSettings,
}
