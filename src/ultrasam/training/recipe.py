"""Recipe: everything that an experiment is, as a checked YAML file.

Overrides from the command line are ``key.sub=value``, the value read as YAML. A recipe is saved in
full beside every checkpoint that it makes.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ultrasam.errors import RecipeError
from ultrasam.model.config import config_of


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSource(_Section):
    """One data set in its raw layout, and the weight with which its images are drawn."""

    dataset: str
    path: Path
    weight: float = Field(1.0, ge=0)


class Phantoms(_Section):
    """Simulated images: how many different ones, and the weight with which they are drawn."""

    count: int = Field(0, ge=0)
    weight: float = Field(1.0, ge=0)


class StoreSource(_Section):
    """Images of a store (`ultrasam data build`): see `ultrasam.training.loader.store_sources`."""

    path: Path
    split: Literal["train", "val", "test"] = "train"
    datasets: tuple[str, ...] | None = None
    temperature: float = Field(2.0, ge=1)
    weight: float = Field(1.0, ge=0)


class Data(_Section):
    """Real and simulated images to draw from."""

    store: StoreSource | None = None
    sources: tuple[DataSource, ...] = ()
    phantoms: Phantoms = Phantoms()


class Views(_Section):
    """See `ultrasam.training.loader.ViewStyle`."""

    zoomed: float = Field(0.0, ge=0, le=1)
    zoom: tuple[float, float] = (1.2, 2.6)
    flip: float = Field(0.5, ge=0, le=1)
    rotation: float = Field(0.0, ge=0, le=180)
    stretch: float = Field(0.0, ge=0, le=1)
    brightness: float = Field(0.0, ge=0)
    degradation: float = Field(0.0, ge=0, le=1)
    scale: float = Field(0.0, ge=0, le=1)
    cone: float = Field(0.0, ge=0, le=1)


class Prompts(_Section):
    """See `ultrasam.training.loader.PromptStyle` and `ultrasam.training.interaction.LoopStyle`."""

    box: float = Field(0.5, ge=0, le=1)
    jitters: tuple[float, ...] = (0.05,)
    jitter_weights: tuple[float, ...] = (1.0,)
    central_clicks: float = Field(0.0, ge=0, le=1)
    scribbles: float = Field(0.0, ge=0, le=1)
    several_clicks: float = Field(0.0, ge=0, le=1)
    clicks_beside: float = Field(0.0, ge=0, le=0.5)
    per_image: int = Field(20, ge=1)
    rounds: int = Field(2, ge=1)
    corrective: float = Field(0.0, ge=0, le=1)
    feedback_gradient: bool = True
    masks: Literal["ambiguous", "last"] = "ambiguous"


class Losses(_Section):
    """Weights of the losses, and the focal loss's alpha and gamma (arXiv 2411.16222, 3.3)."""

    focal: float = 20.0
    dice: float = 1.0
    iou: float = 1.0
    alpha: float = Field(0.25, ge=0, le=1)
    gamma: float = Field(2.0, ge=0)


class Adapt(_Section):
    """See `ultrasam.weights.adapters.Adaptation`."""

    kind: Literal["full", "decoder", "lora", "adapter"] = "full"
    rank: int = Field(16, ge=1)
    alpha: float = Field(16.0, gt=0)
    dropout: float = Field(0.1, ge=0, lt=1)
    ratio: float = Field(0.25, gt=0)
    decoder: bool = True


