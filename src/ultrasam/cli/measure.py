"""`ultrasam measure`."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ultrasam._version import __version__
from ultrasam.cli import checks
from ultrasam.cli.options import (
    Address,
    Boxes,
    Device,
    EngineOption,
    Frame,
    Inputs,
    Json,
    Model,
    ModelWorkers,
    NoTta,
    Overwrite,
    PixelSize,
    Points,
    PrecisionOption,
    Prompts,
    Resume,
    ShardShare,
    ShardSize,
    out_option,
)  # fmt: skip
from ultrasam.cli.outputs import earlier_results, remove
from ultrasam.cli.progress import progress_bar
from ultrasam.cli.prompts import assign_and_report, given_prompts, read_and_report
from ultrasam.cli.sharded import Sharding, refuse_with_shards, run_sharded
from ultrasam.cli.tables import print_table
from ultrasam.errors import MeasurementError, PromptError
from ultrasam.text import counted

if TYPE_CHECKING:
    from ultrasam.measure.files import FileMeasured, MaskSource, Result
    from ultrasam.measure.outline import Spacing

logger = logging.getLogger(__name__)

_WRITTEN = ("measurements.csv", "measurements.json", "curves.csv", "curves.png")


def measure(
    inputs: Inputs,
    kind: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="What is measured: shape, lesion, head, abdomen, ventricle, vessel, vessel-transverse, imt; "
            "in two images at right angles: lesion-volume, ventricle-biplane, prostate, bladder, thyroid; "
            "in a cine or in two stills: ejection-fraction, ejection-fraction-biplane.",
        ),
    ] = "shape",
    mask: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Masks that are there already: PNG, DICOM-SEG, NIfTI, or predictions.json "
            "(repeatable: one for each image, or several of one image).",
        ),
    ] = None,
    box: Boxes = None,
    point: Points = None,
    prompts: Prompts = None,
    model: Model = "nano",
    pixel_size: PixelSize = None,
    factor: Annotated[
        float | None,
        typer.Option(
            metavar="NUMBER",
            show_default="of the kind",
            help="Factor of length × width × height, for kinds that have a volume from it.",
        ),
    ] = None,
    frame: Frame = None,
    out: Annotated[
        Path | None, out_option("Folder for the results.", default="runs/measure/INPUT")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
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
    """Measure what masks outline: lengths, areas, volumes and ejection fractions.

    The masks are those of --mask, or a model segments what --box, --point or --prompts point at. Numbers are
    in mm where the image is calibrated, else in pixels, and the output says why. A number's ± is how far it
    moves where the model's border moves to the levels 0.3 and 0.7 of its probability; masks from files have
    none.

    Writes measurements.csv and measurements.json, and for several frames curves.csv and curves.png.

    With --workers, files are measured in shards as in `predict`, each by itself, and measurements.csv is
    collected from their tables.
    """  # fmt: skip
    from ultrasam.datasets.metadata import parse_pixel_size
    from ultrasam.inference.inputs import find_inputs
    from ultrasam.measure.files import is_of_one_file
    from ultrasam.measure.kinds import KINDS

    if kind not in KINDS:
        raise MeasurementError(f"'{kind}' is not a kind of structure; use {', '.join(KINDS)}.")
    if factor is not None and KINDS[kind].factor is None:
        raise MeasurementError(f"{kind} has no use for --factor.")
    stated = None if pixel_size is None else parse_pixel_size(pixel_size)
    if mask and (box or point or prompts):
        raise PromptError("Give --mask, or prompts for a model, not both.")
    if prompts is not None and (box or point):
        raise PromptError("Give --prompts, or --box and --point, not both.")
    if mask and (model != "nano" or no_tta or precision or device):
        raise PromptError(
            "--mask needs no model; leave --model, --no-tta, --device and --precision out."
        )
    if not (mask or box or point or prompts):
        raise PromptError(
            "Nothing says what to measure; add --mask FILE, --box x0,y0,x1,y1, --point x,y or --prompts FILE."
        )
    out = checks.output(out, "measure", inputs[0])
    how = Sharding(workers, engine, address, shard_size, shards, resume)
    how.check(out)
    if how.wanted:
        refuse_with_shards({"--mask": mask, "--json": as_json})
        if not is_of_one_file(kind):
            raise MeasurementError(
                f"{kind} needs several images, and a sharded run measures each by itself; leave --workers "
                "and its like out."
            )
        checks.check_models([model])
        checks.check_device(device)
        settings = {
            "task": "measurements", "model": model, "inputs": tuple(inputs), "frames": frame,
            "device": device, "precision": precision and precision.value, "tta": False if no_tta else None,
            "kind": kind, "factor": factor, "pixel_size": stated,
        }  # fmt: skip
        file = read_and_report(prompts) if prompts else given_prompts(box or [], point or [])
        run_sharded(how, out, settings, file, overwrite=overwrite, written=_WRITTEN)
        return
    paths = find_inputs(inputs)
    checks.check_inputs(paths)
    earlier = earlier_results(out, _WRITTEN, overwrite=overwrite)
    from ultrasam.images.writing.segmentation import now

    source: MaskSource
    refused = 0
    if mask:
        source = _given_masks(mask, paths, stated)
        provenance = {
            "ultrasam": __version__, "created": now(), "masks": " ".join(map(str, mask)),
        }  # fmt: skip
    else:
        checks.check_models([model])
        checks.check_device(device)
        file = read_and_report(prompts) if prompts else given_prompts(box or [], point or [])
        wanted, refused = assign_and_report(file, paths), len(file.refused)

        from ultrasam.inference.predictor import Predictor
        from ultrasam.inference.provenance import provenance_of
        from ultrasam.measure.files import ModelMasks

        predictor = Predictor(
            model, tta=False if no_tta else None, device=device, precision=precision
        )  # fmt: skip
        source = ModelMasks(predictor, wanted, stated)
        given = [f"--box {b}" for b in box or []] + [f"--point {p}" for p in point or []]
        provenance = provenance_of(model, predictor).as_dict()
        provenance["prompts"] = str(prompts) if prompts else " ".join(given)

    from ultrasam.measure.files import measure_files

    with progress_bar("measuring") as on_progress:
        found: list[FileMeasured] = []
        for one in measure_files(kind, paths, source, frames=frame, factor=factor):
            found.append(one)
            on_progress(len(found), len(paths))
    _report(found, out, earlier, provenance, as_json=as_json)
    if refused:
        raise typer.Exit(1)  # each was told when the file was read


def _given_masks(
    files: Sequence[Path], paths: Sequence[Path], stated: Spacing | None
) -> MaskSource:
    """The masks of --mask: one file of predictions, or mask files.

    Raises:
        PromptError: It is not clear which mask belongs to which image.
        DataError: The predictions cannot be read.
    """
    from ultrasam.measure.files import MaskFiles, Predictions
    from ultrasam.measure.objects import entries_of_files, read_predictions

    tables = [file for file in files if file.suffix.lower() == ".json"]
    if tables:
        if len(files) > 1:
            raise PromptError("Give one predictions.json as --mask, or mask files, not both.")
        entries = read_predictions(tables[0])
        return Predictions(entries_of_files(entries, paths, folder=tables[0].parent), stated)
    if len(paths) == 1:
        return MaskFiles({paths[0]: files}, stated)
    if len(files) != len(paths):
        raise PromptError(
            f"There are {counted(len(paths), 'image')} and {counted(len(files), 'mask')}; give one --mask "
            "for each image, in the same order."
        )
    return MaskFiles({path: [file] for path, file in zip(paths, files, strict=True)}, stated)


def _report(
    found: Sequence[FileMeasured],
    out: Path,
    earlier: Sequence[Path],
    provenance: dict[str, str],
    *,
    as_json: bool,
) -> None:
    """Tell what failed and what should be known, print the numbers, and write them.

    Raises:
        Exit: Something could not be measured.
    """
    from ultrasam.measure.outputs import as_json as content_of
    from ultrasam.measure.outputs import write_results

    for one in found:
        for sentence in one.errors:
            logger.error("%s", sentence)
        for note in dict.fromkeys((*one.notes, *one.mask_notes)):
            logger.warning("%s", note)
    results = [result for one in found for result in one.results]
    errors = [sentence for one in found for sentence in one.errors]
    if as_json:
        print(json.dumps(content_of(results, errors, provenance), indent=1, ensure_ascii=False))
    if results:
        if not as_json:
            _print(results)
        remove(earlier)  # none of an earlier run stays beside the new ones
        for file in write_results(out, results, errors, provenance):
            logger.info("%s", file) if as_json else print(file)
    if errors or not results:
        if not results:
            logger.error("Nothing could be measured.")
        raise typer.Exit(1)


def _print(results: Sequence[Result]) -> None:
    """A table of the numbers; of a structure in many frames, of its beats or of its first frame only."""
    rows, curves = [], 0
    shown: set[tuple[object, ...]] = set()
    for result in results:
        key = (result.paths, result.name, result.kind)
        if key in shown:
            curves += 1
            continue
        shown.add(key)
        where = " + ".join(dict.fromkeys(path.name for path in result.paths))
        frames = " + ".join(str(f) for f in result.frames) if any(result.frames) else "0"
        name = result.name
        for measurement in result.measured.measurements:
            rows.append((where, frames, name, measurement.name, str(measurement)))
            where = frames = name = ""
    print_table(("image", "frame", "object", "quantity", "value"), rows, whole=("value",))
    if curves:
        logger.info("%s in the files below.", counted(curves, "more frame is", "more frames are"))
