"""Predictor: one frame, any number of prompts, masks in the scan's own pixels.

The image is encoded once. A small model looks more than once (``ModelConfig.zoom`` and ``mirror``): around
a box too, which is averaged with the whole image; closer at what a lone click found, which replaces the
whole image; and at the mirror image of each view, averaged with it. Each view costs one more run of its
encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ultrasam.errors import PromptError
from ultrasam.geometry import Letterbox
from ultrasam.images.masks import box_of
from ultrasam.inference.looks import Candidate, FloatMap, Look
from ultrasam.inference.segmenter import ScanLike, as_scan
from ultrasam.model.prompt_encoder import (
    ABSENT,
    BOTTOM_RIGHT,
    PADDING,
    TOP_LEFT,
    PromptTensors,
    pad_prompts,
)
from ultrasam.model.ultrasam import ImageEmbedding, UltraSam
from ultrasam.prompts import Prediction, Prompt

# Views encoded and prompts decoded in one call: past this, memory grows and speed does not.
_CHUNK = 16
_BOX_ROOM = 1.5  # a box's view over a click's: it knows the size already, surroundings say more
_LEAST_GAIN = 1.15  # a second view must enlarge the object by this to be worth its cost
_KEPT = 64  # zoomed views whose embeddings are kept: corrections and refinement look at them again


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """One prompt to be decoded in some views.

    Attributes:
        three: give the three masks of an ambiguous prompt, not the single one.
        fed_back: logits in the scan's pixels in place of the prompt's own mask.
    """

    prompt: Prompt
    views: tuple[Letterbox, ...]
    three: bool
    fed_back: FloatMap | None


class Predictor:
    """Segment what prompts point at in one frame.

    Args:
        model: in evaluation mode, on any device; its encoder may hold bfloat16 weights.
        refine: the published test-time refinement (arXiv 2411.16222, 3.2): each prompt is decoded a
            second time with its mask fed back and its click replaced by the mask's box, and of three
            masks the one with the highest predicted IoU is taken.
        once: look at the whole image alone, whatever further views the model's configuration has.

    Example:
        >>> import numpy as np
        >>> from ultrasam.model.config import CONFIGS
        >>> predictor = Predictor(UltraSam(CONFIGS["nano"]).eval())
        >>> predictor.set_image(np.zeros((120, 160), np.uint8))
        >>> predictor.predict(Prompt(box=(40, 30, 90, 80))).masks.shape
        (1, 1, 120, 160)
    """

    def __init__(
        self,
        model: UltraSam,
        *,
        refine: bool = False,
        once: bool = False,
    ) -> None:
        self.model = model
        self.refine = refine
        self.zoom = 0.0 if once else model.config.zoom
        self.mirror = model.config.mirror and not once
        self._frame: npt.NDArray[np.uint8] | None = None
        self._whole: Letterbox | None = None
        self._kept: dict[Letterbox, ImageEmbedding] = {}

    def set_image(self, scan: ScanLike, *, frame: int = 0) -> None:
        """Encode one frame of a scan, a file or an array [H, W] or [H, W, 3].

        Raises:
            ScanError: the file or array is no scan, or has no such frame.
        """
        pixels = as_scan(scan).frame(frame)
        whole = Letterbox.whole(*pixels.shape[:2], size=self.model.config.image_size)
        self._frame, self._whole, self._kept = pixels, whole, {}
        self._embeddings(self._sides(whole))

    @property
    def embedding(self) -> ImageEmbedding:
        """The image embedding of the whole frame."""
        _, whole = self._ready()
        return self._kept[whole]

    def predict(
        self, prompts: Prompt | Sequence[Prompt], *, multimask: bool | None = None
    ) -> Prediction:
        """Segment one object per prompt.

        Args:
            prompts: one, or N.
            multimask: True gives three candidates to each prompt, the best by predicted IoU first.
                False gives the single mask. None lets a lone click choose among the three, because
                one click may mean a part or the whole.

        Returns:
            N prompts' masks, M = 3 with ``multimask=True``, else 1.

        Raises:
            PromptError: no image is set, a prompt lies outside it, or its mask has another size.
        """
        _, whole = self._ready()
        asked = [prompts] if isinstance(prompts, Prompt) else list(prompts)
        for prompt in asked:
            prompt.check_inside(whole.height, whole.width)
        keep = 3 if multimask else 1
        first = [
            _Job(
                prompt,
                self._views(prompt),
                _lone_click(prompt) if multimask is None else multimask,
                None if prompt.mask is None else self._mask_in_scan(prompt),
            )
            for prompt in asked
        ]
        found = self._decode(first)
        again = {}
        for i, (job, candidate) in enumerate(zip(first, found, strict=True)):
            second = self._second_look(job, candidate, three=bool(multimask))
            if second is not None:
                again[i] = second
        for i, candidate in zip(again, self._decode(list(again.values())), strict=True):
            found[i] = candidate
        return self._prediction([candidate.best(keep) for candidate in found], keep)

    def _ready(self) -> tuple[npt.NDArray[np.uint8], Letterbox]:
        if self._frame is None or self._whole is None:
            raise PromptError("No image is set; call set_image before predict.")
        return self._frame, self._whole

    def _sides(self, view: Letterbox) -> tuple[Letterbox, ...]:
        return (view, view.mirror()) if self.mirror else (view,)

    def _views(self, prompt: Prompt) -> tuple[Letterbox, ...]:
        """What a prompt is first looked at in: the whole frame, and around its box if it has one."""
        _, whole = self._ready()
        zoomed = None
        if self.zoom and prompt.box is not None:
            box = np.asarray(prompt.box, dtype=np.float64)
            zoomed = self._zoomed(box, self.zoom * _BOX_ROOM)
        return self._sides(whole) + (() if zoomed is None else self._sides(zoomed))

    def _zoomed(self, box: npt.NDArray[np.float64], margin: float) -> Letterbox | None:
        """A view around a box; None where the whole frame shows it about as large."""
        _, whole = self._ready()
        view = Letterbox.around(box, whole.height, whole.width, size=whole.size, margin=margin)
        return view if view.scale >= _LEAST_GAIN * whole.scale else None

    def _second_look(self, job: _Job, found: Candidate, *, three: bool) -> _Job | None:
        """Zoom in on what a lone click found, and refine where that is asked for."""
        closer = bool(self.zoom) and _lone_click(job.prompt)
        if not closer and not self.refine:
            return None
        logits = found.best(1).in_scan(0)
        if not (logits > 0).any():
            return None
        prompt, views = job.prompt, job.views
        zoomed = None
        if closer:
            box, point = box_of(logits > 0), np.asarray(prompt.points)[0]
            corners = [np.minimum(box[:2], point), np.maximum(box[2:], point)]
            zoomed = self._zoomed(np.concatenate(corners), self.zoom)
        if zoomed is not None:
            views = self._sides(zoomed)
        elif not self.refine:
            return None
        if self.refine and prompt.box is None:
            prompt = Prompt(box=tuple(box_of(logits > 0)))
        return _Job(prompt, views, self.refine or three, logits)

    def _embeddings(self, views: Sequence[Letterbox]) -> list[ImageEmbedding]:
        """Of distinct views; those of the whole frame and the latest others are kept."""
        _, whole = self._ready()
        new = [view for view in views if view not in self._kept]
        if new:
            self._kept.update(zip(new, self._encode(new).split(), strict=True))
        found = [self._kept[view] for view in views]
        for view in list(self._kept)[len(self._sides(whole)) : -_KEPT]:
            del self._kept[view]
        return found

    def _encode(self, views: Sequence[Letterbox]) -> ImageEmbedding:
        pixels, _ = self._ready()
        model = self.model
        canvas = []
        for view in views:
            image = view.image_to_model(pixels)
            image = np.repeat(image[..., None], 3, axis=-1) if image.ndim == 2 else image
            tensor = torch.from_numpy(np.ascontiguousarray(image)).to(model.device)
            canvas.append(model.normalise(tensor.permute(2, 0, 1)))
        with torch.inference_mode():
            return model.encode(torch.stack(canvas))

    def _decode(self, jobs: Sequence[_Job]) -> list[Candidate]:
        """Decode prompts, each in its views, some at a time."""
        flat = [(job, view) for job in jobs for view in job.views]
        looks: list[Look] = []
        for start in range(0, len(flat), _CHUNK):
            looks += self._decode_chunk(flat[start : start + _CHUNK])
        out, end = [], 0
        for job in jobs:
            start, end = end, end + len(job.views)
            out.append(Candidate(tuple(looks[start:end])))
        return out

    def _decode_chunk(self, flat: Sequence[tuple[_Job, Letterbox]]) -> list[Look]:
        distinct = list(dict.fromkeys(view for _, view in flat))
        images = self._embeddings(distinct)
        index = torch.tensor([distinct.index(view) for _, view in flat], device=self.model.device)
        tensors = pad_prompts([self._tensors(job.prompt, view, job.fed_back) for job, view in flat])
        with torch.inference_mode():
            logits, iou = self.model.decode(
                ImageEmbedding.joined(images),
                tensors.to(self.model.device),
                image_index=index,
                masks=slice(None) if any(job.three for job, _ in flat) else slice(0, 1),
            )
        all_logits, all_iou = logits.float().cpu().numpy(), iou.float().cpu().numpy()
        out = []
        for i, (job, view) in enumerate(flat):
            part = slice(1, 4) if job.three else slice(0, 1)
            out.append(Look(view, all_logits[i, part], all_iou[i, part]))
        return out

    def _tensors(self, prompt: Prompt, view: Letterbox, mask: FloatMap | None) -> PromptTensors:
        """A prompt in model pixels of a view."""
        points = view.points_to_model(np.asarray(prompt.points))
        labels = np.asarray(prompt.labels)
        inside = ((points >= 0) & (points <= view.size)).all(axis=1)
        labels = np.where(inside, labels, ABSENT)
        if prompt.box is None:
            # SAM appends a token that is no point where there is no box.
            points = np.concatenate([points, np.zeros((1, 2))])
            labels = np.append(labels, PADDING)
        else:
            corners = view.boxes_to_model(np.asarray(prompt.box)).reshape(2, 2)
            points = np.concatenate([points, np.clip(corners, 0, view.size)])
            labels = np.concatenate([labels, [TOP_LEFT, BOTTOM_RIGHT]])
        masks = None
        if mask is not None:
            canvas = view.logits_to_model(mask, size=self.model.config.mask_size)
            masks = torch.from_numpy(canvas)[None, None]
        return PromptTensors(
            torch.from_numpy(points.astype(np.float32))[None],
            torch.from_numpy(labels.astype(np.int64))[None],
            masks,
        )

    def _mask_in_scan(self, prompt: Prompt) -> FloatMap:
        """A prompt's mask as logits in the scan's pixels."""
        _, whole = self._ready()
        mask = np.asarray(prompt.mask, dtype=np.float32)
        size = self.model.config.mask_size
        if mask.shape == (whole.height, whole.width):
            return mask
        if mask.shape == (size, size):
            return whole.logits_to_scan(mask)
        raise PromptError(
            f"The prompt's mask is {mask.shape[1]} × {mask.shape[0]}; give a prediction's "
            f"low_res_logits ({size} × {size}) or a mask of the scan's own size "
            f"({whole.width} × {whole.height})."
        )

    def _prediction(self, found: Sequence[Candidate], keep: int) -> Prediction:
        _, whole = self._ready()
        size = self.model.config.mask_size
        count = len(found)
        masks = np.zeros((count, keep, whole.height, whole.width), dtype=bool)
        stability = np.zeros((count, keep), dtype=np.float32)
        low_res = np.zeros((count, keep, size, size), dtype=np.float32)
        iou = np.zeros((count, keep), dtype=np.float32)
        for i, candidate in enumerate(found):
            iou[i] = np.clip(candidate.iou, 0, 1)
            for j in range(keep):
                full = candidate.in_scan(j)
                masks[i, j] = full > 0
                stability[i, j] = (full > 1).sum() / max(1, int((full > -1).sum()))
                low_res[i, j] = candidate.low_res(j, whole, full)
        return Prediction(masks, iou, stability, low_res)


def _lone_click(prompt: Prompt) -> bool:
    return prompt.box is None and prompt.mask is None and len(np.asarray(prompt.points)) == 1
