"""Settings common to all training runs: optimizer, trainer and validation."""

from __future__ import annotations

from typing import Literal, TypeVar

from pydantic import Field

from ultrasam.errors import DeviceError
from ultrasam.hardware import choose_precision, default_device
from ultrasam.settings import StrictModel

R = TypeVar("R", bound="RunSettings")
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


class OptimizerSettings(StrictModel):
    """AdamW and its learning-rate schedule.

    After the warm-up, which starts at ``warmup_start`` × ``lr``, the *linear* schedule is constant and then
    decays to zero over the last ``decay_fraction`` of the steps; the *steps* schedule multiplies by ``gamma``
    at each of ``milestones``, given as fractions of the steps (the paper's 20,000 and 28,888 of 30,000).

    Attributes:
        encoder_lr: learning rate of the image encoder, as a factor of ``lr``.
        decay_vectors: apply weight decay to norms, biases and embeddings too.
        clip: maximum gradient norm.
        layer_decay: learning-rate factor per block of the image encoder, towards its input.
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
    """Duration, batch size, precision and devices of a run, and what it logs and saves.

    A step processes ``batch`` × ``devices`` × ``nodes`` × ``accumulate`` images.

    Attributes:
        batch: images per process.
        accumulate: batches per step.
        precision: number format; *auto* is bf16-mixed where the hardware multiplies bfloat16, otherwise
            32-true, because emulated bfloat16 is many times slower.
        devices: number of devices, or the indices of the GPUs to use.
        checkpointing: recompute the encoder's activations in the backward pass to save memory.
        check_memory: refuse a run that, by a rough estimate, does not fit into memory.
        dropout: in the MLP of the mask decoder.
        workers: data-loading processes per device.
        ema: decay of the exponential moving average of the weights; 0 disables it.
        checkpoint_every: steps between checkpoints, from which a run resumes exactly.
    """

    max_steps: int = Field(ge=1)
    batch: int = Field(8, ge=1)
    accumulate: int = Field(1, ge=1)
    precision: Precision | Literal["auto"] = "auto"
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
        """Number of processes per node; None if all GPUs are used."""
        if self.devices == "auto":
            return None
        return self.devices if isinstance(self.devices, int) else len(self.devices)

    @property
    def device(self) -> str:
        """What the run uses on this machine: ``cpu``, ``cuda`` or, only if a GPU is asked for, ``mps``."""
        if self.accelerator == "cpu":
            return "cpu"
        found = default_device()
        return "mps" if found == "cpu" and self.accelerator == "gpu" else found

    @property
    def number_format(self) -> Precision:
        """The precision, with *auto* resolved for this machine."""
        if self.precision != "auto":
            return self.precision
        choice = choose_precision("auto", self.device)
        return "bf16-mixed" if choice.precision == "bfloat16" else "32-true"


class ValidationSettings(StrictModel):
    """Validation on images held out of training.

    Attributes:
        every: steps between validations; 0 disables them.
        images: maximum number of images.
        fraction: fraction of the training subjects to hold out, if the data have no ``val`` split.
        kinds: prompt types (see `ultrasam.evaluation.protocol`), for tasks that take prompts.
        patience: stop after this many validations without improvement; 0 disables early stopping.
    """

    every: int = Field(0, ge=0)
    images: int = Field(64, ge=1)
    fraction: float = Field(0.1, gt=0, lt=1)
    kinds: tuple[Literal["box", "box10", "point", "points3"], ...] = ("box", "point")
    patience: int = Field(0, ge=0)


class RunSettings(StrictModel):
    """Settings of one training run."""

    seed: int = Field(0, ge=0)
    optimizer: OptimizerSettings = OptimizerSettings()
    trainer: TrainerSettings
    validation: ValidationSettings = ValidationSettings()


def on_device(settings: R, device: str | None) -> R:
    """A copy of the settings for another device: ``cpu``, ``cuda``, ``cuda:1``; unchanged for None.

    Raises:
        DeviceError: The device is none of these.
    """
    if device is None:
        return settings
    kind, _, index = device.partition(":")
    if kind not in ("cpu", "cuda") or not (index.isdigit() or not index):
        raise DeviceError(f"Device '{device}' is not available; use 'cpu' or 'cuda'.")
    update: dict[str, object] = {"accelerator": "cpu" if kind == "cpu" else "gpu"}
    if index:
        update["devices"] = (int(index),)
    return settings.model_copy(update={"trainer": settings.trainer.model_copy(update=update)})
