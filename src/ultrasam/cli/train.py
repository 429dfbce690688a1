"""`ultrasam train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ultrasam.errors import MissingDependencyError, UltraSamError


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(help="A recipe; the ones shipped are in recipes/. None with --data."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE...", help="For example trainer.batch=4."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Fine-tune on your own folder, images/ and masks/, or COCO, LabelMe or VIA files, with "
            "settings from the size of the data; KEY=VALUE changes them.",
        ),
    ] = None,
    init: Annotated[str, typer.Option(help="The model that --data starts from.")] = "nano",
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Say what the run would be, parameters, data, memory and time, and stop.",
        ),
    ] = False,
) -> None:
    """Train a model as a recipe says.

    Writes checkpoints, a log, the recipe in full and, at the end, the model to OUTPUT/NAME; use it
    with ultrasam predict --model OUTPUT/NAME/model.
    """
    try:
        import lightning  # noqa: F401
        import polars  # noqa: F401
        import pydantic  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "Training needs more packages; install them with: pip install 'ultrasam[train]'"
        ) from error
    from ultrasam.training.engine import train as run
    from ultrasam.training.recipe import change, load_recipe

    overrides = overrides or []
    if data is not None:
        from ultrasam.training.custom import recipe_for

        # Without a recipe, what stands in its place is the first override.
        loaded = change(recipe_for(data, init=init), [*([recipe] if recipe else []), *overrides])
    elif recipe is None:
        raise UltraSamError("Give a recipe, such as recipes/nano.yaml, or --data with a folder.")
    else:
        loaded = load_recipe(Path(recipe), overrides)
    if dry_run:
        from ultrasam.training.dry_run import describe, plan

        print(describe(loaded, plan(loaded)), end="")
        return

    print(run(loaded, resume=resume, say=print))
