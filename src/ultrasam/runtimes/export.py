"""Export a promptable model to a folder that another runtime runs.

What is written is first compared with PyTorch (`ultrasam.runtimes.verification`); a folder that differs is
not kept. `ultrasam.weights.exported` reads its description, ``model.json``.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch

from ultrasam._version import __version__
from ultrasam.errors import CheckpointError, ConfigError, UltraSamError, one_line
from ultrasam.extras import require
from ultrasam.files import write_json
from ultrasam.hardware import processor
from ultrasam.model.ultrasam import UltraSam
from ultrasam.prompts import BACKGROUND, BOTTOM_RIGHT, FOREGROUND, NOT_A_POINT, TOP_LEFT, UNUSED
from ultrasam.runtimes.backend import Backend
from ultrasam.runtimes.onnx_graphs import (
    DECODER_INPUTS,
    DECODER_OUTPUTS,
    OPSET,
    encoder_outputs,
    rounded_to_half,
    write_onnx,
)
from ultrasam.runtimes.torch_backend import TorchBackend
from ultrasam.runtimes.verification import TOLERANCE, Comparison, compare
from ultrasam.weights.adapters import has_bottlenecks
from ultrasam.weights.exported import (
    DESCRIPTION,
    FORMAT,
    FORMAT_VERSION,
    Exported,
    is_exported,
    read_exported,
)
from ultrasam.weights.files import build_model, read_checkpoint, write_checkpoint
from ultrasam.weights.hashing import weights_hash
from ultrasam.weights.load import load_model
from ultrasam.weights.model_card import ModelCard, card_of
from ultrasam.weights.spec import ModelSpec

Target = Literal["onnx", "openvino", "torch"]
Precision = Literal["float32", "float16"]
_PACKAGES: dict[str, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
    "torch": (),
}


def export(
    model: UltraSam | str | ModelSpec,
    folder: Path,
    *,
    to: Target = "onnx",
    precision: Precision = "float32",
    card: ModelCard | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write a model for a runtime, with its description, model card and license.

    Args:
        model: a name or path as in `ultrasam.load`, or a network.
        folder: where to; it appears only when it is complete and was compared with PyTorch.
        precision: of the stored weights. ``float16`` halves the files; the runtime still computes in float32.
        card: name, model card and license; by default those of the model's name.
        overwrite: replace an earlier export.

    Raises:
        ConfigError: The model has options that cannot be exported, or a weight beyond float16's range.
        ExportError: The runtime's results differ from PyTorch's.
        MissingDependencyError: A package of the extra ``export`` is missing.
        UltraSamError: The folder exists, or cannot be written.
    """
    _check_free(folder, overwrite=overwrite)
    if _PACKAGES[to]:
        require(f"Exporting for {to}", *_PACKAGES[to], extra="export")
    if not isinstance(model, UltraSam):
        spec = model if isinstance(model, ModelSpec) else ModelSpec.parse(model)
        if spec.refine or spec.precision not in (None, "float32"):
            raise ConfigError(
                f"'{spec.text}': +refine, +bf16 and +auto are options of the run, not of exported weights; "
                "leave them out."
            )
        card = card or card_of(spec)
        model = load_model(spec, device="cpu", precision="float32")
    if to == "torch" and has_bottlenecks(model):
        raise CheckpointError(
            "A model with bottleneck adapters cannot be saved as a complete model; export it to onnx."
        )
    written = rounded_to_half(model) if precision == "float16" else model
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.with_name(f".{folder.name[:40]}.{secrets.token_hex(4)}.part")
    part.mkdir()
    try:
        _write(written, model, part, to, precision, card or ModelCard(model.config.name))
        if folder.exists():
            shutil.rmtree(folder)
        part.replace(folder)
    except OSError as error:
        raise UltraSamError(f"Cannot write {folder}: {one_line(error)}.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return read_exported(folder)


def _check_free(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder with other content, and an earlier export unless it is to be replaced."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not is_exported(folder):
        raise UltraSamError(f"{folder} exists and is not an export; choose another folder.")
    if not overwrite:
        raise UltraSamError(
            f"{folder} holds an earlier export; choose another -o, or replace it with --overwrite."
        )


def _write(
    written: UltraSam, original: UltraSam, folder: Path, to: Target, precision: str, card: ModelCard
) -> None:
    graphs: dict[str, list[Path]] = {}
    half = precision == "float16"
    if to == "torch":
        dtype = torch.float16 if half else None
        write_checkpoint(written, folder / "model.safetensors", dtype=dtype)
        graphs["weights"] = [folder / "model.safetensors"]
    else:
        files = write_onnx(written, folder, half=half)
        if to == "openvino":
            from ultrasam.runtimes.openvino_graphs import convert

            files = [file for onnx in files for file in convert(onnx, half=half)]
        for file in files:
            graphs.setdefault(file.stem, []).append(file)
    description = _description(original, to, precision, card)
    description["graphs"] = {
        part: {**_interface(original, part), "files": [_file(file) for file in files]}
        for part, files in graphs.items()
    }
    (folder / "README.md").write_text(card.text(), encoding="utf-8")
    (folder / "LICENSE").write_text(card.license_text(), encoding="utf-8")
    # The runtime opens the folder by its description, so this comes before the comparison.
    write_json(folder / DESCRIPTION, description)
    reference = TorchBackend(written)
    comparisons = compare(_opened(folder, to), reference)
    description["comparison"] = _comparison(comparisons, to)
    write_json(folder / DESCRIPTION, description)


def _opened(folder: Path, to: Target) -> Backend:
    if to == "torch":
        return TorchBackend(build_model(read_checkpoint(folder)))
    if to == "onnx":
        from ultrasam.runtimes.onnx_backend import OnnxBackend

        return OnnxBackend(read_exported(folder))
    from ultrasam.runtimes.openvino_backend import OpenVinoBackend

    return OpenVinoBackend(read_exported(folder))


def _description(model: UltraSam, to: str, precision: str, card: ModelCard) -> dict[str, Any]:
    config = model.config
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "ultrasam": __version__,
        "name": card.name,
        "license": card.license,
        "runtime": to,
        "precision": precision,
        "opset": OPSET if to == "onnx" else None,
        "weights_sha256": weights_hash(model),
        "sizes": {
            "image_size": config.image_size, "mask_size": config.mask_size, "grid": config.grid,
        },
        "preprocessing": model.preprocessor.to_dict(),
        "prompt_types": list(model.preprocessor.prompt_types),
        "label_codes": {
            "unused": UNUSED, "not_a_point": NOT_A_POINT, "background": BACKGROUND,
            "foreground": FOREGROUND, "top_left": TOP_LEFT, "bottom_right": BOTTOM_RIGHT,
        },
        "mask_choice": {
            "single_mask": 0,
            "candidates": [1, 2, 3],
            "candidates_for": "a single click without a box or a mask",
            "best_by": "predicted_iou, an empty mask last",
            "threshold": 0.0,
        },
        "test_time_augmentation": {**model.tta.to_dict(), **model.tta.rules()},
        "postprocessing": model.postprocessor.to_dict(),
        "config": json.loads(config.to_json()),
    }  # fmt: skip


def _interface(model: UltraSam, graph: str) -> dict[str, Any]:
    """The inputs and outputs of a graph; words in shapes are of any size."""
    c = model.config
    size, grid, mask = c.image_size, c.grid, c.mask_size
    outputs = encoder_outputs(model)
    shapes: dict[str, list[int | str]] = {
        "pixels": ["images", 3, size, size],
        "image": ["images", c.decoder_width, grid, grid],
        "high_res_0": ["images", c.upscale_channels[1], 4 * grid, 4 * grid],
        "high_res_1": ["images", c.upscale_channels[0], 2 * grid, 2 * grid],
        "coords": ["prompts", "points", 2],
        "labels": ["prompts", "points"],
        "has_mask": ["prompts"],
        "predicted_iou": ["prompts", 4],
    }
    one = {name: [1, *shapes[name][1:]] for name in outputs}
    if graph == "encoder":
        given, returned = {"pixels": shapes["pixels"]}, {name: shapes[name] for name in outputs}
    elif graph == "decoder":
        prompts = {name: shapes.get(name, ["prompts", 1, mask, mask]) for name in DECODER_INPUTS}
        given = {**one, **prompts}
        returned = {name: shapes.get(name, ["prompts", 4, mask, mask]) for name in DECODER_OUTPUTS}
    else:
        return {}
    return {"inputs": _tensors(given), "outputs": _tensors(returned)}


def _tensors(shapes: dict[str, list[int | str]]) -> list[dict[str, Any]]:
    return [{"name": name, "dtype": "float32", "shape": shape} for name, shape in shapes.items()]


def _file(path: Path) -> dict[str, Any]:
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": digest}


def _comparison(found: Sequence[Comparison], to: str) -> dict[str, Any]:
    package = {"onnx": "onnxruntime"}.get(to, to)
    return {
        "against": f"torch {torch.__version__}",
        "runtime": f"{package} {version(package)}",
        "processor": processor(),
        "tolerance": TOLERANCE,
        "cases": [entry.to_dict() for entry in found],
    }
