"""`ultrasam predict`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ultrasam._version import __version__
from ultrasam.cli.progress import progress_bar
from ultrasam.errors import PromptError, UltraSamError
from ultrasam.prompts import Prompt

if TYPE_CHECKING:
    from ultrasam.inference.batch import FileResult
    from ultrasam.inference.segmenter import Segmenter

logger = logging.getLogger(__name__)


def predict(
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT...", help="Images, folders or globs.")
    ],
    box: Annotated[
        list[str] | None,
        typer.Option(
            metavar="x0,y0,x1,y1", help="A box around an object, in pixels; repeat for more."
        ),
    ] = None,
    point: Annotated[
        list[str] | None,
        typer.Option(
            metavar="x,y[,0|1]",
            help="A click on the object (1, the default) or beside it (0); all clicks mean one object.",
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="JSON: {image name: [{box: …}, {points: …, labels: …}]}."
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="A model's name ('ultrasam models' lists them) with options (nano+no-tta), a checkpoint's "
            "path, or a Hugging Face repository."
        ),
    ] = "nano",
    classify: Annotated[
        bool,
        typer.Option("--classify", help="Insist on classes: stop if --model does not tell any."),
    ] = False,
    score: Annotated[
        float,
        typer.Option(min=0, max=1, help="Least score of what an instance segmenter finds."),
    ] = 0.5,
    frame: Annotated[int, typer.Option(help="Frame of a cine or slice of a volume, from 0.")] = 0,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the results.")
    ] = Path("ultrasam-out"),
    refine: Annotated[
        bool,
        typer.Option("--refine", help="Decode twice, the mask fed back (the paper's refinement)."),
    ] = False,
    no_tta: Annotated[
        bool,
        typer.Option(
            "--no-tta",
            help="Disable test-time augmentation (zoomed and flipped views; nano only). About 4 times "
            "faster.",
        ),
    ] = False,
    once: Annotated[bool, typer.Option("--once", hidden=True)] = False,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, …; the GPU if there is one.")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="Of the image encoder: float32 (the default), bfloat16, or auto, which takes bfloat16 "
            "where the processor or GPU multiplies it in hardware."
        ),
    ] = None,
) -> None:
    """Segment what boxes and clicks point at.

    Writes, per input, each mask as PNG and an overlay picture, and one COCO results file for all,
    predictions.json. Coordinates are pixels of the image, from its top-left corner. With a classifier as
    --model (ultrasam finetune classify), classes.csv with each image's class and probabilities instead; with
    a prompted one (ultrasam finetune prompted), predictions.json says each object's class too; with an
    instance segmenter (ultrasam finetune segment), no prompts are needed, and a map of classes is written.
    """
    from ultrasam.downstream.task_folders import CLASSIFIER, INSTANCES, REGIONS
    from ultrasam.inference.batch import find_inputs, predict_files, read_prompts
    from ultrasam.inference.predictor import Predictor
    from ultrasam.weights.load import load
    from ultrasam.weights.spec import ModelSpec
    from ultrasam.weights.tasks import detect_task

    spec = ModelSpec.parse(model)
    task = detect_task(spec.path) if spec.kind == "path" else None
    if classify and task is None:
        raise PromptError(
            f"'{model}' tells no classes; give --model a folder that ultrasam finetune classify, prompted or "
            "segment has written."
        )
    if task in (CLASSIFIER, INSTANCES) and (prompts is not None or box or point):
        raise PromptError(f"{model} looks at whole images; it takes no prompts.")
    if task is not None and (refine or no_tta or once or precision or spec.has_options):
        raise PromptError(
            f"{model} is fine-tuned for a task; --refine, --no-tta, --precision and options after its name "
            "are for promptable models."
        )
    if task == CLASSIFIER:
        _classify(model, find_inputs(inputs), out, frame=frame, device=device)
        return
    if task == INSTANCES:
        from ultrasam.downstream.instances.predict import find_files

        paths, finder = find_inputs(inputs), load(model, device=device)
        found = find_files(
            finder, paths, out, frame=frame, score=score, provenance=_provenance(model)
        )
        _write(found, len(paths), out)
        return
    if prompts is not None and (box or point):
        raise PromptError("Give --prompts, or --box and --point, not both.")
    wanted = read_prompts(prompts) if prompts else {"*": _prompts(box or [], point or [])}
    paths = find_inputs(inputs)
    segmenter: Segmenter
    if task == REGIONS:
        segmenter = load(spec, device=device)
    else:
        segmenter = Predictor(
            model,
            refine=refine or spec.refine,
            tta=spec.tta and not (no_tta or once),
            device=device,
            precision=precision,
        )
    files = predict_files(segmenter, paths, wanted, out, frame=frame, provenance=_provenance(model))
    _write(files, len(paths), out)


def _provenance(model: str) -> dict[str, str]:
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return {"model": model, "ultrasam": __version__, "created": created}


def _write(files: Iterator[FileResult], count: int, out: Path) -> None:
    """See files through, tell of each, and write predictions.json, whatever happens."""
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
    """The objects that --box and --point mean."""
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
            "Say what to segment: give --box x0,y0,x1,y1, --point x,y or --prompts FILE."
        )
    if len(boxes) > 1 and points:
        raise PromptError("With several --box, clicks are ambiguous; use --prompts FILE.")
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
        raise PromptError(f"{option} {text}: give {form}, numbers with commas and no spaces.")
    return numbers
