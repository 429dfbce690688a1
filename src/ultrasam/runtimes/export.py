"""Export a promptable model to a folder that another runtime runs.

What is written is first compared with PyTorch (`ultrasam.runtimes.verification`); a folder that differs is
not kept. `ultrasam.weights.exported` reads its description, ``model.json``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch

from ultrasam.errors import CheckpointError, ConfigError
from ultrasam.extras import require
from ultrasam.files import write_json
from ultrasam.model.ultrasam import UltraSam
from ultrasam.prompts import BACKGROUND, BOTTOM_RIGHT, FOREGROUND, NOT_A_POINT, TOP_LEFT, UNUSED
from ultrasam.runtimes.backend import Backend
from ultrasam.runtimes.exported_folder import (
    about_export,
    check_free,
    comparison_entry,
    file_entry,
    new_folder,
    write_card,
)
from ultrasam.runtimes.onnx_graphs import interface, rounded_to_half, write_onnx
from ultrasam.runtimes.torch_backend import TorchBackend
from ultrasam.runtimes.verification import compare
from ultrasam.weights.adapters import has_bottlenecks
from ultrasam.weights.exported import DESCRIPTION, Exported, read_exported
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
    check_free(folder, overwrite=overwrite)
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
    with new_folder(folder) as part:
        _write(written, model, part, to, precision, card or ModelCard(model.config.name))
    return read_exported(folder)


def _write(
    written: UltraSam, original: UltraSam, folder: Path, to: Target, precision: str, card: ModelCard
) -> None:
    graphs: dict[str, list[Path]] = {}
    interfaces: dict[str, dict[str, Any]] = {}
    half = precision == "float16"
    if to == "torch":
        dtype = torch.float16 if half else None
        write_checkpoint(written, folder / "model.safetensors", dtype=dtype)
        graphs["weights"] = [folder / "model.safetensors"]
    else:
        for onnx in write_onnx(written, folder, half=half):
            interfaces[onnx.stem] = interface(onnx)
            graphs[onnx.stem] = [onnx]
            if to == "openvino":
                from ultrasam.runtimes.openvino_graphs import convert

                graphs[onnx.stem] = convert(onnx, half=half)
    description = {**about_export(card, to, precision), **promptable_settings(original)}
    description["graphs"] = {
        part: {**interfaces.get(part, {}), "files": [file_entry(file) for file in files]}
        for part, files in graphs.items()
    }
    write_card(card, folder)
    # The runtime opens the folder by its description, so this comes before the comparison.
    write_json(folder / DESCRIPTION, description)
    cases = compare(_opened(folder, to), TorchBackend(written))
    description["comparison"] = comparison_entry([case.to_dict() for case in cases], to)
    write_json(folder / DESCRIPTION, description)


def _opened(folder: Path, to: Target) -> Backend:
    if to == "torch":
        return TorchBackend(build_model(read_checkpoint(folder)))
    if to == "onnx":
        from ultrasam.runtimes.onnx_backend import OnnxBackend

        return OnnxBackend(read_exported(folder))
    from ultrasam.runtimes.openvino_backend import OpenVinoBackend

    return OpenVinoBackend(read_exported(folder))


def promptable_settings(model: UltraSam) -> dict[str, Any]:
    """What the description says of a promptable model."""
    config = model.config
    return {
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
