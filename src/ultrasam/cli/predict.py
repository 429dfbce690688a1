"""`ultrasam predict`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ultrasam._version import __version__
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
from ultrasam.cli.progress import progress_bar
from ultrasam.errors import PromptError, UltraSamError

if TYPE_CHECKING:
    from ultrasam.inference.batch import FileResult
    from ultrasam.inference.segmenter import Segmenter
    from ultrasam.prompts import Prompt

logger = logging.getLogger(__name__)

_CLASSIFIER, _INSTANCES = "classifier", "instances"
_MIN_SCORE = 0.5
# What predict writes to a folder, so that --overwrite removes nothing else.
_WRITTEN = ("*_mask_*.png", "*_overlay.png", "*_labels.png", "predictions.json", "classes.csv")


def predict(
    inputs: Inputs,
    box: Annotated[
        list[str] | None,
        typer.Option(
            metavar="x0,y0,x1,y1",
            help="A box around an object, in pixels (repeatable: one object each).",
        ),
    ] = None,
    point: Annotated[
        list[str] | None,
        typer.Option(
            metavar="x,y[,0|1]",
            help="A click on the object (1, the default) or beside it (0) (repeatable: all clicks mean one "
            "object).",
        ),
    ] = None,
    prompts: Prompts = None,
    model: Model = "nano",
    min_score: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            metavar="SCORE",
            show_default=str(_MIN_SCORE),
            help="Minimum score of an object; instance segmenters only.",
        ),
    ] = None,
    frame: Frame = 0,
    out: Annotated[
        Path | None, out_option("Folder for the results.", default="runs/predict/INPUT")
    ] = None,
    overwrite: Overwrite = False,
    refine: Annotated[
        bool,
        typer.Option("--refine", help="Decode twice, the mask fed back (the paper's refinement)."),
    ] = False,
    no_tta: Annotated[
        bool,
        typer.Option(
            "--no-tta",
            help="Disable test-time augmentation (zoomed and flipped views; used by nano only). About 4 "
            "times faster.",
        ),
    ] = False,
    device: Device = None,
    precision: PrecisionOption = None,
) -> None:
    """Segment what boxes and clicks point at.

    Writes a PNG for each mask, an overlay picture for each input, and one COCO results file,
    predictions.json. Coordinates are pixels from the top-left corner of the image.

    The folder of a model that ultrasam finetune trained also works: a classifier writes classes.csv, a region
    classifier adds the class of each object, and an instance segmenter needs no prompts.
    """  # fmt: skip
    from ultrasam.inference.batch import find_inputs, predict_files, read_prompts
    from ultrasam.weights.spec import ModelSpec
    from ultrasam.weights.tasks import detect_task

    spec = ModelSpec.parse(model)
    task = detect_task(spec.path) if spec.kind == "path" else None
    given = {
        "--box": box, "--point": point, "--prompts": prompts, "--min-score": min_score,
        "--refine": refine, "--no-tta": no_tta, "--precision": precision,
    }  # fmt: skip
    _refuse(task, {name for name, value in given.items() if value not in (None, False)}, model)
    if task is not None and spec.has_options:
        raise PromptError(f"{spec.path} is fine-tuned for a task; it takes no +options.")
    if precision is not None and spec.precision is not None:
        raise PromptError(f"{model} names a precision already; leave --precision out.")
    checks.check_device(device)
    wanted: dict[str, list[Prompt]] = {}
    if task not in (_CLASSIFIER, _INSTANCES):
        if prompts is not None and (box or point):
            raise PromptError("Give --prompts, or --box and --point, not both.")
        wanted = read_prompts(prompts) if prompts else {"*": _prompts(box or [], point or [])}
    paths = find_inputs(inputs)
    checks.check_inputs(paths)
    out = _empty(checks.output(out, "predict", inputs[0]), overwrite=overwrite)

    from ultrasam.inference.predictor import Predictor
    from ultrasam.weights.load import load

    if task == _CLASSIFIER:
        _classify(model, paths, out, frame=frame, device=device)
        return
    if task == _INSTANCES:
        from ultrasam.downstream.instances.predict import find_files

        files = find_files(
            load(model, device=device), paths, out, frame=frame,
            score=_MIN_SCORE if min_score is None else min_score, provenance=_provenance(model),
        )  # fmt: skip
        _write(files, len(paths), out)
        return
    segmenter: Segmenter
    if task is not None:
        segmenter = load(spec, device=device)
    else:
        segmenter = Predictor(
            model, refine=refine or spec.refine, tta=spec.tta and not no_tta, device=device,
            precision=precision,
        )  # fmt: skip
    files = predict_files(segmenter, paths, wanted, out, frame=frame, provenance=_provenance(model))
    _write(files, len(paths), out)


def _refuse(task: str | None, given: set[str], model: str) -> None:
    """Refuse options that a model of this task has no use for.

    Raises:
        PromptError: One is given.
    """
    promptable = {"--refine", "--no-tta", "--precision"}
    prompts = {"--box", "--point", "--prompts"}
    what, refused = {
        None: ("a promptable model", {"--min-score"}),
        _CLASSIFIER: ("an image classifier", promptable | prompts | {"--min-score"}),
        _INSTANCES: ("an instance segmenter", promptable | prompts),
    }.get(task, ("a region classifier", promptable | {"--min-score"}))
    useless = sorted(given & refused)
    if useless:
        raise PromptError(f"{model} is {what}; it has no use for {' and '.join(useless)}.")


def _empty(out: Path, *, overwrite: bool) -> Path:
    """The output folder, without the results of an earlier run.

    Raises:
        UltraSamError: There are some, and they are not to be replaced.
    """
    earlier = [path for pattern in _WRITTEN for path in out.glob(pattern)]
    if earlier and not overwrite:
        raise UltraSamError(
            f"{out} holds the results of an earlier run; choose another -o, or replace them with --overwrite."
        )
    for path in earlier:
        path.unlink()
    return out


def _provenance(model: str) -> dict[str, str]:
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return {"model": model, "ultrasam": __version__, "created": created}


def _write(files: Iterator[FileResult], count: int, out: Path) -> None:
    """Segment the files, report each, and write predictions.json even if interrupted."""
    from ultrasam.inference.batch import write_results

    results = []
    try:
        with progress_bar("segmenting") as on_progress:
            for result in files:
                results.append(result)
                if result.error:
                    logger.error("%s", result.error)
                on_progress(len(results), count)
    finally:
        if any(not result.error for result in results):
            index = write_results(results, out)
    done = [result for result in results if not result.error]
    for result in done:
        print(result.overlay)
    if done:
        print(index)
    if len(done) < len(results):
        failed = len(results) - len(done)
        logger.error("%d of %d files failed.", failed, len(results))
        raise typer.Exit(1)


def _classify(model: str, paths: list[Path], out: Path, *, frame: int, device: str | None) -> None:
    import csv

    from ultrasam.downstream.classification.model import load_classifier
    from ultrasam.images.pixels import gray
    from ultrasam.images.reading import read_scan

    classifier = load_classifier(model, device)
    out.mkdir(parents=True, exist_ok=True)
    failed = 0
    with (out / "classes.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["path", "class", *classifier.head.classes])
        for path in paths:
            try:
                found = classifier.predict([gray(read_scan(path).frame(frame))])[0]
            except UltraSamError as error:
                failed += 1
                logger.error("%s", error)
                continue
            label = classifier.head.classes[int(found.argmax())]
            table.writerow([path, label, *(f"{p:.4f}" for p in found.tolist())])
            print(f"{path}: {label} ({float(found.max()):.2f})")
    print(out / "classes.csv")
    if failed:
        raise typer.Exit(1)


def _prompts(boxes: list[str], points: list[str]) -> list[Prompt]:
    """The prompts that --box and --point mean."""
    from ultrasam.prompts import Prompt

    corners = [_numbers(text, "--box", (4,)) for text in boxes]
    clicks = [_numbers(text, "--point", (2, 3)) for text in points]
    labels = [int(click[2]) if len(click) == 3 else 1 for click in clicks]
    for text, click in zip(points, clicks, strict=True):
        if len(click) == 3 and click[2] not in (0, 1):
            raise PromptError(
                f"--point {text}: the third number is 1 (on the object) or 0 (beside it)."
            )
    if not boxes and not points:
        raise PromptError(
            "No prompt is given; add --box x0,y0,x1,y1, --point x,y or --prompts FILE."
        )
    if len(boxes) > 1 and points:
        raise PromptError("Clicks with several boxes are ambiguous; use --prompts FILE.")
    xy = [click[:2] for click in clicks]
    if not boxes:
        return [Prompt(points=xy, labels=labels)]
    if points:
        return [Prompt(box=corners[0], points=xy, labels=labels)]
    return [Prompt(box=corner) for corner in corners]


def _numbers(text: str, option: str, counts: tuple[int, ...]) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in counts:
        form = "x0,y0,x1,y1" if option == "--box" else "x,y or x,y,1 or x,y,0"
        raise PromptError(f"{option} {text}: give {form} (numbers and commas, no spaces).")
    return numbers
