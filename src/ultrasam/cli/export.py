"""`ultrasam export`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ultrasam.cli.options import Overwrite, out_option
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
            "repository.",
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
    from ultrasam.runtimes.export import export as write
    from ultrasam.weights.spec import ModelSpec

    spec = ModelSpec.parse(model)
    out = checks.output(
        out, "export", f"{Path(model.rstrip('/')).name.replace(':', '-')}-{to.value}"
    )
    if to is Target.web:
        from ultrasam.web.export import export_site

        export_site(spec, out, precision=precision.value, overwrite=overwrite)
        print(out / "index.html")
        print(f"Serve it, for example with: python -m http.server --directory {out}")
        return
    exported = write(spec, out, to=to.value, precision=precision.value, overwrite=overwrite)
    cases = exported.content["comparison"]["cases"]
    for entry in (e for graph in exported.content["graphs"].values() for e in graph["files"]):
        print(f"{out / entry['name']}  {megabytes(entry['bytes'])}")
    print(out / "model.json")
    print(
        f"Equals PyTorch for 1 to 64 prompts: logits within {max(c['logits'] for c in cases):.1g}, predicted "
        f"IoU within {max(c['predicted_iou'] for c in cases):.1g}."
    )
