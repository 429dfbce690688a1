"""Create a recipe for a custom data set; its settings follow from the amount of data."""

from __future__ import annotations

import logging
from pathlib import Path

from ultrasam.datasets.catalogue import dataset
from ultrasam.datasets.custom import detect_layout
from ultrasam.errors import DataError
from ultrasam.training.recipe import Recipe
from ultrasam.weights.load import resolve_config

logger = logging.getLogger(__name__)

_EPOCHS = 30


def recipe_for(folder: Path, *, init: str, name: str | None = None) -> Recipe:
    """A recipe that fine-tunes ``init`` on a custom data set (see `detect_layout`).

    A large model with fewer than 500 images trains only the decoder and low-rank updates; otherwise all
    parameters are trained. Training runs for about 30 epochs, half of the prompts are boxes and half clicks,
    with moderate augmentation. One tenth of the subjects is held out for validation, the best weights are
    kept, and training stops after six validations without improvement.

    Raises:
        DataError: The folder is missing, has no known layout, or contains too few images.
        CheckpointError: The model does not exist.
    """
    layout = detect_layout(folder)
    cases, report = dataset(layout).list_cases(folder)
    for note in report.notes:
        logger.info("%s", note)
    count = len(cases)
    if count < 4:
        raise DataError(
            f"{folder} contains {count} annotated images; at least 4 are needed, one of them for validation."
        )
    config = resolve_config(init)
    small = config.image_size <= 512
    batch = min(16 if small else 2, count)
    steps = int(min(20_000, max(200, _EPOCHS * count / batch)))
    adapt = {"kind": "lora"} if not small and count < 500 else {"kind": "full"}
    return Recipe.model_validate(
        {
            "name": name or folder.resolve().name,
            "model": config.name,
            "init": init,
            "data": {"sources": [{"dataset": layout, "path": str(folder)}]},
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
            "adapt": adapt,
            "optimizer": {
                "lr": 2e-4 if small else 1e-4, "clip": 1.0, "warmup_steps": steps // 20,
                "decay_fraction": 0.8, "weight_decay": 0.01,
            },
            "trainer": {
                "max_steps": steps, "batch": batch, "checkpoint_every": max(20, steps // 20),
                "log_every": 10,
            },
            "validation": {"every": max(10, steps // 20), "patience": 6},
        }
    )  # fmt: skip
