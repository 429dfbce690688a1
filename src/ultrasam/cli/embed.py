"""`ultrasam embed`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ultrasam.cli import checks
from ultrasam.cli.options import (
    Address,
    Device,
    EngineOption,
    Frame,
    Inputs,
    Model,
    ModelWorkers,
    Overwrite,
    PrecisionOption,
    Prompts,
    Resume,
    ShardShare,
    ShardSize,
    out_option,
)  # fmt: skip
from ultrasam.cli.progress import progress_bar
from ultrasam.cli.prompts import assign_and_report, read_and_report
from ultrasam.cli.sharded import Sharding, run_sharded
from ultrasam.errors import UltraSamError
from ultrasam.extras import require
from ultrasam.text import counted

if TYPE_CHECKING:
    from ultrasam.downstream.embed import EmbedResult

logger = logging.getLogger(__name__)


def embed(
    inputs: Inputs,
    out: Annotated[
        Path | None,
        out_option(
            "A Parquet file; with --workers, a folder.",
            metavar="FILE",
            default="runs/embed/INPUT.parquet",
        ),
    ] = None,
    overwrite: Overwrite = False,
    prompts: Prompts = None,
    model: Model = "nano",
    size: Annotated[
        int | None,
        typer.Option(
            min=16,
            max=4096,
            metavar="PIXELS",
            show_default="the model's",
            help="Side of the square that images are scaled to.",
        ),
    ] = None,
    frame: Frame = None,
    device: Device = None,
    precision: PrecisionOption = None,
    workers: ModelWorkers = None,
    engine: EngineOption = None,
    address: Address = None,
    shard_size: ShardSize = None,
    shards: ShardShare = None,
    resume: Resume = False,
) -> None:
    """Write features of images, or of regions, to a Parquet file.

    Columns: path; prompt, the number of the prompt, or null without --prompts; features, the mean of the
    encoder's last patches, over the image or over the mask of the prompt; and frame.

    With --workers, --out is a folder. Files, which may also lie in ZIP and TAR archives, are cut into shards;
    each becomes a Parquet table.
    """  # fmt: skip
    from ultrasam.inference.inputs import find_inputs

    require("Writing features", "polars", extra="downstream")
    checks.check_models([model])
    checks.check_device(device)
    file = None if prompts is None else read_and_report(prompts)
    how = Sharding(workers, engine, address, shard_size, shards, resume)
    if how.wanted:
        out = checks.output(out, "embed", inputs[0])
        how.check(out)
        settings = {
            "task": "features", "model": model, "inputs": tuple(inputs), "frames": frame,
            "device": device, "precision": precision and precision.value, "size": size,
        }  # fmt: skip
        run_sharded(how, out, settings, file, overwrite=overwrite)
        return
    paths = find_inputs(inputs)
    checks.check_inputs(paths)
    wanted = None if file is None else assign_and_report(file, paths)
    out = checks.output(out, "embed", inputs[0], suffix=".parquet")
    checks.check_suffix(out, ".parquet")
    checks.check_new(out, overwrite=overwrite)

    from ultrasam.downstream.embed import embed_files, write_features
    from ultrasam.downstream.features import Embedder
    from ultrasam.weights.load import load_model

    embedder = Embedder(load_model(model, device=device, precision=precision), size=size)
    results: list[EmbedResult] = []
    complete = False
    try:
        with progress_bar("embedding") as on_progress:
            for result in embed_files(embedder, paths, wanted, frames=frame):
                results.append(result)
                for note in result.notes:
                    logger.warning("%s", note)
                for error in result.errors:
                    logger.error("%s", error)
                on_progress(len({result.path for result in results}), len(paths))
        complete = True
    finally:
        written = any(result.vectors for result in results)
        if written:
            write_features(results, out, model=model)
            if not complete:
                done = len({result.path for result in results})
                logger.warning("%s has only %d of %d files.", out, done, len(paths))
    if not written:
        raise UltraSamError("No input could be embedded; nothing was written.")
    print(out)
    failed = {result.path for result in results if result.errors and not result.vectors}
    if failed:
        logger.error("%d of %s failed.", len(failed), counted(len(paths), "file"))
    if any(result.errors for result in results) or (file is not None and file.refused):
        raise typer.Exit(1)
