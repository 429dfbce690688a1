"""`ultrasam evaluate`."""

from __future__ import annotations

import logging
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ultrasam.cli.progress import progress_bar
from ultrasam.errors import EvaluationError, UltraSamError
from ultrasam.extras import needs

if TYPE_CHECKING:
    from ultrasam.evaluation.report.results import Results
    from ultrasam.evaluation.runner import Settings
    from ultrasam.evaluation.sources import Collection
    from ultrasam.evaluation.suite import Suite

logger = logging.getLogger(__name__)


def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="Names or paths of models; ellipse, filled-box, grabcut, disc, random-walker; "
            "random:vit-b; transformers:REPO; or one suite, such as evaluation/paper.yaml.",
        ),
    ],
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="A store, a folder of data sets, your own folder, or a COCO file; repeat.",
        ),
    ] = None,
    prompts: Annotated[
        str,
        typer.Option(
            metavar="KIND,...",
            help="box, box5 to box20 (moved corners), point, random, offcenter, human; points3, … with "
            "corrective clicks.",
        ),
    ] = "box,box10,point,points3",
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for results and report.")
    ] = Path("evaluation"),
    split: Annotated[
        str | None, typer.Option(help="Of a store: train, val, test or all; test where it has one.")
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this data set; repeat.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Most images of a data set, spread evenly over it.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of all random prompts.")] = 0,
    tolerance_mm: Annotated[
        float, typer.Option(min=0, help="Of the surface Dice, where the spacing is known.")
    ] = 1.0,
    tolerance_px: Annotated[float, typer.Option(min=0, help="The same where it isn't.")] = 2.0,
    title: Annotated[str, typer.Option(help="The report's heading.")] = "Evaluation",
    cases: Annotated[
        bool,
        typer.Option(
            help="Draw the worst cases into the HTML page; not where the images may not be passed on."
        ),
    ] = True,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, …; the GPU if there is one.")
    ] = None,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Compare two results, DIR/MODEL.jsonl, of earlier evaluations; run nothing.",
        ),
    ] = False,
) -> None:
    """Measure models side by side on the same prompts.

    Writes a line of JSON per image, report.md and report.html to DIR. The same command goes on with what was
    cut off, and does again only the report where nothing was.
    """
    with needs("Evaluation", extra="evaluate"):
        import markdown_it  # noqa: F401
        import polars  # noqa: F401
        import pyarrow  # noqa: F401
        import pydantic  # noqa: F401
    if compare:
        _compare(models)
        return
    if not data:
        raise EvaluationError(
            "Say with --data what to evaluate on: a store, a folder or a COCO file."
        )

    from ultrasam.evaluation.protocol import PromptKind
    from ultrasam.evaluation.report.report import Report, write_report
    from ultrasam.evaluation.runner import Settings
    from ultrasam.evaluation.sources import open_collections
    from ultrasam.evaluation.suite import load_suite, suite_of
    from ultrasam.training.shipped import find_recipe

    kinds = [kind.strip() for kind in prompts.split(",") if kind.strip()]
    for kind in kinds or [""]:
        PromptKind.parse(kind)
    is_suite = len(models) == 1 and models[0].endswith((".yaml", ".yml"))
    suite = load_suite(find_recipe(models[0])) if is_suite else suite_of(models, kinds)
    settings = Settings(
        suite.prompts, seed=seed, tolerance_mm=tolerance_mm, tolerance_px=tolerance_px
    )
    collections = open_collections(data, split=split, only=dataset or (), limit=limit)
    found, missing = _run(suite, collections, settings, out, device, strict=not is_suite)
    if not found:
        raise EvaluationError(f"Nothing could be evaluated: {' '.join(missing)}")
    command = shlex.join(["ultrasam", *sys.argv[1:]])
    heading = suite.title if is_suite else title
    report = Report(heading, command, tuple(found), tuple(missing))
    for path in write_report(report, out, collections, cases=cases):
        print(path)
    failed = sum(len(results.errors) for results in found)
    if failed:
        logger.error("%d images could not be read or segmented; the report names them.", failed)


def _run(
    suite: Suite,
    collections: list[Collection],
    settings: Settings,
    out: Path,
    device: str | None,
    *,
    strict: bool,
) -> tuple[list[Results], list[str]]:
    """All entries; what can't be had raises where ``strict``, else is told."""
    from ultrasam.datasets.catalogue import dataset as described
    from ultrasam.evaluation.models.registry import check_competitor, open_competitor
    from ultrasam.evaluation.report.results import read_results
    from ultrasam.evaluation.runner import results_file, run
    from ultrasam.evaluation.sources import limited

    found, missing = [], []
    # A bad name stops the run before the first model has run for an hour; weights are loaded one at a time.
    for entry in suite.entries if strict else ():
        check_competitor(entry.model)
    for entry in suite.entries:
        wanted = {described(name).info.id for name in entry.datasets}
        chosen = [limited(c, entry.limit) for c in collections if not wanted or c.name in wanted]
        absent = sorted(wanted - {c.name for c in chosen})
        if absent:
            missing.append(f"{entry.title}: the data hold no {', '.join(absent)}.")
        if not chosen:
            continue
        file = results_file(out, entry.title)
        try:
            with progress_bar(entry.title) as on_progress:
                run(
                    open_competitor(entry.model, device=device),
                    chosen,
                    file,
                    settings=settings,
                    on_progress=on_progress,
                )
        except UltraSamError as error:
            if strict:
                raise
            missing.append(f"{entry.title}: {error}")
            continue
        found.append(read_results(file, name=entry.title))
    for text in missing:
        logger.warning("missing: %s", text)
    return found, missing


def _compare(files: list[str]) -> None:
    from ultrasam.evaluation.report.results import read_results
    from ultrasam.evaluation.report.tables import of_differences

    if len(files) != 2:
        raise EvaluationError("--compare takes two files of results, DIR/MODEL.jsonl.")
    results = [read_results(Path(file)) for file in files]
    seeds = {results[i].settings["seed"] for i in (0, 1)}
    if len(seeds) > 1:
        raise EvaluationError(
            f"{files[0]} and {files[1]} are of different seeds, so of other prompts."
        )
    for measure in ("dice", "nsd"):
        table = of_differences(results, measure)
        if table is None:
            raise EvaluationError(
                f"{files[0]} and {files[1]} have no object and kind of prompt in common."
            )
        print(table.markdown())