class Optimiser(_Section):
    """AdamW and its schedule.

    After the warm-up (from ``warmup_start`` × lr), either *linear*: constant, then to zero over the last
    ``decay_share`` of the steps; or *steps*: × ``gamma`` at each of ``milestones``, given as shares of
    the steps (the paper's 20,000 and 28,888 of 30,000).
    """

    lr: float = Field(1e-4, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    decay_vectors: bool = False
    betas: tuple[float, float] = (0.9, 0.98)
    clip: float = Field(0.1, gt=0)
    warmup_steps: int = Field(500, ge=0)
    warmup_start: float = Field(0.0, ge=0, le=1)
    schedule: Literal["linear", "steps"] = "linear"
    decay_share: float = Field(0.3, ge=0, le=1)
    milestones: tuple[float, ...] = ()
    gamma: float = Field(0.1, gt=0, le=1)
    layer_decay: float = Field(1.0, gt=0, le=1)


class Trainer(_Section):
    """How long, how many at once, in which precision and on what; what is logged and kept.

    ``batch`` is of one process; a step sees batch × devices × nodes × accumulate images. A run that would
    need more memory than there is is refused by a rough estimate; ``check_memory=false`` tries it.
    """

    max_steps: int = Field(ge=1)
    batch: int = Field(8, ge=1)
    accumulate: int = Field(1, ge=1)
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "bf16-mixed"
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int | Literal["auto"] = 1
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


class Validation(_Section):
    """Dice on images kept apart, by kind of prompt (see `ultrasam.evaluation.protocol`).

    Attributes:
        every: steps from one to the next; 0 for none.
        images: most images; of a store's ``val`` side, or of the subjects held out of raw data sets.
        share: of the subjects of raw data sets that are held out.
        patience: validations without gain after which training ends; 0 never ends it early.
    """

    every: int = Field(0, ge=0)
    images: int = Field(64, ge=1)
    share: float = Field(0.1, gt=0, lt=1)
    kinds: tuple[Literal["box", "box10", "point", "points3"], ...] = ("box", "point")
    patience: int = Field(0, ge=0)


class Recipe(_Section):
    """One experiment."""

    name: str
    model: str = "vit-b"
    init: str | None = None
    seed: int = Field(0, ge=0)
    output: Path = Path("runs")
    data: Data
    views: Views = Views()
    prompts: Prompts = Prompts()
    losses: Losses = Losses()
    adapt: Adapt = Adapt()
    optimiser: Optimiser = Optimiser()
    trainer: Trainer
    validation: Validation = Validation()

    @field_validator("model")
    @classmethod
    def _known_model(cls, name: str) -> str:
        return config_of(name).name


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe.

    Raises:
        RecipeError: the file is missing or not YAML, a key is unknown, a value has the wrong type, or
            an override is not ``key.sub=value``.
    """
    return _changed(_read(path), overrides, str(path))


def change(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """A recipe with some keys set anew.

    Raises:
        RecipeError: as `load_recipe`.
    """
    return _changed(recipe.model_dump(mode="json"), overrides, recipe.name)


def _changed(content: dict[str, Any], overrides: Sequence[str], where: str) -> Recipe:
    for override in overrides:
        _override(content, override)
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise RecipeError(f"{where}: {_explain(error)}") from error


def _read(path: Path, *, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A file's keys over those of the recipe that it ``extends``, if any."""
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError as error:
        raise RecipeError(
            f"There is no recipe {path}; the ones shipped are in recipes/."
        ) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path} is not a YAML file: {_one_line(error)}.") from error
    if not isinstance(content, dict):
        raise RecipeError(f"{path} is not a recipe; a recipe is a YAML file of keys and values.")
    parent = content.pop("extends", None)
    if parent is None:
        return content
    if not isinstance(parent, str) or path in above:
        raise RecipeError(f"{path}: 'extends' is not the name of another recipe beside it.")
    return over(_read(path.parent / parent, above=(*above, path)), content)


def over(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Keys of ``changes`` over those of ``base``, section by section."""
    out = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = over(out[key], value) if both else value
    return out


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write a recipe in full, defaults included."""
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))


def parse_overrides(texts: Sequence[str]) -> dict[str, Any]:
    """``key.sub=value`` texts as nested keys.

    Raises:
        RecipeError: one is not of that form.
    """
    content: dict[str, Any] = {}
    for text in texts:
        _override(content, text)
    return content


def _override(content: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise RecipeError(f"'{text}' is not key.sub=value.")
    *parents, last = key.split(".")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise RecipeError(f"The value of '{text}' is not YAML: {_one_line(error)}.") from error
    for parent in parents:
        content = content.setdefault(parent, {})
        if not isinstance(content, dict):
            raise RecipeError(f"'{text}': {parent} holds a value, not keys.")
    content[last] = parsed


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"{where}: {first['msg']}."
    section: Any = Recipe
    for part in first["loc"][:-1]:
        field = getattr(section, "model_fields", {}).get(part)
        section = field.annotation if field else None
    known = list(getattr(section, "model_fields", {}))
    near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(known)}."
    return f"'{where}' is not a key of a recipe; {hint}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
