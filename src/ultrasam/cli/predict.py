"""`ultrasam predict`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ultrasam.cli import checks
from ultrasam.cli.options import (
    Address,
    Boxes,
    Device,
    EngineOption,
    Frame,
    Inputs,
    MaskFormats,
    Masks,
    Model,
    ModelWorkers,
    NoTta,
    Overwrite,
    Points,
    PrecisionOption,
    Prompts,
    Resume,
    RuntimeOption,
    ShardShare,
    ShardSize,
    out_option,
)  # fmt: skip
from ultrasam.cli.outputs import check_formats, earlier_results, exports, remove
from ultrasam.cli.predict_reports import report_classes, report_files
from ultrasam.cli.prompts import (
    assign_and_report,
    given_prompts,
    masks_of_input,
    read_and_report,
    tell_without_candidates,
)
from ultrasam.cli.sharded import Sharding, refuse_with_shards, run_sharded
from ultrasam.errors import PromptError

if TYPE_CHECKING:
    from ultrasam.inference.coco_ids import CocoIds
    from ultrasam.inference.prompts_file import PromptsFile
    from ultrasam.inference.segmenter import Segmenter

logger = logging.getLogger(__name__)

_CLASSIFIER, _INSTANCES = "classifier", "instances"
_SHARDED = {_CLASSIFIER: "classes", _INSTANCES: "instances"}  # tasks of `ultrasam.cluster.job`
_MIN_SCORE = 0.5
# What predict writes to a folder, so that --overwrite removes nothing else.
_WRITTEN = (
    "*_mask_*.png", "*_candidates_*.png", "*_overlay.png", "*_labels.png", "predictions.json",
    "classes.csv",
)  # fmt: skip


def predict(
    inputs: Inputs,
    box: Boxes = None,
    point: Points = None,
    prompts: Prompts = None,
    masks: Masks = None,
    automatic: Annotated[
        bool,
        typer.Option(
            "--automatic",
            help="Segment all regions of the scanned sector, without prompts.",
        ),
    ] = False,
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
    frame: Frame = None,
    coco: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default="images are numbered from 1",
            help="A COCO file with the same images: predictions.json gets its image and category IDs.",
        ),
    ] = None,
    category: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The category of the COCO file that the prompts mean, if it has several.",
        ),
    ] = None,
    formats: MaskFormats = None,
    out: Annotated[
        Path | None, out_option("Folder for the results.", default="runs/predict/INPUT")
    ] = None,
    overwrite: Overwrite = False,
    candidates: Annotated[
        bool,
        typer.Option(
            "--candidates",
            help="For a single click, which may mean a part, the object or its surroundings, also write the "
            "three masks to choose from, smallest first.",
        ),
    ] = False,
    refine: Annotated[
        bool,
        typer.Option("--refine", help="Decode twice, the mask fed back (the paper's refinement)."),
    ] = False,
    no_tta: NoTta = False,
    device: Device = None,
    precision: PrecisionOption = None,
    runtime: RuntimeOption = None,
    workers: ModelWorkers = None,
    engine: EngineOption = None,
    address: Address = None,
    shard_size: ShardSize = None,
    shards: ShardShare = None,
    resume: Resume = False,
) -> None:
    """Segment what boxes and clicks point at.

    Writes a PNG for each mask, an overlay picture with the masks' numbers for each input, and one COCO
    results file, predictions.json; --format chooses others. Coordinates are pixels from the top-left
    corner of the image.

    The folder of a model that ultrasam finetune trained also works: a classifier writes classes.csv, a region
    classifier adds the class of each object, and an instance segmenter needs no prompts.

    With --workers, files may also lie in ZIP and TAR archives. They are cut into shards, each of which
    becomes a Parquet table with masks (RLE), scores, measurements and errors, and the formats of --format.
    """  # fmt: skip
    from ultrasam.images.writing.formats import PATTERNS, MaskFormat
    from ultrasam.inference.inputs import find_inputs
    from ultrasam.inference.prompts_file import AssignedPrompts
    from ultrasam.weights.spec import ModelSpec
    from ultrasam.weights.tasks import detect_task

    spec = ModelSpec.parse(model)
    task = detect_task(spec.path) if spec.kind == "path" else None
    given = {
        "--box": box, "--point": point, "--prompts": prompts, "--min-score": min_score,
        "--refine": refine, "--no-tta": no_tta, "--precision": precision, "--coco": coco,
        "--category": category, "--candidates": candidates, "--runtime": runtime, "--masks": masks,
        "--format": formats, "--automatic": automatic,
    }  # fmt: skip
    _refuse(task, {name for name, value in given.items() if value not in (None, False)}, model)
    if task is not None and spec.has_options:
        raise PromptError(f"{spec.path} is fine-tuned for a task; it takes no +options.")
    if precision is not None and spec.precision is not None:
        raise PromptError(f"{model} names a precision already; leave --precision out.")
    if category is not None and coco is None:
        raise PromptError("--category is a category of --coco FILE; give that, too.")
    checks.check_device(device)
    if prompts is not None and (box or point):
        raise PromptError("Give --prompts, or --box and --point, not both.")
    if automatic and (prompts or box or point or masks or candidates or refine or formats):
        raise PromptError(
            "--automatic takes no prompts and writes PNG and COCO; leave --box, --point, --prompts, --masks, "
            "--candidates, --refine and --format out."
        )
    file = None
    if prompts is not None:
        file = read_and_report(prompts)
    elif (
        task not in (_CLASSIFIER, _INSTANCES) and not automatic and (box or point or masks is None)
    ):
        file = given_prompts(box or [], point or [])
    how = Sharding(workers, engine, address, shard_size, shards, resume)
    out = checks.output(out, "predict", inputs[0])
    how.check(out)
    if how.wanted:
        refuse_with_shards(
            {"--coco": coco, "--category": category, "--candidates": candidates, "--masks": masks}
        )
        check_formats([MaskFormat(one) for one in formats or ()])
        settings = {
            "task": "automatic" if automatic else _SHARDED.get(task or "", "prompts"),
            "model": model, "inputs": tuple(inputs), "frames": frame, "device": device,
            "formats": tuple(map(str, formats or ())), "precision": precision and precision.value,
            "runtime": runtime and runtime.value, "refine": refine, "tta": spec.tta and not no_tta,
            "min_score": _MIN_SCORE if min_score is None else min_score,
        }  # fmt: skip
        written = (*_WRITTEN, *PATTERNS)
        run_sharded(how, out, settings, file, overwrite=overwrite, written=written)
        return
    paths = find_inputs(inputs)
    checks.check_inputs(paths)
    ids = _coco_ids(coco, category, paths, file if task is None else None)
    wanted = AssignedPrompts({}, {}) if file is None else assign_and_report(file, paths)
    known = masks_of_input(masks, paths, frame)
    frame = "all" if masks is not None and frame is None else frame
    chosen = [MaskFormat(one) for one in formats or (MaskFormat.png, MaskFormat.coco)]
    check_formats(chosen)
    earlier = earlier_results(out, (*_WRITTEN, *PATTERNS), overwrite=overwrite)

    from ultrasam.inference.batch import predict_files
    from ultrasam.inference.candidates import offers_candidates
    from ultrasam.inference.predictor import Predictor
    from ultrasam.inference.provenance import provenance_of
    from ultrasam.weights.load import load

    if task == _CLASSIFIER:
        report_classes(model, paths, out, frames=frame, device=device, earlier=earlier)
        return
    if task == _INSTANCES:
        from ultrasam.downstream.instances.predict import find_files

        finder = load(model, device=device)
        _check_classes(ids, finder.classes)
        remove(earlier)
        made = provenance_of(model, finder)
        files = find_files(
            finder, paths, out, frames=frame, score=_MIN_SCORE if min_score is None else min_score,
            provenance=made.as_dict(), coco=ids, png=MaskFormat.png in chosen,
            finish=exports(out, chosen, made),
        )  # fmt: skip
        report_files(files, paths, out, index=MaskFormat.coco in chosen)
        return
    if automatic:
        from ultrasam.inference.automatic_files import segment_files

        network = Predictor(model, tta=False, device=device, precision=precision)
        if "point" not in network.accepts:
            raise PromptError(f"{model} takes boxes only; it has no use for --automatic.")
        remove(earlier)
        made = provenance_of(model, network)
        files = segment_files(
            network, paths, out, frames=frame, provenance=made.as_dict(), coco=ids
        )
        report_files(files, paths, out)
        return
    segmenter: Segmenter
    if task is not None:
        classifying = load(spec, device=device)
        _check_classes(ids, classifying.classes)
        segmenter = classifying
    else:
        segmenter = Predictor(
            model, refine=refine or spec.refine, tta=spec.tta and not no_tta, device=device,
            precision=precision, runtime=runtime,
        )  # fmt: skip
        if candidates and not offers_candidates(segmenter):
            raise PromptError(f"{model} takes boxes only; it has no use for --candidates.")
        if candidates:
            tell_without_candidates(wanted)
    remove(earlier)
    made = provenance_of(model, segmenter)
    files = predict_files(
        segmenter, paths, wanted, out, frames=frame, provenance=made.as_dict(), coco=ids,
        candidates=candidates, masks=known, png=MaskFormat.png in chosen,
        finish=exports(out, chosen, made),
    )  # fmt: skip
    refused = 0 if file is None else len(file.refused)
    report_files(files, paths, out, refused=refused, index=MaskFormat.coco in chosen)


def _refuse(task: str | None, given: set[str], model: str) -> None:
    """Refuse options that a model of this task has no use for.

    Raises:
        PromptError: One is given.
    """
    promptable = {"--refine", "--no-tta", "--precision", "--candidates", "--runtime", "--automatic"}
    prompts, coco = {"--box", "--point", "--prompts", "--masks"}, {"--coco", "--category"}
    what, refused = {
        None: ("a promptable model", {"--min-score"}),
        _CLASSIFIER: (
            "an image classifier",
            promptable | prompts | {"--min-score", "--format", *coco},
        ),
        _INSTANCES: ("an instance segmenter", promptable | prompts | {"--category"}),
    }.get(task, ("a region classifier", promptable | {"--min-score", "--category"}))
    useless = sorted(given & refused)
    if useless:
        raise PromptError(f"{model} is {what}; it has no use for {' and '.join(useless)}.")


def _coco_ids(
    coco: Path | None, category: str | None, paths: list[Path], file: PromptsFile | None
) -> CocoIds | None:
    """The IDs of a COCO file, if one is given.

    Args:
        file: prompts whose categories the COCO file must have; None if the model tells the class.

    Raises:
        DataError: It has none of the images, or not the categories.
    """
    from ultrasam.inference.coco_ids import read_coco_ids

    if coco is None:
        return None
    ids = read_coco_ids(coco).for_files(paths).for_category(category)
    for entries in file.entries.values() if file is not None else ():
        for entry in entries:
            ids.category(entry.category)
    return ids


def _check_classes(ids: CocoIds | None, classes: Sequence[str]) -> None:
    """Refuse classes that the COCO file does not have.

    Raises:
        DataError: One is missing.
    """
    if ids is not None:
        for name in classes:
            ids.category(name)
