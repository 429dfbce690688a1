"""`ultrasam track`."""

from __future__ import annotations

import logging
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ultrasam.cli import checks
from ultrasam.cli.options import (
    Address,
    Boxes,
    Device,
    EngineOption,
    MaskFormats,
    Model,
    ModelWorkers,
    NoTta,
    Overwrite,
    Points,
    PrecisionOption,
    Prompts,
    Resume,
    ShardShare,
    ShardSize,
    frame_option,
    out_option,
)
from ultrasam.cli.outputs import check_formats, earlier_results, remove
from ultrasam.cli.progress import progress_bar
from ultrasam.cli.prompts import assign_and_report, given_prompts, read_and_report
from ultrasam.cli.sharded import Sharding, holds_run, refuse_with_shards, run_sharded
from ultrasam.errors import InterruptedRunError, PromptError, UltraSamError

logger = logging.getLogger(__name__)

_WRITTEN = (
    "*_frame_*_mask_*.png", "*_overlay.mp4", "*_overlay.webm", "*_overlay.gif", "*_contact.png",
    "predictions.json",
)  # fmt: skip
_PROGRESS = "progress.npz"


class Video(StrEnum):
    """Formats of the overlay video."""

    mp4 = "mp4"
    webm = "webm"
    gif = "gif"
    none = "none"


class Correct(StrEnum):
    """Where the network corrects what the flow carried."""

    off = "off"
    doubtful = "doubtful"
    all = "all"


def track(
    cine: Annotated[
        Path,
        typer.Argument(
            metavar="CINE",
            help="A cine or a volume; with --workers, also a folder, glob or archive of them.",
            show_default=False,
        ),
    ],
    box: Boxes = None,
    point: Points = None,
    prompts: Prompts = None,
    frame: Annotated[Any, frame_option("0")] = None,
    model: Model = "nano",
    correct: Annotated[
        Correct,
        typer.Option(
            help="Where the network corrects what the flow carried: nowhere, where it is doubtful, or in "
            "all frames (slow)."
        ),
    ] = Correct.off,
    axis: Annotated[
        int,
        typer.Option(
            min=0,
            max=2,
            metavar="NUMBER",
            help="Axis of a volume: 0, its slices as stored; 1, along their rows; 2, along their columns. "
            "Prompts are in slices along it.",
        ),
    ] = 0,
    video: Annotated[
        Video | None,
        typer.Option(
            show_default="mp4",
            help="Format of the overlay video: mp4 for players, webm for browsers.",
        ),
    ] = None,
    formats: MaskFormats = None,
    out: Annotated[
        Path | None, out_option("Folder for the results.", default="runs/track/CINE")
    ] = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    workers: ModelWorkers = None,
    engine: EngineOption = None,
    address: Address = None,
    shard_size: ShardSize = None,
    shards: ShardShare = None,
    no_tta: NoTta = False,
    device: Device = None,
    precision: PrecisionOption = None,
) -> None:
    """Follow objects through a cine or volume.

    Boxes and clicks point at objects in one frame, --frame. A prompts file can name several frames, as in
    {"frame": 12, "object": 0, "box": …}, and where an object is gone, as in {"frame": 40, "gone": true}.
    Masks are carried in both directions; between two frames with prompts, both are blended.

    Writes a PNG for each mask and predictions.json (COCO, with where each mask came from and how sure it is),
    or other formats, and an overlay video and a contact sheet. Where an object is lost, its masks end, and
    the reason is told.

    With --workers, the cines of a folder are followed, in shards as in `predict`; the tables have a row for
    each mask. There are no videos and contact sheets then.
    """  # fmt: skip
    from ultrasam.images.writing.formats import PATTERNS, MaskFormat
    from ultrasam.weights.spec import ModelSpec
    from ultrasam.weights.tasks import detect_task

    spec = ModelSpec.parse(model)
    if spec.kind == "path" and detect_task(spec.path) is not None:
        raise PromptError(f"{model} is fine-tuned for a task; track takes a promptable model.")
    if precision is not None and spec.precision is not None:
        raise PromptError(f"{model} names a precision already; leave --precision out.")
    checks.check_device(device)
    if prompts is not None and (box or point or frame is not None):
        raise PromptError("Give --prompts, or --box, --point and --frame, not both.")
    if frame == "all":
        raise PromptError(
            "--frame all has no meaning here: give the frame that the prompts are for."
        )
    out = checks.output(out, "track", str(cine))
    how = Sharding(workers, engine, address, shard_size, shards)
    if resume and (how.wanted or holds_run(out)):
        how = replace(how, resume=True)
    how.check(out)
    if not how.wanted:
        checks.check_inputs([cine])
    if prompts is not None:
        file = read_and_report(prompts, of_tracks=True)
        if file.refused:
            raise PromptError("Correct the prompts file first: every mask depends on its prompts.")
    else:
        file = given_prompts(box or [], point or [])
    chosen = [MaskFormat(one) for one in formats or (MaskFormat.png, MaskFormat.coco)]
    check_formats(chosen)
    if how.wanted:
        refuse_with_shards({"--video": video})
        settings = {
            "task": "tracks", "model": model, "inputs": (str(cine),), "frames": frame or 0,
            "device": device, "formats": tuple(map(str, formats or ())), "axis": axis,
            "precision": precision and precision.value, "refine": spec.refine,
            "tta": spec.tta and not no_tta, "correct": correct.value,
        }  # fmt: skip
        run_sharded(how, out, settings, file, overwrite=overwrite, written=(*_WRITTEN, *PATTERNS))
        return
    from ultrasam.inference.tracking.entries import names_of, prompts_by_frame

    entries = assign_and_report(file, [cine]).entries[cine]
    by_frame, names = prompts_by_frame(entries, frame or 0), names_of(entries)
    snapshot = out / _PROGRESS
    if snapshot.exists() and not resume and not overwrite:
        raise UltraSamError(
            f"{out} holds an interrupted run; go on with --resume, or begin anew with --overwrite."
        )
    earlier = earlier_results(out, (*_WRITTEN, *PATTERNS), overwrite=overwrite)
    if not resume:
        remove([snapshot])

    from ultrasam.images.reading import read_scan
    from ultrasam.inference.inputs import stem_of
    from ultrasam.inference.predictor import Predictor
    from ultrasam.inference.provenance import provenance_of
    from ultrasam.inference.tracking.files import write_track
    from ultrasam.inference.tracking.track import track as follow

    scan = read_scan(cine)
    network = Predictor(
        model, refine=spec.refine, tta=spec.tta and not no_tta, device=device, precision=precision
    )
    try:
        with progress_bar("tracking") as on_progress:
            result = follow(
                scan, by_frame, model=network, correction=correct.value, axis=axis,
                names=names, snapshot=snapshot, on_progress=on_progress,
            )  # fmt: skip
    except KeyboardInterrupt as error:
        left = "--resume continues it" if snapshot.exists() else "nothing is written yet"
        raise InterruptedRunError(f"Interrupted; {left}.") from error
    remove(earlier)
    with progress_bar("writing") as on_progress:
        files = write_track(
            result, out, stem_of(cine),
            video=None if video is Video.none else f".{(video or Video.mp4).value}",
            provenance=provenance_of(model, network), formats=chosen, on_progress=on_progress,
        )  # fmt: skip
    for note in (*result.notes, *files.notes):
        logger.warning("%s", note)
    for path in (files.video, files.sheet, *files.others, files.table):
        if path is not None:
            print(path)
