"""Export a promptable model with its image encoder in int8.

The activations' ranges come from phantoms. Which layers stay in float32 is measured: each is quantized alone,
and those that disturb the encoder's output most are left out, as far as they take a small part of the
multiplications. Dice decides: of the int8 and the float32 model, for the same prompts on phantoms and on the
data that are given. A model that loses more than `ALLOWED` is not written. The decoder stays in float32.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np

from ultrasam.benchmark.quality import object_dice
from ultrasam.evaluation.sources import EvaluationDataset, open_evaluation_datasets
from ultrasam.extras import require
from ultrasam.files import write_json
from ultrasam.model.ultrasam import UltraSam
from ultrasam.progress import OnProgress, no_progress
from ultrasam.quantization.phantoms import PHANTOMS, calibration_pixels, comparison_phantoms
from ultrasam.runtimes.backend import Backend
from ultrasam.runtimes.backends import open_exported
from ultrasam.runtimes.export import export
from ultrasam.runtimes.exported_folder import check_free, comparison_entry, file_entry, new_folder
from ultrasam.runtimes.int8_graph import GraphQuantizer, Layer
from ultrasam.runtimes.onnx_backend import OnnxBackend
from ultrasam.runtimes.verification import ExportError, differences
from ultrasam.weights.exported import DESCRIPTION, INT8, Exported, read_exported
from ultrasam.weights.spec import ModelSpec

Target = Literal["onnx", "openvino"]
ALLOWED = 0.003  # loss of mean Dice
# Multiplications in layers that stay in float32, as a part of all; the next is tried where one does not do.
SHARES = (0.2, 0.4)
_MEANINGFUL = 0.5  # mean Dice in float32 from which a loss on phantoms says something
_CASE = {"box": "boxes", "interior": "clicks"}


@dataclass(frozen=True, slots=True)
class Effort:
    """Numbers of phantoms: to calibrate on, to measure each layer's noise on, and to measure Dice on."""

    calibration: int = 24
    noise: int = 3
    dice: int = 24


_UNCHECKED = Effort(
    calibration=4, noise=1, dice=0
)  # a ViT-B takes seconds for each image and layer


@dataclass(frozen=True, slots=True)
class DiceLoss:
    """Mean Dice of a model in float32 and in int8 for the same prompts.

    Attributes:
        data: phantoms, or the names of the data sets.
        prompts: their type, ``box`` or ``interior`` (a click inside).
        count: of prompts.
        largest_loss: of a single prompt.
    """

    data: str
    prompts: str
    count: int
    float32: float
    int8: float
    largest_loss: float

    @property
    def loss(self) -> float:
        """Loss of mean Dice."""
        return self.float32 - self.int8

    def to_dict(self) -> dict[str, Any]:
        """For JSON, Dice rounded to four digits."""
        found = asdict(self) | {"loss": self.loss}
        return {k: round(v, 4) if isinstance(v, float) else v for k, v in found.items()}

    def __str__(self) -> str:
        return (
            f"{self.float32:.4f} in float32 and {self.int8:.4f} in int8 for {self.count} "
            f"{_CASE[self.prompts]} on {self.data}"
        )


def export_int8(
    model: UltraSam | str | ModelSpec,
    folder: Path,
    *,
    to: Target = "onnx",
    data: Sequence[str] = (),
    limit: int | None = None,
    effort: Effort | None = None,
    overwrite: bool = False,
    on_progress: OnProgress = no_progress,
) -> Exported:
    """Write a promptable model with its image encoder in int8, if it segments as well as in float32.

    Args:
        model: as in `ultrasam.load`, or a network.
        folder: where to; it appears only when it is complete and its Dice was measured.
        data: data sets whose Dice must not fall either, as `open_evaluation_datasets` takes. They are not
            calibrated on.
        limit: images of each.
        effort: numbers of phantoms.
        overwrite: replace an earlier export.

    Raises:
        ConfigError: The model has options that cannot be exported.
        DataError: A path of ``data`` has no data set.
        ExportError: The model loses Dice, or finds so little on phantoms that they cannot tell.
        MissingDependencyError: A package of the extras ``export`` and ``evaluate`` is missing.
        UltraSamError: The folder exists, or cannot be written.
    """
    check_free(folder, overwrite=overwrite)
    packages = ("onnx", "onnxscript", "onnxruntime", *(("openvino",) if to == "openvino" else ()))
    require("Exporting in int8", *packages, extra="export")
    require("Measuring Dice", "polars", "pyarrow", "pydantic", extra="evaluate")
    effort = effort or Effort()
    datasets = open_evaluation_datasets(data, limit=limit) if data else []
    with TemporaryDirectory() as name:
        work = Path(name)
        exported = export(model, work / "float32")
        quantizer, noise = _measure(exported, work, effort, on_progress)
        for share in SHARES:
            left_out = noisiest(noise, share)
            found = _write(exported, work / "int8", to, quantizer, left_out, effort)
            losses = _compare_dice(exported, found, datasets, effort)
            if all(one.loss <= ALLOWED for one in losses):
                break
        else:
            worst = max(losses, key=lambda one: one.loss)
            raise ExportError(
                f"In int8, {exported.name} segments worse than in float32, although {len(left_out)} of its "
                f"{len(noise)} layers were left out: mean Dice is {worst}; a loss of {ALLOWED:g} is allowed. "
                "Nothing was written; use --precision float16."
            )
        measured = [one.to_dict() for one in losses]
        _with(found, dice={"allowed_loss": ALLOWED, "measured": measured})
        with new_folder(folder) as part:
            shutil.copytree(found.folder, part, dirs_exist_ok=True)
    return read_exported(folder)


