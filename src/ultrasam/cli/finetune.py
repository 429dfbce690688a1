"""`ultrasam finetune`: the model as an initialisation for other tasks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ultrasam.errors import RecipeError, UltraSamError

if TYPE_CHECKING:
    from pydantic import BaseModel

S = TypeVar("S", bound="BaseModel")

app = typer.Typer(
    help="Fine-tune for other tasks: classes of images, and of what prompts point at.",
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
    from rich.console import Console
    from rich.progress import Progress

    from ultrasam.downstream.classifier import save_classifier
    from ultrasam.downstream.fitting import Settings, cross_validate, fit
    from ultrasam.downstream.initial import initial_model
    from ultrasam.downstream.labelled import check_apart, folds_of, keep_classes, open_labelled
    from ultrasam.downstream.report import Outcome, left_out_of, write

    settings = _settings(Settings, {"mode": mode}, overrides)
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


@app.command()
def prompted(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE...", help="Settings: steps, lr, …; see the docs."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="A store, data sets, your own folder or a COCO file, whose structures' names are the "
            "classes; repeat.",
        ),
    ] = None,
    init: Annotated[str, typer.Option(help="As of classify.")] = "nano",
    classes: Annotated[
        str | None, typer.Option(metavar="A,B", help="Only objects of these classes.")
    ] = None,
    held_out: Annotated[
        float,
        typer.Option(
            min=0.01, max=0.9, help="Share of the subjects that are tested, not trained on."
        ),
    ] = 0.2,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the model.")
    ] = Path("prompted"),
) -> None:
    """Train a model that tells the class of what a prompt points at, besides its mask.

    Use it with ultrasam predict INPUT --box … --model DIR: predictions.json then says the class.
    """
    from ultrasam.data.splits import position
    from ultrasam.downstream.initial import initial_model
    from ultrasam.downstream.prompted import Settings, accuracy, annotated_of, fit, save_prompted
    from ultrasam.errors import DataError
    from ultrasam.evaluation.sources import open_collections, read_all

    settings = _settings(Settings, {}, overrides)
    model = initial_model(init, seed=settings.seed)
    if not data:
        raise DataError("Say with --data what to train on.")
    wanted = [name.strip() for name in classes.split(",")] if classes else None
    samples, skips = read_all(open_collections(data))
    for skip in skips:
        print(f"ultrasam: left out {skip.where}: {skip.reason}", file=sys.stderr)
    sides = [position(sample.dataset, sample.subject) < held_out for sample in samples]
    test, train = (
        annotated_of([s for s, side in zip(samples, sides, strict=True) if side == wish], wanted)
        for wish in (True, False)
    )
    if not train or not test:
        raise DataError(
            f"{len(train)} images to train on and {len(test)} to test on are too few; change --held-out."
        )
    classifier = fit(model, train, settings)
    found = {kind: accuracy(classifier, test, kind) for kind in ("box", "point")}
    save_prompted(
        classifier,
        out,
        {"init": init, "recipe": settings.model_dump(mode="json"), "held_out_accuracy": found},
    )
    for kind, value in found.items():
        print(f"{kind}: {value:.3f} of the classes right, on {len(test)} images of other subjects")
    print(out)


def _settings(kind: type[S], given: dict[str, object], overrides: list[str] | None) -> S:
    from pydantic import ValidationError

    from ultrasam.training.recipe import parse_overrides

    try:
        return kind.model_validate({**given, **parse_overrides(overrides or [])})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecipeError(f"{where}: {first['msg']}.") from error
