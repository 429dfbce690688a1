"""Create a recipe for custom data; its settings follow from their amount."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ultrasam.errors import DataError
from ultrasam.model.config import ModelConfig
from ultrasam.store.store import Store
from ultrasam.training.recipe import Data, DataSource, Recipe, StoreSource
from ultrasam.training.sources import reader_of, store_sources
from ultrasam.weights.load import resolve_config

FEW_SHOT_STEPS = 200
_EPOCHS, _MIN_STEPS = 30, 200
_FEW_SHOT_BATCH = 8


def recipe_for(*data: str | Path, init: str, name: str | None = None) -> Recipe:
    """A recipe that fine-tunes ``init`` on the given data (see `data_of`).

    A large model with fewer than 500 images trains only the decoder and low-rank updates; otherwise all
    parameters are trained. Training runs for about 30 epochs, half of the prompts are boxes and half clicks,
    with moderate augmentation. Without a val split, one tenth of the subjects is held out for validation. The
    best weights are kept, and training stops after six validations without improvement.

    Raises:
        DataError: A path is missing, has no known layout, or there are too few images.
        CheckpointError: The model does not exist.
    """
    found, count = data_of([str(path) for path in data])
    if count < 4:
        raise DataError(
            f"{', '.join(map(str, data))} contains {count} annotated images; at least 4 are needed, one of "
            "them for validation."
        )
    config = resolve_config(init)
    batch = min(_batch(config), count)
    steps = int(min(20_000, max(_MIN_STEPS, _EPOCHS * count / batch)))
    settings = _settings(config, count=count, batch=batch, steps=steps)
    return Recipe.model_validate(
        settings
        | {
            "name": name or _name_of(str(data[0])),
            "init": init,
            "data": found.model_dump(mode="json"),
            "validation": {"every": max(10, steps // 20), "patience": 6},
        }
    )


def few_shot_recipe(
    store: Path, dataset: str, images: Sequence[str], *, init: str, steps: int = FEW_SHOT_STEPS
) -> Recipe:
    """A recipe that fine-tunes ``init`` on a few images of a store, with the settings of `recipe_for`.

    No image is held out for validation: training takes a fixed number of steps, and the last weights are
    kept. A step has 8 views (2 for a large model), however few images they show.

    Args:
        dataset: id of the data set.
        images: names of its images in the train split.

    Raises:
        CheckpointError: The model does not exist.
    """
    config = resolve_config(init)
    batch = min(_batch(config), _FEW_SHOT_BATCH)
    source = StoreSource(path=store, datasets=(dataset,), images=tuple(images))
    settings = _settings(config, count=len(images), batch=batch, steps=steps)
    return Recipe.model_validate(
        settings
        | {
            "name": f"{dataset}-{len(images)}",
            "init": init,
            "data": Data(store=source).model_dump(mode="json"),
        }
    )


def _batch(config: ModelConfig) -> int:
    return 16 if _is_small(config) else 2


def _is_small(config: ModelConfig) -> bool:
    return config.image_size <= 512


def _settings(config: ModelConfig, *, count: int, batch: int, steps: int) -> dict[str, Any]:
    """What to train of a model on ``count`` images, and how."""
    small = _is_small(config)
    return {
        "model": config.name,
        "augmentation": {
            "zoomed": 0.3, "zoom": [1.25, 3.5], "scale": 0.12, "flip": 0.5, "rotation": 15,
            "stretch": 0.15, "brightness": 0.7, "degradation": 0.15,
        },
        "prompts": {
            "jitters": [0.02, 0.05, 0.1], "jitter_weights": [0.4, 0.4, 0.2],
            "clicks": {"near_center": 0.5, "multiple": 0.1}, "per_image": 4,
        },
        "interaction": {"corrective": 0.5, "feedback_gradient": False},
        "losses": {"alpha": 0.5, "gamma": 1, "focal": 10, "dice": 2},
        "adapt": {"kind": "lora"} if not small and count < 500 else {"kind": "full"},
        "optimizer": {
            "lr": 2e-4 if small else 1e-4, "clip": 1.0, "warmup_steps": steps // 20,
            "decay_fraction": 0.8, "weight_decay": 0.01,
        },
        "trainer": {
            "max_steps": steps, "batch": batch, "checkpoint_every": max(20, steps // 20),
            "log_every": 10,
        },
    }  # fmt: skip


def with_data(recipe: Recipe, paths: Sequence[str]) -> Recipe:
    """A recipe trained on other data; its phantoms stay, with the same part of the images seen.

    Raises:
        DataError: See `data_of`.
    """
    present = recipe.data
    found, _ = data_of(paths)
    store = found.store
    if store is not None and present.store is not None:
        store = present.store.model_copy(update={"path": store.path})
    before = sum(s.weight for s in (present.store, *present.sources) if s is not None) or 1.0
    total = sum(s.weight for s in (store, *found.sources) if s is not None)

    def weighted(source: Any) -> Any:
        return source.model_copy(update={"weight": round(source.weight * before / total, 6)})

    data = present.model_copy(
        update={
            "store": None if store is None else weighted(store),
            "sources": tuple(weighted(source) for source in found.sources),
        }
    )
    return recipe.model_copy(update={"data": data})


def data_of(paths: Sequence[str]) -> tuple[Data, int]:
    """The data section for the paths of --data, and the number of annotated images; none is decoded.

    Several data sets are sampled in proportion to their images.

    Args:
        paths: each a store, a folder of data sets (named after them, or NAME=FOLDER), a custom data set
            (images and masks), or an annotation file next to its images. At most one is a store.

    Raises:
        DataError: A path is missing or contains no data, or there are two stores.
    """
    store: StoreSource | None = None
    sources: list[DataSource] = []
    total = 0
    for text in paths:
        path = Path(text).expanduser()
        if (path / "manifest.json").is_file():
            if store is not None:
                raise DataError(
                    f"{store.path} and {path} are both stores; build one store of all data, or give one."
                )
            images = sum(len(source.images) for source in store_sources(Store.open(path)))
            store = StoreSource(path=path, weight=images)
            total += images
            continue
        for entry in _raw(text):
            reader, folder = reader_of(entry)
            count = reader.count(folder)
            sources.append(entry.model_copy(update={"weight": count}))
            total += count
    return Data(store=store, sources=tuple(sources)), total


def _raw(text: str) -> list[DataSource]:
    """The raw data sets of one path."""
    # Readers of raw data need packages that a run on a store does without.
    from ultrasam.datasets.custom import is_annotation_file, layout_of_file
    from ultrasam.evaluation.sources import raw_datasets

    path = Path(text).expanduser()
    if is_annotation_file(path):
        return [DataSource(dataset=layout_of_file(path), path=path)]
    return [DataSource(dataset=spec.info.id, path=folder) for _, spec, folder in raw_datasets(text)]


def _name_of(text: str) -> str:
    """A run's name from the path of its data."""
    name, equals, _ = text.partition("=")
    path = Path(text).expanduser()
    if equals and not path.exists():
        return name
    return path.resolve().stem if path.is_file() else path.resolve().name
