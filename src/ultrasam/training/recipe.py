"""Recipes: YAML files that specify a training experiment completely.

Command-line overrides have the form ``key.sub=value``, with the value parsed as YAML. The full recipe is
saved next to the checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from ultrasam.errors import RecipeError
from ultrasam.files import atomic_write
from ultrasam.model.config import get_config
from ultrasam.prompt_simulation import RENAMED_CLICK_KEYS
from ultrasam.settings import StrictModel, deep_merge, override, read_yaml, validate
from ultrasam.training.augmentation import Augmentation
from ultrasam.training.prompt_sampling import PromptSampling
from ultrasam.training.run_settings import RunSettings
from ultrasam.weights.adaptation import Adaptation


class Interaction(StrictModel):
    """Rounds of interactive training.

    Attributes:
        rounds: number of rounds, including the first prompt.
        max_rounds: if more than ``rounds``, each batch has a random number of rounds up to this many; their
            losses weigh together as ``rounds`` do.
        corrective: probability, per prompt and round, of a new click in the error region; otherwise the
            prompt is repeated.
        feedback_gradient: let gradients flow through the mask that is fed back.
        masks: *ambiguous* trains the single mask for every prompt, and the three masks for a single click
            (SAM); *last* trains the three masks in the last round and the single mask in all others (arXiv
            2411.16222).
    """

    rounds: int = Field(2, ge=1)
    max_rounds: int = Field(0, ge=0)
    corrective: float = Field(0.0, ge=0, le=1)
    feedback_gradient: bool = True
    masks: Literal["ambiguous", "last"] = "ambiguous"


class MaskLosses(StrictModel):
    """Weights of the losses (arXiv 2411.16222, 3.3), and the parameters of the focal loss.

    Attributes:
        focal, dice: weights of the mask losses.
        iou: weight of the squared error of the predicted IoU.
        ranking: weight of the cross-entropy between the true and the predicted order of the three masks of an
            ambiguous prompt.
        present: weight of the cross-entropy of there being an object, for a model with a mask-quality head.
        alpha, gamma: parameters of the focal loss.
    """

    focal: float = Field(20.0, ge=0)
    dice: float = Field(1.0, ge=0)
    iou: float = Field(1.0, ge=0)
    ranking: float = Field(0.0, ge=0)
    present: float = Field(0.0, ge=0)
    alpha: float = Field(0.25, ge=0, le=1)
    gamma: float = Field(2.0, ge=0)


# Keys of earlier versions and their current names.
_RENAMED = {
    "views": "augmentation",
    "optimiser": "optimizer",
    "prompts.central_clicks": "prompts.clicks.near_center",
    "prompts.scribbles": "prompts.clicks.scribble",
    "prompts.several_clicks": "prompts.clicks.multiple",
    "prompts.clicks_beside": "prompts.clicks.near_miss",
    **{f"prompts.clicks.{old}": f"prompts.clicks.{new}" for old, new in RENAMED_CLICK_KEYS.items()},
    "optimizer.decay_share": "optimizer.decay_fraction",
    "validation.share": "validation.fraction",
    **{f"prompts.{k}": f"interaction.{k}" for k in Interaction.model_fields},
}


class DataSource(StrictModel):
    """A raw data set.

    Attributes:
        dataset: its id, or the layout of a custom data set.
        path: its folder; for layout ``coco``, also the annotation file beside its images.
        weight: sampling weight relative to the other sources.
    """

    dataset: str
    path: Path
    weight: float = Field(1.0, ge=0)


class Phantoms(StrictModel):
    """Simulated images.

    Attributes:
        count: number of different images.
        weight: sampling weight relative to the other sources.
    """

    count: int = Field(0, ge=0)
    weight: float = Field(1.0, ge=0)


class StoreSource(StrictModel):
    """Images of a store (see `ultrasam data build`).

    Attributes:
        datasets: names of data sets; None for all.
        temperature: data sets of n images are sampled in proportion to n ** (1 / temperature).
        shares: relative sampling weights of data sets, in place of ``datasets`` and ``temperature``.
        images: names of images; None for all of the split.
        weight: sampling weight relative to the other sources.
    """

    path: Path
    split: Literal["train", "val", "test"] = "train"
    datasets: tuple[str, ...] | None = None
    temperature: float = Field(2.0, ge=1)
    shares: dict[str, Annotated[float, Field(gt=0)]] | None = Field(None, min_length=1)
    images: tuple[str, ...] | None = Field(None, min_length=1)
    weight: float = Field(1.0, ge=0)

    @model_validator(mode="after")
    def _datasets_once(self) -> StoreSource:
        if self.datasets is not None and self.shares is not None:
            raise ValueError("give 'datasets' or 'shares', not both")
        return self


class Data(StrictModel):
    """Real and simulated training images."""

    store: StoreSource | None = None
    sources: tuple[DataSource, ...] = ()
    phantoms: Phantoms = Phantoms()


class Recipe(RunSettings):
    """An experiment that trains a promptable model.

    Attributes:
        model: network size, used if ``init`` is None.
        init: initial weights (see `ultrasam.load`); None for random weights.
        output: parent of the run's folder, ``output/name``.
    """

    name: str
    model: str = "vit-b"
    init: str | None = None
    output: Path = Path("runs/train")
    data: Data
    augmentation: Augmentation = Augmentation()
    prompts: PromptSampling = PromptSampling()
    interaction: Interaction = Interaction()
    losses: MaskLosses = MaskLosses()
    adapt: Adaptation = Adaptation()

    @field_validator("model")
    @classmethod
    def _known_model(cls, name: str) -> str:
        return get_config(name).name

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        return self.output / self.name


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and validate a recipe.

    Raises:
        RecipeError: The file is missing or not YAML, a key is unknown, a value has the wrong type, or
            an override is not ``key.sub=value``.
    """
    return _changed(_read(path), overrides, str(path))


def change(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """A copy of a recipe with some keys overridden.

    Raises:
        RecipeError: A key is unknown, a value has the wrong type, or an override is not ``key.sub=value``.
    """
    return _changed(recipe.model_dump(mode="json"), overrides, recipe.name)


def _changed(content: dict[str, Any], overrides: Sequence[str], source: str) -> Recipe:
    for text in overrides:
        override(content, text)
    return validate(Recipe, content, source=source, renamed=_RENAMED, overrides=overrides)


def _read(path: Path, *, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Keys of a file, merged over those of the recipe that it ``extends``."""
    content = read_yaml(path, what="recipe")
    parent = content.pop("extends", None)
    if parent is None:
        return content
    if not isinstance(parent, str) or path in above:
        raise RecipeError(f"{path}: 'extends' must name another recipe in the same folder.")
    return deep_merge(_read(path.parent / parent, above=(*above, path)), content)


def save_recipe(recipe: StrictModel, path: Path) -> None:
    """Write a recipe with all its keys, including defaults."""
    atomic_write(
        path, yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    )
