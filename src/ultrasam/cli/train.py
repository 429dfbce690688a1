"""`ultrasam train`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ultrasam.cli import checks
from ultrasam.cli.options import DataInstead, Device, DryRun, Json, Overrides, Resume, out_option
from ultrasam.cli.progress import progress_bar
from ultrasam.errors import DataError, UltraSamError
from ultrasam.extras import require

if TYPE_CHECKING:
    from ultrasam.training.recipe import Recipe


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE", help="A YAML file, or a name that 'ultrasam recipes list' prints."
        ),
    ],
    overrides: Overrides = None,
    data: DataInstead = None,
    out: Annotated[
        Path | None, out_option("Folder for the run.", default="runs/train/NAME of the recipe")
    ] = None,
    resume: Resume = False,
    device: Device = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Train a model from a recipe.

    --data replaces the recipe's data sets and store; its phantoms stay. Writes checkpoints, a log, the
    complete recipe and finally the model; use it with ultrasam predict INPUT --model DIR/model. To fine-tune
    on your own images with settings that suit their number, see ultrasam finetune promptable.
    """
    require_training()
    from ultrasam.training.recipe import load_recipe
    from ultrasam.training.shipped import find_recipe

    loaded = load_recipe(find_recipe(recipe), overrides or [])
    if data:
        checks.check_paths(data)
        from ultrasam.training.custom import with_data

        loaded = with_data(loaded, data)
    run_recipe(
        loaded, out=out, resume=resume, device=device, dry_run=dry_run, as_json=as_json
    )  # fmt: skip


def require_training() -> None:
    """Check that the packages of training are installed.

    Raises:
        MissingDependencyError: A package is missing.
    """
    require("Training", "lightning", "pydantic", "psutil", "yaml", extra="train")


def run_recipe(
    recipe: Recipe,
    *,
    out: Path | None,
    resume: bool,
    device: str | None,
    dry_run: bool,
    as_json: bool = False,
) -> None:
    """Train as a valid recipe describes, or only estimate it; what needs no data is checked first."""
    from ultrasam.training.run_folder import check_folder
    from ultrasam.training.run_settings import on_device

    if as_json and not dry_run:
        raise UltraSamError("--json applies to --dry-run only.")
    if dry_run and resume:
        raise UltraSamError("--dry-run starts nothing; leave --resume out.")
    checks.check_device(device)
    if out is not None:
        recipe = recipe.model_copy(update={"output": out.parent, "name": out.resolve().name})
    if recipe.init is not None:
        checks.check_models([recipe.init])
    check_data(recipe)
    recipe = on_device(recipe, device)
    if not dry_run:
        checks.check_output(recipe.folder)
        check_folder(recipe.folder, resume=resume)
        checks.check_gpu(recipe.trainer)
        from ultrasam.training.train import train as run

        with progress_bar(recipe.name) as on_progress:
            print(run(recipe, resume=resume, on_progress=on_progress))
        return
    checks.check_gpu(recipe.trainer)
    from ultrasam.training.dry_run import describe, estimate

    found = estimate(recipe)
    if as_json:
        content = {"recipe": recipe.model_dump(mode="json"), "estimate": asdict(found)}
        print(json.dumps(content, indent=1))
    else:
        print(describe(recipe, found), end="")


def check_data(recipe: Recipe) -> None:
    """Refuse a recipe whose data do not exist, before PyTorch is imported.

    Raises:
        DataError: A folder or store is missing.
    """
    store = recipe.data.store
    if store is not None and not (store.path / "manifest.json").is_file():
        raise DataError(
            f"There is no store at {store.path}; give your data with --data, or build a store with: ultrasam "
            f"data build RAW -o {store.path}"
        )
    for entry in recipe.data.sources:
        if not entry.path.exists():
            raise DataError(
                f"{entry.dataset}: the folder {entry.path} does not exist; put the data there, give your own "
                "data with --data, or train without it: data.sources=[]"
            )
