"""`ultrasam finetune`: the model as an initialisation for one's own data and for other tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ultrasam.cli import finetuning
from ultrasam.cli.options import Classes, Data, Device, HeldOut, Init, Inits, Out, Overrides, Resume

app = typer.Typer(
    help="Fine-tune on your own data: promptable segmentation, image classification, region classification, "
    "instance segmentation.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def promptable(
    data: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="Your own folder: images/ and masks/, or images with COCO, LabelMe or VIA files.",
        ),
    ],
    overrides: Overrides = None,
    init: Init = "nano",
    name: Annotated[
        str | None, typer.Option(help="Name of the run; the folder's for none.")
    ] = None,
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
    """Fine-tune the promptable model on your own images and masks.

    Settings follow from the size of the data; KEY=VALUE changes them. A tenth of the subjects
    validates, and the best weights are kept.
    """
    finetuning.require()
    from ultrasam.cli.train import run_recipe
    from ultrasam.training.custom import recipe_for
    from ultrasam.training.recipe import change

    recipe = change(recipe_for(data, init=init, name=name), overrides or [])
    run_recipe(recipe, resume=resume, device=device, dry_run=dry_run)


@app.command()
def classify(
    data: Data,
    overrides: Overrides = None,
    init: Inits = None,
    mode: Annotated[
        finetuning.ModeName, typer.Option(help="What is trained of the encoder.")
    ] = finetuning.ModeName.linear,
    folds: Annotated[
        int, typer.Option(min=2, help="Folds of the cross-validation, split by subject.")
    ] = 5,
    test: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Test on these data instead of in folds (repeatable)."),
    ] = None,
    classes: Classes = None,
    out: Out = Path("runs/classify"),
    resume: Resume = False,
    device: Device = None,
) -> None:
    """Train an image classifier, and report its accuracy with intervals.

    --data takes a folder with one folder per class, a CSV file (path, label, subject), a store, or raw data
    sets that have classes. Each --init is tested in --folds folds by subject, or on --test; then the first is
    trained on all of --data and saved: use it with ultrasam predict INPUT --model DIR.
    """
    settings = finetuning.settings("classify", {"mode": mode.value}, overrides, device)
    finetuning.check_paths([*data, *(test or [])])
    from ultrasam.cli.finetuning_runs import run_classify

    run_classify(
        settings, data, inits=init or ["nano"], folds=folds, test=test or [],
        classes=finetuning.split_names(classes), out=out, resume=resume,
    )  # fmt: skip


@app.command()
def regions(
    data: Data,
    overrides: Overrides = None,
    init: Init = "nano",
    classes: Classes = None,
    held_out: HeldOut = 0.2,
    out: Out = Path("runs/regions"),
    resume: Resume = False,
    device: Device = None,
) -> None:
    """Train a model that classifies what a prompt points at, and segments it.

    The names of structures are the classes. Use it with ultrasam predict INPUT --box … --model DIR.
    """
    settings = finetuning.settings("regions", {}, overrides, device)
    finetuning.check_paths(data)
    from ultrasam.cli.finetuning_runs import run_regions

    run_regions(
        settings, data, init=init, classes=finetuning.split_names(classes), held_out=held_out, out=out,
        resume=resume,
    )  # fmt: skip


@app.command()
def instances(
    data: Data,
    overrides: Overrides = None,
    init: Inits = None,
    classes: Classes = None,
    labels: Annotated[
        finetuning.LabelSource, typer.Option(help="What names an object's class.")
    ] = finetuning.LabelSource.structure,
    test: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH", help="Test on these data instead of on held-out subjects (repeatable)."
        ),
    ] = None,
    held_out: HeldOut = 0.2,
    out: Out = Path("runs/instances"),
    resume: Resume = False,
    device: Device = None,
) -> None:
    """Train a model that segments and names all objects without prompts (Mask2Former).

    Each --init is trained and tested; the first is saved: use it with ultrasam predict INPUT --model DIR.
    """
    settings = finetuning.settings("instances", {}, overrides, device)
    finetuning.check_paths([*data, *(test or [])])
    from ultrasam.cli.finetuning_runs import run_instances

    run_instances(
        settings, data, inits=init or ["nano"], classes=finetuning.split_names(classes),
        labels=labels.value, test=test or [], held_out=held_out, out=out, resume=resume,
    )  # fmt: skip


@app.command()
def suite(
    recipe: Annotated[
        Path, typer.Argument(metavar="SUITE", help="A YAML file, such as downstream/paper.yaml.")
    ],
    data: Data,
    overrides: Overrides = None,
    out: Out = Path("runs/suite"),
    device: Device = None,
) -> None:
    """Fine-tune on every data set, for every task, from every initialisation, and print the table.

    Fine-tunings that lack data or weights are listed. Run the same command again to resume.
    """
    finetuning.require()
    finetuning.check_paths(data)
    from ultrasam.cli.finetuning_runs import run_suite

    run_suite(recipe, overrides or [], data, out=out, device=device)
