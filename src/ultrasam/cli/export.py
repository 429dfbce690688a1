"""`ultrasam export`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from ultrasam.cli.options import Overwrite, out_option
from ultrasam.errors import ConfigError
from ultrasam.files import megabytes


class Target(StrEnum):
    """What an exported model runs in."""

    onnx = "onnx"
    openvino = "openvino"
    torch = "torch"
    web = "web"


class StoredPrecision(StrEnum):
    """Number formats of stored weights."""

    float32 = "float32"
    float16 = "float16"


def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A promptable model: a name ('ultrasam models' lists them), a checkpoint, or a Hugging Face "
            "repository; or a folder with a classifier that ultrasam finetune wrote.",
        ),
    ],
    to: Annotated[
        Target,
        typer.Option(
            "--to",
            help="The runtime that will run it, or web for a page that runs it in a browser.",
        ),
    ] = Target.onnx,
    out: Annotated[
        Path | None, out_option("Folder for the export.", default="runs/export/MODEL-RUNTIME")
    ] = None,
    precision: Annotated[
        StoredPrecision,
        typer.Option(
            "--precision",
            help="Number format of the stored weights; float16 halves the files. The network is computed in "
            "float32.",
        ),
    ] = StoredPrecision.float32,
    overwrite: Overwrite = False,
) -> None:
    """Write a model for another runtime, with all that is needed to run it without UltraSam.

    The folder holds the encoder and the decoder, model.json (preprocessing, views, the choice of masks), the
    model card and the license. It is compared with PyTorch for 1, 3 and 64 prompts, and kept only if it
    agrees.
    Every command takes the folder as a model.
    """
    from ultrasam.cli import checks
    from ultrasam.weights.spec import ModelSpec
    from ultrasam.weights.tasks import detect_task

    spec = ModelSpec.parse(model)
    out = checks.output(
        out, "export", f"{Path(model.rstrip('/')).name.replace(':', '-')}-{to.value}"
    )
    task = detect_task(spec.path) if spec.kind == "path" else None
    if task is not None:
        _check_task(model, to, precision, options=spec.has_options)
    if to is Target.web:
        from ultrasam.web.export import export_site

        export_site(spec, out, precision=precision.value, overwrite=overwrite)
        print(out / "index.html")
        print(f"Serve it, for example with: python -m http.server --directory {out}")
        return
    if task is None:
        from ultrasam.runtimes.export import export as write

        write(spec, out, to=cast(Any, to.value), precision=precision.value, overwrite=overwrite)
    else:
        from ultrasam.downstream.exporting import export_task

        export_task(spec.path, task, out, overwrite=overwrite)
    _tell(out)


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
    for entry in (e for graph in content["graphs"].values() for e in graph["files"]):
        print(f"{out / entry['name']}  {megabytes(entry['bytes'])}")
    print(out / "model.json")
    largest: dict[str, float] = {}
    for case in content["comparison"]["cases"]:
        for key in ("logits", "predicted_iou", "class_logits"):
            if key in case:
                largest[key] = max(largest.get(key, 0.0), case[key])
    names = {
        "logits": "logits",
        "predicted_iou": "predicted IoU",
        "class_logits": "classes' logits",
    }
    print(
        "Equals PyTorch: "
        + ", ".join(f"{names[key]} within {value:.1g}" for key, value in largest.items())
        + "."
    )
