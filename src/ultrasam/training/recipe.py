"""Recipe: everything that an experiment is, as a checked YAML file.

Overrides from the command line are ``key.sub=value``, the value read as YAML. A recipe is saved in
full beside every checkpoint that it makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from ultrasam.errors import RecipeError
from ultrasam.model.config import get_config
from ultrasam.prompt_simulation import RENAMED_CLICK_KEYS
from ultrasam.settings import StrictModel, deep_merge, override, read_yaml, validate
from ultrasam.training.augmentation import Augmentation
from ultrasam.training.prompt_sampling import PromptSampling
from ultrasam.training.run_settings import RunSettings
from ultrasam.weights.adaptation import Adaptation


class Interaction(StrictModel):
    """The rounds of the interactive loop.

    Attributes:
        rounds: rounds in all, the first prompt's included.
        corrective: chance, per prompt and round, of a click in the error region; else the same prompt.
        feedback_gradient: let gradients flow through the mask that is fed back.
        masks: *ambiguous* trains the single mask of every prompt and the three of a lone click (SAM);
            *last* the single mask in all rounds but the last, the three in the last (arXiv 2411.16222).
    """

    rounds: int = Field(2, ge=1)
    corrective: float = Field(0.0, ge=0, le=1)
    feedback_gradient: bool = True
    masks: Literal["ambiguous", "last"] = "ambiguous"


class MaskLosses(StrictModel):
    """Weights of the losses of masks and of their predicted IoU, and the focal loss's alpha and gamma
    (arXiv 2411.16222, 3.3)."""

    focal: float = Field(20.0, ge=0)
    dice: float = Field(1.0, ge=0)
    iou: float = Field(1.0, ge=0)
    alpha: float = Field(0.25, ge=0, le=1)
    gamma: float = Field(2.0, ge=0)


# Keys of earlier versions, and what they are called now.
_RENAMED = {
    "views": "augmentation",
    "optimiser": "optimizer",
    "prompts.central_clicks": "prompts.clicks.near_center",
    "prompts.scribbles": "prompts.clicks.scribble",
    "prompts.several_clicks": "prompts.clicks.multiple",
    "prompts.clicks_beside": "prompts.clicks.near_miss",
    **{f"prompts.clicks.{old}": f"prompts.clicks.{new}" for old, new in RENAMED_CLICK_KEYS.items()},
    **{f"prompts.{k}": f"interaction.{k}" for k in Interaction.model_fields},
}


class DataSource(StrictModel):
    """One data set in its raw layout, and the weight with which its images are drawn."""

    dataset: str
    path: Path
    weight: float = Field(1.0, ge=0)


class Phantoms(StrictModel):
    """Simulated images: how many different ones, and the weight with which they are drawn."""

    count: int = Field(0, ge=0)
    weight: float = Field(1.0, ge=0)


class StoreSource(StrictModel):
    """Images of a store (`ultrasam data build`): see `ultrasam.training.sources.store_sources`.

    Attributes:
        datasets: the data sets to draw from; None for all.
        temperature: levels how often each data set is drawn, by its number of images.
        shares: how often each data set is drawn, relative to the others; instead of ``datasets`` and
            ``temperature``.
        weight: of the store as a whole, beside other sources.
    """

    path: Path
    split: Literal["train", "val", "test"] = "train"
    datasets: tuple[str, ...] | None = None
    temperature: float = Field(2.0, ge=1)
    shares: dict[str, Annotated[float, Field(gt=0)]] | None = Field(None, min_length=1)
    weight: float = Field(1.0, ge=0)

    @model_validator(mode="after")
    def _datasets_once(self) -> StoreSource:
        if self.datasets is not None and self.shares is not None:
            raise ValueError("give 'datasets' or 'shares', not both")
        return self


class Data(StrictModel):
    """Real and simulated images to draw from."""

    store: StoreSource | None = None
    sources: tuple[DataSource, ...] = ()
    phantoms: Phantoms = Phantoms()


class Recipe(RunSettings):
    """One experiment that trains a promptable model.

    Attributes:
        model: size of the network, if it starts from nothing.
        init: the weights it starts from (see `ultrasam.load`).
        output: the run's folder is ``output/name``.
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
        """Where the run is kept."""
        return self.output / self.name


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


def _changed(content: dict[str, Any], overrides: Sequence[str], source: str) -> Recipe:
    for text in overrides:
        override(content, text)
    return validate(Recipe, content, source=source, renamed=_RENAMED)


def _read(path: Path, *, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A file's keys over those of the recipe that it ``extends``, if any."""
    content = read_yaml(path, what="recipe")
    parent = content.pop("extends", None)
    if parent is None:
        return content
    if not isinstance(parent, str) or path in above:
        raise RecipeError(
            f"{path}: 'extends' is not the name of another recipe in the same folder."
        )
    return deep_merge(_read(path.parent / parent, above=(*above, path)), content)


def save_recipe(recipe: StrictModel, path: Path) -> None:
    """Write a recipe in full, defaults included."""
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))
