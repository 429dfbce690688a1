"""Options that mean the same in every command that has them (docs/cli.md has the table)."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer


class Precision(StrEnum):
    """Number formats of the image encoder's weights."""

    fp32 = "fp32"
    bf16 = "bf16"
    auto = "auto"


class Runtime(StrEnum):
    """What a network runs in."""

    auto = "auto"
    torch = "torch"
    onnx = "onnx"
    openvino = "openvino"


class EngineName(StrEnum):
    """What runs the shards of many files."""

    local = "local"
    ray = "ray"


class Split(StrEnum):
    """A split of a store; images that leak from one into another are excluded."""

    train = "train"
    val = "val"
    test = "test"
    excluded = "excluded"


class EvaluatedSplit(StrEnum):
    """A split to evaluate on, or all three."""

    train = "train"
    val = "val"
    test = "test"
    all = "all"


TEST_FRACTION = "Fraction of the subjects to test on, if the data have no test split."


def _frame(text: str) -> Any:
    from ultrasam.errors import ConfigError
    from ultrasam.inference.frames import parse_frames

    try:
        return parse_frames(text)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error


def _mask_format(text: str) -> str:
    from ultrasam.images.writing.formats import MaskFormat

    if text not in MaskFormat.__members__:
        raise typer.BadParameter(f"'{text}' is not one of {', '.join(MaskFormat)}.")
    return text


def out_option(text: str, *, metavar: str = "DIR", default: str | None = None) -> Any:
    """The option --out, -o of a command.

    Args:
        text: what is written.
        default: where to, as the help shows it; without it, the option is required.
    """
    return typer.Option("--out", "-o", metavar=metavar, help=text, show_default=default or False)


Inputs = Annotated[list[str], typer.Argument(metavar="INPUT", help="Images, folders or globs.")]
_PATHS = (
    "A store, a folder of data sets, NAME=FOLDER, a folder of your own images, or a COCO, CVAT or "
    "Label Studio file (repeatable)."
)
Data = Annotated[list[str], typer.Option(metavar="PATH", help=_PATHS)]
DataInstead = Annotated[
    list[str] | None,
    typer.Option("--data", metavar="PATH", help=_PATHS, show_default="those of the recipe"),
]
SampleData = Annotated[
    list[str] | None,
    typer.Option("--data", metavar="PATH", help=_PATHS, show_default="sample_dataset"),
]
DataForDice = Annotated[
    list[str] | None,
    typer.Option("--data", metavar="PATH", help=_PATHS, show_default="Dice is not measured"),
]
DataForInt8 = Annotated[
    list[str] | None,
    typer.Option("--data", metavar="PATH", help=_PATHS, show_default="phantoms alone"),
]
Datasets = Annotated[
    list[str] | None,
    typer.Option("--dataset", metavar="NAME", help="Only this data set (repeatable)."),
]
TestData = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATH",
        help="Test on these data instead of on held-out subjects of --data (repeatable).",
    ),
]
TestFraction = Annotated[
    float | None,
    typer.Option(
        min=0.01, max=0.9, metavar="FRACTION", show_default="0.2",
        help=TEST_FRACTION,
    ),
]  # fmt: skip
Classes = Annotated[
    list[str] | None,
    typer.Option("--class", metavar="NAME", help="Only this class (repeatable)."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Settings to change, for example trainer.max_steps=500 optimizer.lr=1e-4.",
    ),
]
Model = Annotated[
    str,
    typer.Option(
        metavar="MODEL",
        help="A name ('ultrasam models' lists them), with options such as nano+no-tta; a checkpoint; a "
        "folder that ultrasam finetune wrote; or a Hugging Face repository.",
    ),
]
Inits = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MODEL", show_default="nano",
        help="Weights to start from: a name ('ultrasam models' lists them), random:nano, imagenet, resnet50, "
        "a path, or a Hugging Face repository. Where several are compared, repeat it.",
    ),
]  # fmt: skip
Boxes = Annotated[
    list[str] | None,
    typer.Option(
        metavar="x0,y0,x1,y1",
        help="A box around an object, in pixels (repeatable: one object each).",
    ),
]
Points = Annotated[
    list[str] | None,
    typer.Option(
        metavar="x,y[,0|1]",
        help="A click on the object (1, the default) or outside it (0) (repeatable: all clicks mean one "
        "object).",
    ),
]
PixelSize = Annotated[
    str | None,
    typer.Option(
        metavar="MM", help="Size of a pixel in mm, or ROW,COLUMN, if it is the same in all images."
    ),
]
Prompts = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="JSON: {image name: [{box: …}, {points: …, labels: …}]}."),
]
Masks = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Masks of the image to go on from: DICOM-SEG, NIfTI, COCO or PNG, as --format writes them.",
    ),
]
MaskFormats = Annotated[
    list[str] | None,
    typer.Option(
        "--format", metavar="png|coco|yolo|nifti|seg|sr|csv", parser=_mask_format,
        show_default="png and coco",
        help="How masks are written; seg is DICOM Segmentation, sr a DICOM report (repeatable).",
    ),
]  # fmt: skip


