"""Segment slices of a volume from a viewer's clicks."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from ultrasam.extras import needs

with needs("The annotator", extra="annotate"):
    from pydantic import BaseModel, Field

from ultrasam.annotate.protocols.monai_label.volumes import (
    Labels,
    check_voxels,
    label_map_file,
)
from ultrasam.errors import PromptError
from ultrasam.images.mask_sequence import MaskSequence
from ultrasam.images.masks import BoolMask, center_of_mass
from ultrasam.images.scan import Scan
from ultrasam.images.writing.segmentation import Provenance, Segmentation
from ultrasam.prompts import Prediction, Prompt
from ultrasam.serve.loaded_model import ModelInfo

Predict = Callable[[int, Prompt, bool], Prediction]
_Number = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
_Points = Annotated[
    list[Annotated[list[_Number], Field(min_length=2, max_length=3)]], Field(max_length=1000)
]
_MOST_SLICES = 100


class InferParams(BaseModel):
    """What a viewer sends with its question; keys that are not used are ignored.

    Points are the numbers of voxels, [x, y, z]; z may be left out in a still.
    """

    foreground: _Points = []
    background: _Points = []
    label: Annotated[str, Field(max_length=100)] | None = None
    result_extension: Literal[".nii.gz", ".nii", ".nrrd"] = ".nii.gz"
    result_dtype: Literal["uint8", "uint16"] = "uint8"
    result_compress: bool = True

    @property
    def name(self) -> str:
        """Of the object."""
        return self.label or "object"


@dataclass(frozen=True, slots=True, eq=False)
class Segmented:
    """What was found.

    Attributes:
        scan: the image.
        params: what was asked.
        masks: [H, W] by slice.
        prompts: by slice.
        confidence: the lowest predicted IoU of the slices.
    """

    scan: Scan
    params: InferParams
    masks: dict[int, BoolMask]
    prompts: dict[int, Prompt]
    confidence: float

    def label_map(self) -> bytes:
        """A file with 1 where the object is, as the viewer wants it."""
        labels: Labels = np.zeros(
            (self.scan.num_frames, self.scan.height, self.scan.width), self.params.result_dtype
        )
        for index, mask in self.masks.items():
            labels[index][mask] = 1
        return label_map_file(
            labels, self.scan, self.params.result_extension, compress=self.params.result_compress
        )

    def as_json(self, model: str) -> dict[str, Any]:
        """The facts: the name of the object, its center [value, x, y, z] in voxels, and the confidence."""
        slices = sorted(self.masks)
        largest = max(slices, key=lambda index: int(self.masks[index].sum()))
        x, y = center_of_mass(self.masks[largest])
        center = [1, round(float(x - 0.5), 1), round(float(y - 0.5), 1), largest]
        return {
            "label_names": {self.params.name: 1}, "centroids": {self.params.name: center},
            "slices": slices, "confidence": self.confidence, "model": model,
        }  # fmt: skip

    def dicom_seg(self, info: ModelInfo | None) -> bytes:
        """A DICOM Segmentation that refers to the image.

        Raises:
            DataError: The image is no DICOM file.
            MissingDependencyError: The extra 'outputs' is not installed.
        """
        from ultrasam.images.writing.dicom_seg import write_seg

        made = Provenance("unknown") if info is None else Provenance(info.name, info.weights)
        masks = MaskSequence.of(
            {index: mask[None] for index, mask in self.masks.items()},
            num_frames=self.scan.num_frames, names=[self.params.name],
        )  # fmt: skip
        details = {(index, 0): {"prompt": _described(self.prompts[index])} for index in self.masks}
        with tempfile.TemporaryDirectory(prefix="ultrasam-") as folder:
            path = Path(folder) / "seg.dcm"
            write_seg(path, Segmentation(self.scan, masks, made, details=details))
            return path.read_bytes()


def prompts_of(params: InferParams, scan: Scan) -> dict[int, Prompt]:
    """The prompt of each slice that has a foreground point, in pixels.

    Raises:
        PromptError: No slice has one, there are too many, or a point is outside the volume.
    """
    clicks: dict[int, list[tuple[float, float, int]]] = {}
    for points, label in ((params.foreground, 1), (params.background, 0)):
        for x, y, *rest in points:
            index = round(rest[0]) if rest else 0
            if not 0 <= index < scan.num_frames:
                raise PromptError(
                    f"A point is in slice {index}, but the image has {scan.num_frames}, from 0."
                )
            clicks.setdefault(index, []).append((x + 0.5, y + 0.5, label))
    found = {
        index: Prompt(points=[one[:2] for one in given], labels=[one[2] for one in given])
        for index, given in sorted(clicks.items())
        if any(label for *_, label in given)
    }
    if not found:
        raise PromptError(
            "There is no foreground point; click on the object that is to be segmented."
        )
    if len(found) > _MOST_SLICES:
        raise PromptError(f"{len(found)} slices have points; send at most {_MOST_SLICES} at once.")
    for prompt in found.values():
        prompt.check_inside(scan.height, scan.width)
    return found


def segmented(scan: Scan, params: InferParams, predict: Predict) -> Segmented:
    """Segment every slice that has a foreground point.

    Args:
        predict: of a slice, a prompt and whether to offer several masks.

    Raises:
        PromptError: As in `prompts_of`, or the model finds nothing.
        DataError, ScanError, CheckpointError: The image or the model cannot be read.
    """
    check_voxels(scan)
    prompts = prompts_of(params, scan)
    masks, ious = dict[int, BoolMask](), list[float]()
    for index, prompt in prompts.items():
        prediction = predict(index, prompt, prompt.is_single_click)
        masks[index] = prediction.masks[0, 0]
        ious.append(float(prediction.predicted_iou[0, 0]))
    if not any(mask.any() for mask in masks.values()):
        raise PromptError("The model found nothing there; click elsewhere on the object.")
    return Segmented(scan, params, masks, prompts, round(min(ious), 4))


def _described(prompt: Prompt) -> dict[str, Any]:
    return {"points": prompt.points.tolist(), "labels": prompt.labels.tolist()}
