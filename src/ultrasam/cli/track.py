"""`ultrasam track`."""

from __future__ import annotations

import logging
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ultrasam.cli import checks
from ultrasam.cli.options import (
    Boxes,
    Device,
    MaskFormats,
    Model,
    NoTta,
    Overwrite,
    Points,
    PrecisionOption,
    Prompts,
    Resume,
    frame_option,
    out_option,
)
from ultrasam.cli.outputs import check_formats, earlier_results, remove
from ultrasam.cli.progress import progress_bar
from ultrasam.cli.prompts import assign_and_report, given_prompts, read_and_report
from ultrasam.errors import InterruptedRunError, PromptError, UltraSamError

if TYPE_CHECKING:
    from ultrasam.inference.prompts_file import PromptEntry

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
        Path, typer.Argument(metavar="CINE", help="A cine or a volume.", show_default=False)
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
        Video, typer.Option(help="Format of the overlay video: mp4 for players, webm for browsers.")
    ] = Video.mp4,
    formats: MaskFormats = None,
    out: Annotated[
        Path | None, out_option("Folder for the results.", default="runs/track/CINE")
    ] = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
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
    checks.check_inputs([cine])
    if prompts is not None:
        file = read_and_report(prompts, of_tracks=True)
        if file.refused:
            raise PromptError("Correct the prompts file first: every mask depends on its prompts.")
    else:
        file = given_prompts(box or [], point or [])
    assigned = assign_and_report(file, [cine])
    by_frame = _by_frame(assigned.entries[cine], frame or 0)
    names = _names(assigned.entries[cine])
    chosen = [MaskFormat(one) for one in formats or (MaskFormat.png, MaskFormat.coco)]
    check_formats(chosen)
    out = checks.output(out, "track", str(cine))
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
        how = "--resume continues it" if snapshot.exists() else "nothing is written yet"
        raise InterruptedRunError(f"Interrupted; {how}.") from error
    remove(earlier)
    with progress_bar("writing") as on_progress:
        files = write_track(
            result, out, stem_of(cine), video=None if video is Video.none else f".{video.value}",
            provenance=provenance_of(model, network), formats=chosen, on_progress=on_progress,
        )  # fmt: skip
    for note in (*result.notes, *files.notes):
        logger.warning("%s", note)
    for path in (files.video, files.sheet, *files.others, files.table):
        if path is not None:
            print(path)


def _by_frame(entries: list[PromptEntry], default: int) -> dict[int, list[Any]]:
    """The prompts of each frame, as `ultrasam.track` takes them.

    Entries without an object are numbered in their order in a frame.

    Raises:
        PromptError: Two are for one object in one frame, or some name their object and others do not.
    """
    from ultrasam.inference.tracking.keys import GONE

    named = [entry.object is not None for entry in entries]
    if any(named) and not all(named):
        raise PromptError("Give all prompts an object, or none.")
    by_frame: dict[int, dict[int, Any]] = {}
    for entry in entries:
        frame = default if entry.frame is None else entry.frame
        of_frame = by_frame.setdefault(frame, {})
        number = len(of_frame) if entry.object is None else entry.object
        if number in of_frame:
            raise PromptError(f"Frame {frame} has two prompts for object {number}; give one.")
        of_frame[number] = GONE if entry.gone else entry.prompt
    count = 1 + max(number for of_frame in by_frame.values() for number in of_frame)
    return {
        frame: [of_frame.get(number) for number in range(count)]
        for frame, of_frame in sorted(by_frame.items())
    }


def _names(entries: list[PromptEntry]) -> tuple[str, ...] | None:
    """The categories of the objects as their names, if each has one."""
    found: dict[int, str] = {}
    seen: dict[int | None, int] = {}
    for entry in entries:
        number = seen.get(entry.frame, 0) if entry.object is None else entry.object
        seen[entry.frame] = seen.get(entry.frame, 0) + 1
        if entry.category is not None:
            found.setdefault(number, entry.category)
    count = 1 + max((e.object for e in entries if e.object is not None), default=-1)
    count = max(count, *seen.values()) if all(e.object is None for e in entries) else count
    return tuple(found[n] for n in range(count)) if len(found) == count else None
