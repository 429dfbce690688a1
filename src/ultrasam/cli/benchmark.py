"""`ultrasam benchmark`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from ultrasam.cli import checks
from ultrasam.cli.options import DataForDice, Json, Limit
from ultrasam.cli.progress import progress_bar
from ultrasam.extras import require
from ultrasam.text import counted

if TYPE_CHECKING:
    from ultrasam.benchmark.run import Benchmark, Row
    from ultrasam.benchmark.timing import Timing


def benchmark(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A promptable model: a name ('ultrasam models' lists them), a checkpoint, or an exported "
            "folder.",
        ),
    ] = "nano",
    data: DataForDice = None,
    limit: Limit = None,
    runs: Annotated[
        int, typer.Option(min=1, metavar="NUMBER", help="How often each call is timed.")
    ] = 7,
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Also in int8; quantizes the model once, which takes minutes."),
    ] = False,
    busy: Annotated[
        bool,
        typer.Option("--busy", help="Also while another process keeps a core of the machine busy."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure a model on this machine, in each runtime and precision that can run it.

    Prints medians of the encoder, the decoder, a click and an image with its first click, on the clock and of
    the processor's time; the memory that an image adds; and how near the encoder comes to the processor's
    rate of matrix products. Runtimes that are not installed are named. A model that has no graphs for other
    runtimes yet is exported once, into the cache.
    """  # fmt: skip
    if data:
        require("Dice", "polars", "pyarrow", "pydantic", extra="evaluate")
        checks.check_paths(data)
    checks.check_models([model])
    from ultrasam.benchmark.run import run_benchmark
    from ultrasam.weights.spec import ModelSpec

    spec = ModelSpec.parse(model)
    with progress_bar("measuring") as on_progress:
        found = run_benchmark(
            spec,
            runs=runs,
            int8=int8,
            busy=busy,
            data=data or (),
            limit=limit,
            on_progress=on_progress,
        )
    print(json.dumps(found.to_dict(), indent=1) if as_json else _text(found))


def _text(found: Benchmark) -> str:
    """The table in Markdown."""
    from ultrasam.reporting.tables import Table

    kinds = list(dict.fromkeys(kind for row in found.rows for kind in row.dice))
    head = (
        "runtime", "precision", "encoder", "decoder, a click", "click to mask", "image and click",
        "in all views", "encoder, busy", "click, busy", "memory", "of matrix rate",
        *(f"Dice, {kind}" for kind in kinds),
    )  # fmt: skip
    rates = ", ".join(f"{rate:.0f} GFLOP/s a core in {name}" for name, rate in found.rates.items())
    versions = ", ".join(f"{name} {number}" for name, number in found.versions.items())
    threads = counted(found.threads, "thread")
    note = (
        f"On {found.processor}, {threads}; {versions}. Medians of {found.runs} runs in turn "
        f"({3 * found.runs} of decoder and click), on the clock and, in brackets, of the processor's time. "
        f"The encoder takes {found.operations:.1f} GFLOP; matrix products run at {rates}."
    )
    rows = tuple((row.runtime, row.precision, *_cells(row, kinds)) for row in found.rows)
    title = f"{found.model}, {found.image_size} px"
    table = Table(title, head, rows, note).without_empty_columns().markdown(level=2)
    return "\n".join([table, *(f"- Left out: {reason}" for reason in found.left_out)]).rstrip()


def _cells(row: Row, kinds: list[str]) -> tuple[str, ...]:
    from ultrasam.reporting.tables import NONE

    steps = (
        row.encoder,
        row.decoder,
        row.click,
        row.image,
        row.all_views,
        row.busy_encoder,
        row.busy_click,
    )
    return (
        *(NONE if timing is None else _time(timing) for timing in steps),
        NONE if row.memory is None else f"{row.memory:.0f} MiB",
        NONE if row.share is None else f"{100 * row.share:.0f} %",
        *(f"{row.dice[kind]:.4f}" if kind in row.dice else NONE for kind in kinds),
    )


def _time(timing: Timing) -> str:
    if timing.wall >= 1:
        return f"{timing.wall:.2f} s ({timing.cpu:.2f})"
    return f"{1000 * timing.wall:.0f} ms ({1000 * timing.cpu:.0f})"
