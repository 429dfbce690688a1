"""`ultrasam train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ultrasam.cli.options import Device, Overrides, Resume
from ultrasam.cli.progress import progress_bar
from ultrasam.extras import needs

if TYPE_CHECKING:
    from ultrasam.training.recipe import Recipe


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe (YAML file).")],
    overrides: Overrides = None,
    resume: Resume = False,
    device: Device = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print the recipe, parameter counts, and estimated memory and time, then exit.",
        ),
    ] = False,
) -> None:
    """Train a model from a recipe.

    Writes checkpoints, a log, the recipe in full and, at the end, the model to OUTPUT/NAME; use it
    with ultrasam predict --model OUTPUT/NAME/model. To fine-tune on your own folder, see ultrasam finetune
    promptable.
    """
    with needs("Training", extra="train"):
        # The light ones; the heavy ones are imported after the recipe has been read.
        import pydantic  # noqa: F401
        import yaml  # noqa: F401
    from ultrasam.training.recipe import load_recipe

    run_recipe(load_recipe(recipe, overrides or []), resume=resume, device=device, dry_run=dry_run)


def run_recipe(recipe: Recipe, *, resume: bool, device: str | None, dry_run: bool) -> None:
    """Train as a checked recipe describes, or only estimate it."""
    from ultrasam.training.run_settings import on_device

    recipe = on_device(recipe, device)
    if dry_run:
        from ultrasam.training.dry_run import describe, estimate

        print(describe(recipe, estimate(recipe)), end="")
        return
    from ultrasam.training.train import train as run

    with progress_bar(recipe.name) as on_progress:
        folder = run(recipe, resume=resume, on_progress=on_progress)
    print(folder)
