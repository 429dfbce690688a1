"""`ultrasam embed`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import typer

from ultrasam.cli import checks
from ultrasam.cli.options import (
    Device,
    Frame,
    Inputs,
    Model,
    Overwrite,
    PrecisionOption,
    Prompts,
    out_option,
)  # fmt: skip
from ultrasam.errors import UltraSamError
from ultrasam.extras import require

logger = logging.getLogger(__name__)


def embed(
    inputs: Inputs,
    out: Annotated[
        Path | None,
        out_option("A Parquet file.", metavar="FILE", default="runs/embed/INPUT.parquet"),
    ] = None,
    overwrite: Overwrite = False,
    prompts: Prompts = None,
    model: Model = "nano",
    size: Annotated[
        int | None,
        typer.Option(
            min=16,
            metavar="PIXELS",
            show_default="the model's",
            help="Side of the square that images are scaled to.",
        ),
    ] = None,
    frame: Frame = 0,
    device: Device = None,
    precision: PrecisionOption = None,
) -> None:
    """Write features of images, or of regions, to a Parquet file.

    Columns: path; prompt, the number of the prompt, or null without --prompts; features, the mean of the
    encoder's last patches, over the image or over the mask of the prompt.
    """  # fmt: skip
    from ultrasam.inference.batch import find_inputs, prompts_for, read_prompts

    require("Writing features", "polars", extra="downstream")
    checks.check_models([model])
    checks.check_device(device)
    wanted = read_prompts(prompts) if prompts else None
    paths = find_inputs(inputs)
    checks.check_inputs(paths)
    out = checks.output(out, "embed", inputs[0], suffix=".parquet")
    checks.check_new(out, overwrite=overwrite)

    import polars as pl

    from ultrasam.downstream.features import Embedder
    from ultrasam.files import atomic_file
    from ultrasam.images.reading import read_scan
    from ultrasam.weights.load import load_model

    embedder = Embedder(load_model(model, device=device, precision=precision), size=size)
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
