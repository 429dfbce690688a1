"""`ultrasam finetune`: the model as an initialisation for other tasks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ultrasam.errors import RecipeError, UltraSamError

app = typer.Typer(
    help="Fine-tune for other tasks: classify.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _needs_packages() -> None:
    try:
        import markdown_it  # noqa: F401
        import peft  # noqa: F401
        import polars  # noqa: F401
        import pydantic  # noqa: F401
        import sklearn  # noqa: F401
    except ImportError as error:
        raise UltraSamError(
            "Fine-tuning needs more packages; install them with: pip install 'ultrasam[downstream]'"
        ) from error


@app.command()
def classify(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE...", help="Settings: steps, lr, batch, size, …; see the docs."
        ),
    ] = None,
    data: Annotated[
        Path,
        typer.Option(
            metavar="PATH",
            help="A folder with one folder per class, a CSV file (path, label, subject), a store, or raw "
            "data sets that have classes.",
        ),
    ] = Path("data"),
    init: Annotated[
        list[str] | None,
        typer.Option(
            help="nano, ultrasam, sam, medsam, imagenet, scratch:nano, a path; repeat to compare: the first "
            "is saved and judged by the others."
        ),
    ] = None,
    mode: Annotated[str, typer.Option(help="linear, attention, full, lora or adapter.")] = "linear",
    folds: Annotated[int, typer.Option(min=2, help="Of the cross-validation, by subject.")] = 5,
    test: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Test on these instead of in folds."),
    ] = None,
    classes: Annotated[str | None, typer.Option(metavar="A,B", help="Only these classes.")] = None,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="DIR", help="Folder for the model and the report."),
    ] = Path("classifier"),
    device: Annotated[str, typer.Option(help="cpu, cuda, …")] = "cpu",
) -> None:
    """Train an image classifier and say how good it is.

    In --folds folds by subject, or on --test, for every --init; then the first is trained on all of --data
    and saved to DIR: use it with ultrasam predict INPUT --model DIR.
    """
    from pydantic import ValidationError
    from rich.console import Console
    from rich.progress import Progress

    from ultrasam.downstream.classifier import save_classifier
    from ultrasam.downstream.fitting import Settings, cross_validate, fit
    from ultrasam.downstream.initial import initial_model
    from ultrasam.downstream.labelled import check_apart, folds_of, keep_classes, open_labelled
    from ultrasam.downstream.report import Outcome, left_out_of, write
    from ultrasam.training.recipe import parse_overrides

    try:
        settings = Settings.model_validate({"mode": mode, **parse_overrides(overrides or [])})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecipeError(f"{where}: {first['msg']}.") from error
    inits = init or ["nano"]
    models = {name: initial_model(name, seed=settings.seed) for name in inits}
    found = open_labelled(data)
    if classes:
        found = keep_classes(found, [name.strip() for name in classes.split(",")])
    if found.left_out:
        print(f"ultrasam: {left_out_of(found.left_out)}", file=sys.stderr)
    items, names = list(found.items), found.classes
    tested = items
    if test is None:
        split = folds_of(items, folds, seed=settings.seed)
        how = f"{folds} folds by subject, tested on what each leaves out."
    else:
        held = open_labelled(test)
        held_items = [i for i in held.items if not classes or i.label in names]
        check_apart(items, held_items)
        count = len(items)
        tested = items + held_items
        split = [(list(range(count)), list(range(count, len(tested))))]
        how = f"Trained on {count} images of {data}, tested on {test}."
    by_init = {}
    rows = sorted(i for _, part in split for i in part)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        for name, model in models.items():
            task = progress.add_task(name, total=settings.steps * len(split))
            whole = cross_validate(
                model, tested, names, split, settings, device=device,
                say=lambda _f, _s, _l, task=task: progress.advance(task),  # type: ignore[misc]
            )  # fmt: skip
            by_init[name] = whole[rows]
        classifier = fit(models[inits[0]], items, names, settings, device=device)
    outcome = Outcome(tuple(names), tuple(tested[i] for i in rows), by_init, how, found.left_out)
    save_classifier(
        classifier,
        out,
        {
            "init": inits[0],
            "recipe": settings.model_dump(mode="json"),
            "data": str(data),
            "how": how,
        },
    )
    print(write(outcome, classifier, out))
    print(outcome.markdown())
