"""`ultrasam finetune`: the model as an initialisation for other tasks."""

from __future__ import annotations

import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ultrasam.errors import DataError, MissingDependencyError, RecipeError, first_of

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.progress import Progress, TaskID

    from ultrasam.downstream.annotated import Annotated as Annotated_

S = TypeVar("S", bound="BaseModel")

_Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE...",
        help="Settings: steps, lr, batch, size, … (of a suite, classify.steps, …); see the docs.",
    ),
]
_Classes = Annotated[str | None, typer.Option(metavar="A,B", help="Only these classes.")]
_HeldOut = Annotated[
    float,
    typer.Option(min=0.01, max=0.9, help="Share of the subjects that are tested, not trained on."),
]
_Device = Annotated[str, typer.Option(help="cpu, cuda, …")]

app = typer.Typer(
    help="Fine-tune for other tasks: classes of images or of what is pointed at; objects without prompts.",
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
        raise MissingDependencyError(
            "Fine-tuning needs more packages; install them with: pip install 'ultrasam[downstream]'"
        ) from error


@app.command()
def classify(
    overrides: _Overrides = None,
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
            help="nano, ultrasam, sam-vit-b, medsam, imagenet, resnet50, random:nano, a path; repeat to "
            "compare: the first is saved and judged by the others."
        ),
    ] = None,
    mode: Annotated[str, typer.Option(help="linear, attention, full, lora or adapter.")] = "linear",
    folds: Annotated[int, typer.Option(min=2, help="Of the cross-validation, by subject.")] = 5,
    test: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Test on these instead of in folds."),
    ] = None,
    classes: _Classes = None,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="DIR", help="Folder for the model and the report."),
    ] = Path("classifier"),
    device: _Device = "cpu",
) -> None:
    """Train an image classifier and say how good it is.

    In --folds folds by subject, or on --test, for every --init; then the first is trained on all of --data
    and saved to DIR: use it with ultrasam predict INPUT --model DIR.
    """
    from rich.console import Console
    from rich.progress import Progress

    from ultrasam.downstream.backbone import load_backbone
    from ultrasam.downstream.classifier import save_classifier
    from ultrasam.downstream.fitting import Settings, cross_validate, fit
    from ultrasam.downstream.labelled import check_apart, folds_of, keep_classes, open_labelled
    from ultrasam.downstream.report import Outcome, left_out_of, write

    settings = _settings(Settings, {"mode": mode}, overrides)
    inits = init or ["nano"]
    models = {name: load_backbone(name, seed=settings.seed) for name in inits}
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
                model,
                tested,
                names,
                split,
                settings,
                device=device,
                say=partial(_advance, progress, task),
            )
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
            "figures": {n: str(s) for n, s in outcome.scores(inits[0]).items()},
        },
    )
    print(write(outcome, classifier, out))
    print(outcome.markdown())


@app.command()
def prompted(
    overrides: _Overrides = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="A store, data sets, your own folder or a COCO file, whose structures' names are the "
            "classes; repeat.",
        ),
    ] = None,
    init: Annotated[str, typer.Option(help="As of classify.")] = "nano",
    classes: _Classes = None,
    held_out: _HeldOut = 0.2,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the model.")
    ] = Path("prompted"),
    device: _Device = "cpu",
) -> None:
    """Train a model that tells the class of what a prompt points at, besides its mask.

    Use it with ultrasam predict INPUT --box … --model DIR: predictions.json then says the class.
    """
    from ultrasam.downstream.backbone import load_promptable
    from ultrasam.downstream.prompted import Settings, accuracy, fit, save_prompted

    settings = _settings(Settings, {}, overrides)
    model = load_promptable(init, seed=settings.seed)
    train, test, _, _ = _sides(data, classes, held_out)
    classifier = fit(model, train, settings, device=device)
    found = {kind: accuracy(classifier, test, kind) for kind in ("box", "point")}
    save_prompted(
        classifier,
        out,
        {
            "init": init,
            "recipe": settings.model_dump(mode="json"),
            "data": data,
            "how": f"on {len(test)} images of other subjects",
            "figures": {f"accuracy, {kind}": round(value, 3) for kind, value in found.items()},
        },
    )
    for kind, value in found.items():
        print(f"{kind}: {value:.3f} of the classes right, on {len(test)} images of other subjects")
    print(out)