def quantize_unchecked(
    exported: Exported, folder: Path, *, effort: Effort | None = None
) -> Exported:
    """Write ONNX graphs with the encoder in int8 without measuring Dice, to time them.

    Args:
        exported: the model's ONNX graphs in float32.
    """
    effort = effort or _UNCHECKED
    with TemporaryDirectory() as work, new_folder(folder) as part:
        quantizer, noise = _measure(exported, Path(work), effort, no_progress)
        _write(exported, part, "onnx", quantizer, noisiest(noise, SHARES[0]), effort)
    return read_exported(folder)


def noisiest(noise: Mapping[Layer, float], share: float) -> list[Layer]:
    """The layers with most noise that take at most this part of all multiplications, in the order of noise.

    Args:
        noise: of each layer, as from `GraphQuantizer.noise`.
    """
    left = share * sum(layer.operations for layer in noise)
    found = []
    for layer in sorted(noise, key=lambda layer: -noise[layer]):
        if layer.operations <= left:
            left -= layer.operations
            found.append(layer)
    return found


def _measure(
    exported: Exported, work: Path, effort: Effort, on_progress: OnProgress
) -> tuple[GraphQuantizer, dict[Layer, float]]:
    """Calibrate on phantoms, and measure the noise of each layer."""
    pixels = calibration_pixels(exported.preprocessor, effort.calibration)
    quantizer = GraphQuantizer(exported.file("encoder"), pixels, work, probes=effort.noise)
    noise = {}
    for number, layer in enumerate(quantizer.layers):
        on_progress(number, len(quantizer.layers))
        noise[layer] = quantizer.noise([layer])
    on_progress(len(noise), len(noise))
    return quantizer, noise


def _write(
    exported: Exported,
    folder: Path,
    to: Target,
    quantizer: GraphQuantizer,
    left_out: Sequence[Layer],
    effort: Effort,
) -> Exported:
    """Write the folder with all other layers in int8, run it, and note how far it is from float32."""
    shutil.copytree(exported.folder, folder, dirs_exist_ok=True)
    quantized = [layer for layer in quantizer.layers if layer not in left_out]
    quantizer.write(folder / "encoder.onnx", quantized)
    content = dict(exported.content)
    files = {graph: [folder / f"{graph}.onnx"] for graph in content["graphs"]}
    if to == "openvino":
        from ultrasam.runtimes.openvino_graphs import convert

        files = {graph: convert(onnx) for graph, (onnx,) in files.items()}
    operations = sum(layer.operations for layer in quantizer.layers)
    content |= {
        "runtime": to,
        "precision": INT8,
        "opset": content["opset"] if to == "onnx" else None,
        "graphs": {
            graph: {**about, "files": [file_entry(file) for file in files[graph]]}
            for graph, about in content["graphs"].items()
        },
        "quantization": {
            "activations": "8 bits without a sign, a scale for each tensor",
            "weights": "7 bits with a sign, a scale for each output channel",
            "calibration": f"{effort.calibration} phantoms",
            "layers": len(quantizer.layers),
            "layers_left_out": [layer.name for layer in left_out],
            "operations_left_out": round(sum(x.operations for x in left_out) / operations, 3),
            "decoder": "float32",
        },
    }
    write_json(folder / DESCRIPTION, content)
    found = read_exported(folder)
    cases = differences(_opened(found), OnnxBackend(exported))
    if not all(np.isfinite((case.logits, case.predicted_iou)).all() for case in cases):
        raise ExportError(
            "The encoder in int8 gives values that are not finite. Nothing was written."
        )
    entry = comparison_entry([case.to_dict() for case in cases], to)
    reference = f"its graphs in float32, onnxruntime {version('onnxruntime')}"
    return _with(found, comparison={**entry, "against": reference, "tolerance": None})


def _compare_dice(
    exported: Exported, found: Exported, datasets: Sequence[EvaluationDataset], effort: Effort
) -> list[DiceLoss]:
    """Dice in float32 and in int8 on phantoms, where it tells something, and on data sets.

    Raises:
        ExportError: The model finds little on phantoms, and no data are given.
    """
    backends = {"float32": OnnxBackend(exported), INT8: _opened(found)}
    losses = _losses(exported.name, backends, [comparison_phantoms(effort.dice)], PHANTOMS)
    losses = [one for one in losses if one.float32 >= _MEANINGFUL]
    if datasets:
        names = ", ".join(data.name for data in datasets)
        losses += _losses(exported.name, backends, datasets, names)
    if not losses:
        raise ExportError(
            f"{exported.name} finds so little on phantoms, even in float32, that they cannot tell whether it "
            "loses in int8; give images that it is made for with --data. Nothing was written."
        )
    return losses


def _losses(
    model: str, backends: Mapping[str, Backend], datasets: Sequence[EvaluationDataset], data: str
) -> list[DiceLoss]:
    dice = object_dice(model, backends, datasets)
    return [
        DiceLoss(
            data, kind, len(before), float(before.mean()), float(after.mean()),
            float((before - after).max()),
        )
        for (kind, before), after in zip(dice["float32"].items(), dice[INT8].values(), strict=True)
    ]  # fmt: skip


def _opened(exported: Exported) -> Backend:
    return open_exported(exported, exported.runtime, device="cpu", precision=None)


def _with(exported: Exported, **entries: Any) -> Exported:
    """An exported folder with more in its description."""
    write_json(exported.folder / DESCRIPTION, {**exported.content, **entries})
    return read_exported(exported.folder)