def frame_option(default: str) -> Any:
    """The option --frame of a command; ``default`` is what its help shows."""
    return typer.Option(
        "--frame", parser=_frame, metavar="NUMBER|all", show_default=default,
        help="Frame of a cine, or slice of a volume, from 0; or all.",
    )  # fmt: skip


# A FrameChoice, which Typer cannot read off a type.
Frame = Annotated[Any, frame_option("0, and a note if there are others")]
NoTta = Annotated[
    bool,
    typer.Option(
        "--no-tta",
        help="Disable test-time augmentation (zoomed and flipped views; used by nano only). About 4 "
        "times faster.",
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        metavar="DEVICE", help="cpu, cuda, cuda:1, …; by default the GPU, if there is one."
    ),
]
PrecisionOption = Annotated[
    Precision | None,
    typer.Option(
        "--precision", show_default="fp32",
        help="Number format of the image encoder; auto is bf16 if the hardware multiplies it, else fp32.",
    ),
]  # fmt: skip
RuntimeOption = Annotated[
    Runtime | None,
    typer.Option(
        "--runtime", show_default="that of an exported folder, else torch",
        help="What the model runs in; auto times those that are installed and have its graphs, once.",
    ),
]  # fmt: skip
Resume = Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing output.")]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Print the recipe, parameter counts, and estimated memory and time, then exit.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_WORKERS = "Processes among which the images are divided; 0: only this one."
Workers = Annotated[int, typer.Option(min=0, metavar="NUMBER", help=_WORKERS)]
Limit = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="NUMBER", show_default="all",
        help="Maximum number of images per data set to evaluate on, evenly spaced.",
    ),
]  # fmt: skip
ModelWorkers = Annotated[
    int | None,
    typer.Option(
        "--workers", min=0, metavar="NUMBER", show_default="no shards",
        help=_WORKERS,
    ),
]  # fmt: skip
EngineOption = Annotated[
    EngineName | None,
    typer.Option(
        "--engine", show_default="local",
        help="What runs the shards: processes of this machine, or actors on Ray.",
    ),
]  # fmt: skip
Address = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS", show_default="Ray on this machine",
        help="A Ray cluster, as ray.init takes it; engine ray.",
    ),
]  # fmt: skip
ShardSize = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="NUMBER", show_default="200",
        help="Files in a shard, which is what a failure costs at most.",
    ),
]  # fmt: skip
ShardShare = Annotated[
    str | None,
    typer.Option(
        "--shards", metavar="I/N", show_default="all",
        help="Do only each N-th shard, from the I-th, counted from 0: for arrays of jobs.",
    ),
]  # fmt: skip
REPEATS = "How often each object is prompted by a random prompt type."


def prompt_type_option(default: str) -> Any:
    """The option --prompt-type of a command that evaluates; ``default`` is what its help shows."""
    return typer.Option(
        metavar="TYPE", show_default=default,
        help="Exact: box, interior, point, box+interior. Human: box-noisy, box10, box-scaled85, "
        "box-shifted10, random, point-noise20. With corrective clicks: interior20, random3, "
        "box+clicks5 (repeatable).",
    )  # fmt: skip


Seed = Annotated[int, typer.Option(min=0, metavar="NUMBER", help="Seed of all random numbers.")]