@app.command()
def segment(
    overrides: _Overrides = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="A store, data sets, your own folder or a COCO file; repeat. Of a store with a test side, "
            "that is tested.",
        ),
    ] = None,
    init: Annotated[
        list[str] | None,
        typer.Option(help="As of classify; repeat to compare: the first is saved."),
    ] = None,
    classes: _Classes = None,
    labels: Annotated[
        str, typer.Option(help="Where an object's class stands: in its structure or its image.")
    ] = "structure",
    test: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Test on these instead of on held-out subjects; repeat."),
    ] = None,
    held_out: _HeldOut = 0.2,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="DIR", help="Folder for the model and the report."),
    ] = Path("segmenter"),
    device: _Device = "cpu",
) -> None:
    """Train a model that finds and names all objects without prompts (Mask2Former over our encoder).

    Use it with ultrasam predict INPUT --model DIR.
    """
    from rich.console import Console
    from rich.progress import Progress

    from ultrasam.downstream.backbone import load_backbone
    from ultrasam.downstream.instance_report import Outcome, judge, write
    from ultrasam.downstream.instance_training import Settings, fit
    from ultrasam.downstream.instances import save_instances

    settings = _settings(Settings, {}, overrides)
    inits = init or ["nano"]
    models = {name: load_backbone(name, seed=settings.seed) for name in inits}
    if labels not in ("structure", "image"):
        raise RecipeError(f"--labels is structure or image, not '{labels}'.")
    train, tested, names, left_out = _sides(
        data, classes, held_out, test=test, labels=labels, empty=True
    )
    console = Console(stderr=True)
    judged, fitted = {}, {}
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        for name, model in models.items():
            task = progress.add_task(name, total=settings.steps + len(tested))
            advance = partial(_advance, progress, task)
            fitted[name] = fit(model, train, names, settings, device=device, say=advance)
            judged[name] = judge(fitted[name], tested, say=advance)
    saved = fitted[inits[0]]
    how = f"Trained on {len(train)} other images, {settings.steps} steps of {settings.batch}."
    outcome = Outcome(tuple(names), tuple(tested), judged, how, left_out)
    note = {
        "init": inits[0],
        "recipe": settings.model_dump(mode="json"),
        "data": data,
        "how": how,
        "figures": outcome.figures(inits[0]),
    }
    save_instances(saved, out, note)
    print(write(outcome, saved, out))
    print(outcome.markdown())


@app.command()
def suite(
    recipe: Annotated[
        Path, typer.Argument(metavar="SUITE", help="A YAML file, as in recipes/downstream/.")
    ],
    overrides: _Overrides = None,
    data: Annotated[
        list[str] | None, typer.Option(metavar="PATH", help="A store or data sets; repeat.")
    ] = None,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="DIR", help="Folder for the results and the table."),
    ] = Path("suite"),
    device: _Device = "cpu",
) -> None:
    """Fine-tune on every data set, for every task, from every initialisation, and print the table.

    What data or weights are missing for is named; what was run before is not run again.
    """
    from ultrasam.downstream.suite import load_suite, markdown, run
    from ultrasam.evaluation.sources import open_collections, read_all
    from ultrasam.training.recipe import parse_overrides

    wanted = load_suite(recipe, parse_overrides(overrides or []))
    if not data:
        raise DataError("Say with --data what to train on.")
    samples, skips = read_all(open_collections(data, split="all"))
    for skip in skips:
        print(f"ultrasam: left out {skip.where}: {skip.reason}", file=sys.stderr)
    tell = partial(print, file=sys.stderr, flush=True)
    cells = run(wanted, samples, out, device=device, say=tell)
    text = markdown(wanted, cells, shlex.join(["ultrasam", *sys.argv[1:]]))
    (out / "report.md").write_text(text, encoding="utf-8")
    print(text)
    if all(cell.missing for cell in cells):
        raise DataError("Nothing of the suite could be run; the reasons are above.")


def _advance(progress: Progress, task: TaskID, *_: object) -> None:
    progress.advance(task)


def _sides(
    data: list[str] | None,
    classes: str | None,
    held_out: float,
    *,
    test: list[str] | None = None,
    labels: str = "structure",
    empty: bool = False,
) -> tuple[list[Annotated_], list[Annotated_], list[str], tuple[str, ...]]:
    """Images to train on and to test on, of different subjects; their classes; what was left out."""
    from ultrasam.downstream.annotated import annotated_of, classes_of, two_sides
    from ultrasam.evaluation.sources import open_collections, read_all

    if not data:
        raise DataError("Say with --data what to train on.")
    wanted = [name.strip() for name in classes.split(",")] if classes else None
    samples, skips = read_all(open_collections(data, split="all"))
    if test:
        held, more = read_all(open_collections(test))
        skips += more
        chosen = samples
    else:
        chosen, held = two_sides(samples, held_out)
    left_out = tuple(f"{skip.where}: {skip.reason}" for skip in skips)
    for text in left_out:
        print(f"ultrasam: left out {text}", file=sys.stderr)
    trained, tested = (
        annotated_of(side, wanted, labels=labels, empty=empty)  # type: ignore[arg-type]
        for side in (chosen, held)
    )
    return trained, tested, classes_of(trained, tested), left_out


def _settings(kind: type[S], given: dict[str, object], overrides: list[str] | None) -> S:
    from pydantic import ValidationError

    from ultrasam.training.recipe import parse_overrides

    try:
        return kind.model_validate({**given, **parse_overrides(overrides or [])})
    except ValidationError as error:
        raise RecipeError(f"{first_of(error)}.") from error
