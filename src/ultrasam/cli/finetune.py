"""`ultrasam finetune`: a model for your own images and tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ultrasam.cli import checks, finetuning
from ultrasam.cli.options import (
    Classes,
    Data,
    Datasets,
    Device,
    DryRun,
    Inits,
    Json,
    Overrides,
    Resume,
    TestData,
    TestFraction,
    out_option,
)  # fmt: skip
from ultrasam.cli.train import require_training, run_recipe
from ultrasam.errors import UltraSamError

app = typer.Typer(
    help="Fine-tune on your own images: promptable segmentation, image classification, region "
    "classification, instance segmentation.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_OUT = "Folder for the model and the report."
_PROMPTABLE = Path("runs/promptable")


@app.command()
def promptable(
    data: Data,
    overrides: Overrides = None,
    init: Inits = None,
    out: Annotated[Path | None, out_option(_OUT, default="runs/promptable/DATA")] = None,
    resume: Resume = False,
    device: Device = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Fine-tune the promptable model on your own images and masks.

    The settings follow from the number of images; KEY=VALUE changes them. A tenth of the subjects is used for
    validation, unless the data have a val split, and the best weights are kept.
    """
    require_training()
    start = checks.only_one(init or ["nano"], "--init")
    finetuning.check_overrides(overrides or [])
    checks.check_models([start])
    checks.check_device(device)
    checks.check_paths(data)
    checks.check_output(out or _PROMPTABLE)

    from ultrasam.training.custom import recipe_for
    from ultrasam.training.recipe import change

    recipe = recipe_for(*data, init=start).model_copy(update={"output": _PROMPTABLE})
    run_recipe(
        change(recipe, overrides or []), out=out, resume=resume, device=device, dry_run=dry_run,
        as_json=as_json,
    )  # fmt: skip


@app.command()
def classify(
    data: Data,
    overrides: Overrides = None,
    dataset: Datasets = None,
    class_: Classes = None,
    init: Inits = None,
    mode: Annotated[
        finetuning.ModeName,
        typer.Option(
            help="What is trained: a head on the frozen encoder, the encoder, or an adapter."
        ),
    ] = finetuning.ModeName.linear,
    folds: Annotated[
        int | None,
        typer.Option(
            min=2,
            metavar="NUMBER",
            show_default="5, or none if the data have a test split",
            help="Folds of the cross-validation, split by subject.",
        ),
    ] = None,
    test_data: TestData = None,
    out: Annotated[Path | None, out_option(_OUT, default="runs/classify/DATA")] = None,
    resume: Resume = False,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Train an image classifier, and report its accuracy with intervals.

    --data takes a folder with one folder per class, a CSV file (path, label, subject), a store, or raw data
    sets that have classes. Each --init is tested by cross-validation, and the first is then trained on all of
    --data and saved; or each is tested on --test-data or the test split of --data, and the first is saved.
    Use it with ultrasam predict INPUT --model DIR.
    """  # fmt: skip
    settings = finetuning.settings("classify", {"mode": mode.value}, overrides, device)
    if folds is not None and test_data:
        raise UltraSamError("Give --folds or --test-data, not both.")
    classes = checks.no_commas(class_, "--class")
    if len(set(classes)) == 1:
        raise UltraSamError(
            f"A classifier needs at least two classes; repeat --class, because '{classes[0]}' is only one."
        )
    test, inits = finetuning.checked_inputs(data, test_data, init)
    out = finetuning.run_folder(out, "classify", data[0], resume=resume)
    from ultrasam.cli.finetuning_runs import run_classify

    run_classify(
        settings, data, datasets=dataset or [], classes=classes, inits=inits, folds=folds,
        test=test, out=out, as_json=as_json,
    )  # fmt: skip


@app.command()
def regions(
    data: Data,
    overrides: Overrides = None,
    dataset: Datasets = None,
    class_: Classes = None,
    init: Inits = None,
    test_data: TestData = None,
    test_fraction: TestFraction = None,
    out: Annotated[Path | None, out_option(_OUT, default="runs/regions/DATA")] = None,
    resume: Resume = False,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Train a model that segments and classifies what a prompt points at.

    The names of the structures are the classes. Use it with ultrasam predict INPUT --box … --model DIR.
    """
    settings = finetuning.settings("regions", {}, overrides, device)
    classes = checks.no_commas(class_, "--class")
    test, inits = finetuning.checked_inputs(data, test_data, init)
    start = checks.only_one(inits, "--init")
    fraction = _fraction(test_fraction, test)
    out = finetuning.run_folder(out, "regions", data[0], resume=resume)
    from ultrasam.cli.finetuning_runs import run_regions

    run_regions(
        settings, data, datasets=dataset or [], classes=classes, init=start, test=test,
        test_fraction=fraction, out=out, resume=resume, as_json=as_json,
    )  # fmt: skip


@app.command()
def instances(
    data: Data,
    overrides: Overrides = None,
    dataset: Datasets = None,
    class_: Classes = None,
    class_from: Annotated[
        finetuning.LabelSource, typer.Option(help="What names the class of an object.")
    ] = finetuning.LabelSource.structure,
    init: Inits = None,
    test_data: TestData = None,
    test_fraction: TestFraction = None,
    out: Annotated[Path | None, out_option(_OUT, default="runs/instances/DATA")] = None,
    resume: Resume = False,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Train a model that segments and classifies all objects without prompts (Mask2Former).

    Each --init is trained and tested; the first is saved. Use it with ultrasam predict INPUT --model DIR.
    """
    settings = finetuning.settings("instances", {}, overrides, device)
    classes = checks.no_commas(class_, "--class")
    test, inits = finetuning.checked_inputs(data, test_data, init)
    fraction = _fraction(test_fraction, test)
    out = finetuning.run_folder(out, "instances", data[0], resume=resume)
    from ultrasam.cli.finetuning_runs import run_instances

    run_instances(
        settings, data, datasets=dataset or [], classes=classes, labels=class_from.value, inits=inits,
        test=test, test_fraction=fraction, out=out, resume=resume, as_json=as_json,
    )  # fmt: skip


@app.command()
def suite(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="SUITE", help="A YAML file, or a name that 'ultrasam recipes list' prints."
        ),
    ],
    data: Data,
    overrides: Overrides = None,
    out: Annotated[
        Path | None,
        out_option("Folder for the results and the report.", default="runs/suite/SUITE"),
    ] = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Fine-tune on each data set, for each task, from each initialization, and print the table.

    Combinations without data or weights are listed. Run the same command again to resume.
    """
    finetuning.require()
    from ultrasam.downstream.suite_recipe import load_suite
    from ultrasam.settings import parse_overrides
    from ultrasam.training.shipped import find_recipe

    path = find_recipe(recipe)
    loaded = load_suite(path, parse_overrides(overrides or []))
    checks.check_device(device)
    checks.check_paths(data)
    out = checks.output(out, "suite", str(path))
    placed = finetuning.placed_suite(loaded, device)
    from ultrasam.cli.finetuning_runs import run_suite

    run_suite(placed, data, out=out, as_json=as_json)


def _fraction(given: float | None, test: list[str]) -> float:
    """The fraction of the subjects to test on.

    Raises:
        UltraSamError: There are test data as well.
    """
    if given is not None and test:
        raise UltraSamError("Give --test-fraction or --test-data, not both.")
    return finetuning.TEST_FRACTION if given is None else given
