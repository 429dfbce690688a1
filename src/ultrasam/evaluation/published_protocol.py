"""The published evaluation, step by step, where it differs from ours (CAMMA-public/UltraSam, its test code).

- The tight box, or a click at the mean of the mask's pixel indices; in model pixels, the scaled coordinates
  + 0.5.
- Two rounds: one mask; then its logits as they are, with the same box or, for a click, the box of that mask
  (scaled, without the + 0.5); of three masks, the one with the highest predicted IoU, which is the score.
- A mask is cut at 0 before it is scaled to the image (bilinear, to the padded input and from there to the
  image), and all that is not 0 then belongs to it. So it grows by up to a low-res pixel on each side, 4 model
  pixels, which costs thin and small objects some IoU. Our predictions scale logits and cut them last, as SAM
  does: `ultrasam evaluate` gives other figures than this protocol.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ultrasam.geometry import ViewTransform
from ultrasam.images.masks import BoolMask, bounding_box, center_of_mass
from ultrasam.inference.predictor import Predictor
from ultrasam.prompts import Float32, FloatArray, Prompt

PROMPTS = ("box", "point")


def published_prediction(
    predictor: Predictor, truth: Sequence[BoolMask], kind: str
) -> tuple[list[BoolMask], npt.NDArray[np.float32]]:
    """The masks [H, W] of the objects in the current image, and their scores [N].

    Args:
        predictor: without refinement and test-time augmentation, which would be added to these rounds.
        truth: the objects' masks.
        kind: ``box`` or ``point``.
    """
    view = predictor.backend.preprocessor.view(*truth[0].shape)
    prompts = [published_prompt(mask, view, kind) for mask in truth]
    first = predictor.predict(prompts, multimask=False)
    again = []
    for prompt, low in zip(prompts, first.low_res_logits[:, 0], strict=True):
        box: FloatArray | None = prompt.box
        if box is None and (mask := published_mask(low, view)).any():
            box = bounding_box(mask)
        again.append(prompt if box is None else Prompt(box=box, mask=low))
    second = predictor.predict(again, multimask=True)
    masks = [published_mask(low, view) for low in second.low_res_logits[:, 0]]
    return masks, second.predicted_iou[:, 0]


def published_prompt(mask: BoolMask, view: ViewTransform, kind: str) -> Prompt:
    """The prompt of the first round for a mask [H, W]."""

    def as_published(points: FloatArray) -> FloatArray:
        return view.points_to_scan(view.points_to_model(points) + 0.5)

    if kind == "box":
        return Prompt(box=as_published(bounding_box(mask).reshape(2, 2)).reshape(4))
    # The mean of the indices; our coordinates count from the pixels' corners.
    return Prompt(points=as_published(center_of_mass(mask)[None] - 0.5), labels=[1])


def published_mask(logits: Float32, view: ViewTransform) -> BoolMask:
    """Low-res logits [S, S] over the model's input as a mask [H, W] of the image."""
    import torch
    import torch.nn.functional as F

    mask = (torch.from_numpy(logits) > 0).float()[None, None]
    padded = F.interpolate(mask, (view.size, view.size), mode="bilinear", align_corners=False)
    height, width = view.resized_shape
    shape = (view.height, view.width)
    full = F.interpolate(padded[..., :height, :width], shape, mode="bilinear", align_corners=False)
    return np.asarray(full[0, 0].bool().numpy())
