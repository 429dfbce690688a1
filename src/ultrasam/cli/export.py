"""`ultrasam export`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from ultrasam.cli.options import DataForInt8, Limit, Overwrite, out_option
from ultrasam.cli.progress import progress_bar
from ultrasam.errors import ConfigError
from ultrasam.files import megabytes

if TYPE_CHECKING:
    from ultrasam.weights.spec import ModelSpec


class Target(StrEnum):
    """What an exported model runs in."""

    onnx = "onnx"
    openvino = "openvino"
    torch = "torch"
    web = "web"
    triton = "triton"


class StoredPrecision(StrEnum):
    """Number formats of stored weights."""

    float32 = "float32"
    float16 = "float16"
    int8 = "int8"


def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A promptable model: a name ('ultrasam models' lists them), a checkpoint, or a Hugging Face "
            "repository; or a folder that ultrasam finetune wrote.",
        ),
    ],
    to: Annotated[
        Target,
        typer.Option(
            "--to",
            help="The runtime that will run it; web for a page that runs it in a browser; or triton for a "
            "model repository of the Triton server, for which MODEL may also be a folder exported to onnx.",
        ),
    ] = Target.onnx,
    out: Annotated[
        Path | None, out_option("Folder for the export.", default="runs/export/MODEL-RUNTIME")
    ] = None,
    precision: Annotated[
        StoredPrecision,
        typer.Option(
            "--precision",
            help="Number format of the weights. float16 halves the files, and the network is computed in "
            "float32. int8 makes the image encoder faster, and is refused if the model loses Dice.",
        ),
    ] = StoredPrecision.float32,
    data: DataForInt8 = None,
    limit: Limit = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a model for another runtime, with all that is needed to run it without UltraSam.

    The folder holds the encoder and the decoder, model.json (preprocessing, views, the choice of masks), the
    model card and the license. It is compared with PyTorch for 1, 3 and 64 prompts, and kept only if it
    agrees; in int8, only if mean Dice falls by at most 0.003, on phantoms and, with --data, on your images.
    Every command takes the folder as a model.
    """
    from ultrasam.cli import checks
    from ultrasam.weights.spec import ModelSpec
    from ultrasam.weights.tasks import detect_task

    if data or limit is not None:
        if precision is not StoredPrecision.int8:
            raise ConfigError("--data and --limit are for --precision int8 only; leave them out.")
        checks.check_paths(data or [])
    spec = ModelSpec.parse(model)
    out = checks.output(
        out, "export", f"{Path(model.rstrip('/')).name.replace(':', '-')}-{to.value}"
    )
    if to is Target.triton:
        _export_triton(spec, out, precision, overwrite=overwrite)
        return
    task = detect_task(spec.path) if spec.kind == "path" else None
    if task is not None:
        _check_task(model, to, precision, options=spec.has_options)
    if precision is StoredPrecision.int8 and task is None:
        _export_int8(spec, out, to, data or (), limit, overwrite=overwrite)
        return
    stored = cast(Any, precision.value)
    if to is Target.web:
        from ultrasam.web.export import export_site

        export_site(spec, out, precision=stored, overwrite=overwrite)
        print(out / "index.html")
        print(f"Serve it, for example with: python -m http.server --directory {out}")
        return
    if task is None:
        from ultrasam.runtimes.export import export as write

        write(spec, out, to=cast(Any, to.value), precision=stored, overwrite=overwrite)
    else:
        from ultrasam.downstream.exporting import export_task

        export_task(spec.path, task, out, overwrite=overwrite)
    _tell(out)


def _export_triton(
    spec: ModelSpec, out: Path, precision: StoredPrecision, *, overwrite: bool
) -> None:
    from ultrasam.runtimes.triton import export_repository
    from ultrasam.weights.exported import is_exported
    from ultrasam.weights.tasks import detect_task

    if spec.kind == "path" and is_exported(spec.path):
        if spec.has_options or precision is not StoredPrecision.float32:
            raise ConfigError(
                f"{spec.path} is exported already; leave --precision and +options out."
            )
    elif precision is StoredPrecision.int8 or (
        spec.kind == "path" and detect_task(spec.path) is not None
    ):
        raise ConfigError(
            f"Export {spec.text} to onnx first, then that folder to triton: models in int8 and models that "
            "are fine-tuned for a task take two steps."
        )
    for path in export_repository(
        spec, out, precision=cast(Any, precision.value), overwrite=overwrite
    ):
        print(path)


def _export_int8(
    spec: ModelSpec,
    out: Path,
    to: Target,
    data: Sequence[str],
    limit: int | None,
    *,
    overwrite: bool,
) -> None:
    """Write a promptable model in int8, and print what it was compared on.

    Raises:
        ConfigError: The runtime has no int8 here.
    """
    if to in (Target.torch, Target.web):
        raise ConfigError(
            f"int8 is for --to onnx and --to openvino, not for {to.value}; use --precision float16."
        )
    from ultrasam.quantization.export import export_int8

    with progress_bar("quantizing") as on_progress:
        found = export_int8(
            spec, out, to=cast(Any, to.value), data=data, limit=limit, overwrite=overwrite,
            on_progress=on_progress,
        )  # fmt: skip
    _print_files(out, found.content)
    about = found.content["quantization"]
    left_out = len(about["layers_left_out"])
    print(f"{about['layers'] - left_out} of {about['layers']} layers of the encoder are in int8.")
    for row in found.content["dice"]["measured"]:
        print(
            f"Dice on {row['data']}, {row['count']} prompts ({row['prompts']}): {row['float32']:.4f} in "
            f"float32, {row['int8']:.4f} in int8."
        )


def _check_task(model: str, to: Target, precision: StoredPrecision, *, options: bool) -> None:
    """Refuse what a model that is fine-tuned for a task cannot be exported to.

    Raises:
        ConfigError: It is not ONNX in float32, or the model's name has options.
    """
    if to is not Target.onnx or precision is not StoredPrecision.float32 or options:
        raise ConfigError(
            f"{model} is fine-tuned for a task; such models are exported to onnx, in float32, only, and have "
            "no +options."
        )


def _tell(out: Path) -> None:
    """Print what was written and how far it is from PyTorch."""
    from ultrasam.weights.exported import read_description

    content = read_description(out)
    _print_files(out, content)
    largest: dict[str, float] = {}
    for case in content["comparison"]["cases"]:
        for key in ("logits", "predicted_iou", "class_logits", "mask_logits"):
            if key in case:
                largest[key] = max(largest.get(key, 0.0), case[key])
    names = {
        "logits": "logits",
        "predicted_iou": "predicted IoU",
        "class_logits": "classes' logits",
        "mask_logits": "masks' logits",
    }
    print(
        "Equals PyTorch: "
        + ", ".join(f"{names[key]} within {value:.1g}" for key, value in largest.items())
        + "."
    )


def _print_files(out: Path, content: Mapping[str, Any]) -> None:
    for entry in (e for graph in content["graphs"].values() for e in graph["files"]):
        print(f"{out / entry['name']}  {megabytes(entry['bytes'])}")
    print(out / "model.json")
