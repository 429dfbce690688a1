"""`ultrasam embed`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import typer

from ultrasam.errors import UltraSamError
from ultrasam.extras import needs

logger = logging.getLogger(__name__)


def embed(
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT...", help="Images, folders or globs.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="A Parquet file.")
    ] = Path("features.parquet"),
    prompts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Prompts as JSON, as for predict: one row per prompt, for the region it segments.",
        ),
    ] = None,
    model: Annotated[str, typer.Option(help="As for predict.")] = "nano",
    size: Annotated[
        int | None,
        typer.Option(help="Side of the canvas in pixels; the model's own where not given."),
    ] = None,
    frame: Annotated[int, typer.Option(help="Frame of a cine or slice of a volume, from 0.")] = 0,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, …; the GPU if there is one.")
    ] = None,
) -> None:
    """Write features of images, or of regions, to a Parquet file.

    Its columns: path; prompt, its number, or null; features, the mean of the encoder's last patches.
    """
    with needs("Writing features", extra="downstream"):
        import polars as pl
    from ultrasam.downstream.features import Embedder
    from ultrasam.files import atomic_file
    from ultrasam.images.reading import read_scan
    from ultrasam.inference.batch import find_inputs, prompts_for, read_prompts
    from ultrasam.weights.load import load_model

    paths = find_inputs(inputs)
    wanted = read_prompts(prompts) if prompts else None
    embedder = Embedder(load_model(model, device=device), size=size)
    rows: list[tuple[str, int | None, list[float]]] = []
    failed = 0
    for start in range(0, len(paths), embedder.batch):
        frames = []
        for path in paths[start : start + embedder.batch]:
            try:
                pixels = read_scan(path).frame(frame)
                if wanted is None:
                    frames.append((path, pixels))
                    continue
                found = embedder.regions(pixels, prompts_for(path, wanted))
                rows += [
                    (str(path), number, vector.tolist()) for number, vector in enumerate(found)
                ]
            except UltraSamError as error:
                failed += 1
                logger.error("%s", error)
        vectors = embedder.images([pixels for _, pixels in frames])
        rows += [
            (str(path), None, vector.tolist())
            for (path, _), vector in zip(frames, vectors, strict=True)
        ]
    if not rows:
        raise UltraSamError("No input could be embedded; nothing was written.")
    schema: dict[str, Any] = {
        "path": pl.String,
        "prompt": pl.Int64,
        "features": pl.List(pl.Float32),
    }
    table = pl.DataFrame(rows, schema=schema, orient="row")
    with atomic_file(out) as file:
        table.write_parquet(file, metadata={"model": model})
    print(out)
    if failed:
        raise typer.Exit(1)
