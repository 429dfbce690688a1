"""`ultrasam train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ultrasam.errors import UltraSamError


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe; the ones shipped are in recipes/.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE...", help="For example trainer.batch=4."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")
    ] = False,
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
        raise UltraSamError(
            "Training needs more packages; install them with: pip install 'ultrasam[train]'"
        ) from error
    from ultrasam.training.engine import train as run
    from ultrasam.training.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or [])
    if dry_run:
        from ultrasam.training.plan import describe, plan

        print(describe(loaded, plan(loaded)), end="")
        return

    print(run(loaded, resume=resume, say=print))
