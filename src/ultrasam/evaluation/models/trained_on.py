"""Which data sets the weights of a model have seen, so that a report keeps seen and unseen ones apart.

An id stands for its source: weights trained on a part of a data set have seen the data set, and all that
have images or patients in common with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ultrasam.errors import UltraSamError
from ultrasam.settings import read_yaml
from ultrasam.weights.spec import ModelSpec
from ultrasam.weights.tasks import detect_task

NONE_SEEN: frozenset[str] = frozenset()
# The model card (weights/nano/README.md); "phantoms" is the id of simulated images.
_NANO = frozenset({"busi", "bus_uclm", "ccaui", "dl_track", "hc18", "usgra_seg", "phantoms"})
# SAM (Kirillov et al. 2023) was trained on SA-1B, SAM 2 (Ravi et al. 2024) also on SA-V: photographs and
# videos. MedSAM's list of sources has ultrasound sets, which cannot be told from these names with certainty.
_REGISTERED = {
    "nano": _NANO,
    "sam-vit-b": NONE_SEEN,
    "sam-vit-l": NONE_SEEN,
    "sam-vit-h": NONE_SEEN,
}
_META_REPOSITORY = re.compile(r"facebook/sam(-vit-(base|large|huge)|2(\.1)?-hiera-[a-z-]+)")


def trained_on(spec: str) -> frozenset[str] | None:
    """Ids of the data sets that the weights of an UltraSam model name have seen.

    Weights of our own training have a recipe beside them, which names the data sets and the initial weights,
    whose data sets are added. A folder of the user's own images goes by its name, as in an evaluation.

    Returns:
        The ids; None if they are unknown.

    Raises:
        CheckpointError, ConfigError: The name is unknown.
    """
    known = _of(ModelSpec.parse(spec), ())
    if not known:
        return known
    from ultrasam.datasets.overlaps import seen_by  # imports all readers

    return seen_by(known)


def of_repository(repository: str) -> frozenset[str] | None:
    """The same for a repository or folder of transformers: empty for Meta's own, else unknown."""
    return NONE_SEEN if _META_REPOSITORY.fullmatch(repository) else None


def _of(spec: ModelSpec, above: tuple[Path, ...]) -> frozenset[str] | None:
    if spec.kind in ("random", "imagenet"):
        return NONE_SEEN
    if spec.kind == "registered":
        return _us43d() if spec.name == "ultrasam" else _REGISTERED.get(spec.name)
    if spec.kind == "hub":
        return of_repository(spec.name)
    if spec.kind != "path":
        return None
    path = spec.path.resolve()
    if path in above:
        return None
    folder = path if path.is_dir() else path.parent
    # In the model's folder; in that of the run, beside its checkpoints and the folder "model".
    places = [folder, folder.parent] if folder.name == "model" else [folder]
    recipe = next((p / "recipe.yaml" for p in places if (p / "recipe.yaml").is_file()), None)
    if recipe is None or detect_task(path) is not None:
        return None
    try:
        return _of_recipe(read_yaml(recipe, what="recipe"), path, (*above, path))
    except (UltraSamError, OSError, LookupError, TypeError, ValueError):
        return None  # damaged, or not a recipe of ours


def _of_recipe(
    recipe: Mapping[str, Any], weights: Path, above: tuple[Path, ...]
) -> frozenset[str] | None:
    """The data sets of a recipe as `ultrasam train` saves it, with all its keys."""
    # Imports PyTorch; and a bad name needs neither.
    from ultrasam.store.store import Store
    from ultrasam.weights.adapter_files import find_adaptation

    data = recipe["data"]
    seen = {_id(source["dataset"], Path(source["path"])) for source in data["sources"]}
    if data["phantoms"]["count"]:
        seen.add("phantoms")
    if (store := data["store"]) is not None:
        # A recipe of an earlier version does not name the data sets of a store if all were used.
        names = store["shares"] or store["datasets"]
        seen |= set(names or Store.open(Path(store["path"])).manifest["datasets"])

    adaptation = find_adaptation(weights)
    init = recipe["init"] if adaptation is None else adaptation[1]
    before = NONE_SEEN if init is None else _of(ModelSpec.parse(init), above)
    return None if before is None else frozenset(seen) | before


def _id(dataset: str, path: Path) -> str:
    """The id of a source of a recipe; a custom data set has the name that an evaluation gives it."""
    from ultrasam.datasets import catalogue  # imports all readers

    spec = catalogue.dataset(dataset)
    if spec.info.id in catalogue.catalogue():
        return spec.info.id
    return path.stem if path.suffix.lower() in (".json", ".xml") else path.resolve().name


def _us43d() -> frozenset[str]:
    from ultrasam.datasets.catalogue import catalogue

    return frozenset(id for id, spec in catalogue().items() if spec.info.part_of_paper)
