"""Settings that every training run has, whatever its task: optimizer, trainer and validation."""

from __future__ import annotations

from typing import Literal, TypeVar

from pydantic import Field

from ultrasam.errors import DeviceError
from ultrasam.settings import StrictModel

R = TypeVar("R", bound="RunSettings")


class OptimizerSettings(StrictModel):
    """AdamW and its schedule.

    After the warm-up (from ``warmup_start`` × lr), either *linear*: constant, then to zero over the last
    ``decay_fraction`` of the steps; or *steps*: × ``gamma`` at each of ``milestones``, given as fractions of
    the steps (the paper's 20,000 and 28,888 of 30,000).

    Attributes:
        encoder_lr: factor of the image encoder's learning rate.
        decay_vectors: weight decay of norms, biases and embeddings too.
        clip: largest norm of the gradient.
        layer_decay: factor of the learning rate with each block of the image encoder towards the input.
    """

    lr: float = Field(1e-4, gt=0)
    encoder_lr: float = Field(1.0, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    decay_vectors: bool = False
    betas: tuple[float, float] = (0.9, 0.98)
    clip: float = Field(0.1, gt=0)
    warmup_steps: int = Field(500, ge=0)
    warmup_start: float = Field(0.0, ge=0, le=1)
    schedule: Literal["linear", "steps"] = "linear"
    decay_fraction: float = Field(0.3, ge=0, le=1)
    milestones: tuple[float, ...] = ()
    gamma: float = Field(0.1, gt=0, le=1)
    layer_decay: float = Field(1.0, gt=0, le=1)


class TrainerSettings(StrictModel):
    """How long, how many at once, in which precision and on what; what is logged and kept.

    ``batch`` is of one process; a step sees batch × devices × nodes × accumulate images. A run that would
    need more memory than there is is refused by a rough estimate; ``check_memory=false`` tries it.

    Attributes:
        devices: how many, or the indices of the GPUs to use.
        checkpointing: compute an encoder's blocks twice instead of keeping them in memory.
        workers: processes per device that make training views.
        ema: decay of the moving average of the weights; 0 for none.
        checkpoint_every: steps between checkpoints, from which a run resumes exactly.
    """

    max_steps: int = Field(ge=1)
    batch: int = Field(8, ge=1)
    accumulate: int = Field(1, ge=1)
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "bf16-mixed"
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int | tuple[int, ...] | Literal["auto"] = 1
    nodes: int = Field(1, ge=1)
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    checkpointing: bool = False
    check_memory: bool = True
    compile: bool = False
    dropout: float = Field(0.0, ge=0, lt=1)
    workers: int = Field(2, ge=0)
    ema: float = Field(0.0, ge=0, lt=1)
    ema_start: int = Field(0, ge=0)
    log_every: int = Field(20, ge=1)
    checkpoint_every: int = Field(500, ge=1)
    logger: Literal["csv", "tensorboard", "wandb"] = "csv"

    @property
    def device_count(self) -> int | None:
        """Processes on one node; None if all of its GPUs are used."""
        if self.devices == "auto":
            return None
        return self.devices if isinstance(self.devices, int) else len(self.devices)


class ValidationSettings(StrictModel):
    """Scores on images that are held out of training.

    Attributes:
        every: steps from one validation to the next; 0 for none.
        images: most images.
        share: fraction of the training subjects that is held out, if a store has no ``val`` side.
        kinds: prompts that are tried (see `ultrasam.evaluation.protocol`), in tasks that take prompts.
        patience: validations without gain after which training ends; 0 never ends it early.
    """

    every: int = Field(0, ge=0)
    images: int = Field(64, ge=1)
    share: float = Field(0.1, gt=0, lt=1)
    kinds: tuple[Literal["box", "box10", "point", "points3"], ...] = ("box", "point")
    patience: int = Field(0, ge=0)


class RunSettings(StrictModel):
    """A run of the engine."""

    seed: int = Field(0, ge=0)
    optimizer: OptimizerSettings = OptimizerSettings()
    trainer: TrainerSettings
    validation: ValidationSettings = ValidationSettings()


def on_device(settings: R, device: str | None) -> R:
    """The settings on another device: ``cpu``, ``cuda``, ``cuda:1``; unchanged for None.

    Raises:
        DeviceError: Training has no such device.
    """
    if device is None:
        return settings
    kind, _, index = device.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdecimal()):
        raise DeviceError(f"Device '{device}' is not available; use 'cpu'.")
    update: dict[str, object] = {"accelerator": "cpu" if kind == "cpu" else "gpu"}
    if index:
        update["devices"] = (int(index),)
    return settings.model_copy(update={"trainer": settings.trainer.model_copy(update=update)})
