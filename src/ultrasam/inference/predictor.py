"""Predictor: one frame, any number of prompts, masks in the scan's own pixels.

The image is encoded once. A small model (``ModelConfig.zoom``) takes a second, zoomed view of what a
lone click found, which costs it one more run of its encoder per click.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from ultrasam.errors import PromptError
from ultrasam.geometry import Letterbox
from ultrasam.images.masks import box_of
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

FloatMap = npt.NDArray[np.float32]

_CHUNK = 16  # prompts decoded at once: past this, memory grows and speed does not
_MARGIN = 1.6  # side of a zoomed view over the object's longer side, where the model names none
_LEAST_GAIN = 1.15  # a second view must enlarge the object by this to be worth its cost


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    """Masks of one prompt in one view: logits [M, S, S] and predicted IoU [M]."""

    view: Letterbox
    logits: FloatMap
    iou: FloatMap


class Predictor:
    """Segment what prompts point at in one frame.

    Args:
        model: in evaluation mode, on any device; its encoder may hold bfloat16 weights.
        refine: the published test-time refinement (arXiv 2411.16222, 3.2): each prompt is decoded a
            second time with its mask fed back and its click replaced by the mask's box, and of three
            masks the one with the highest predicted IoU is taken.
        zoom: take a second, zoomed view of what a lone click found, where a click says least of an
            object's size; None follows the model's configuration.

    Example:
        >>> import numpy as np
        >>> from ultrasam.model.config import CONFIGS
        >>> predictor = Predictor(UltraSam(CONFIGS["nano"]).eval())
        >>> predictor.set_image(np.zeros((120, 160), np.uint8))
        >>> predictor.predict(Prompt(box=(40, 30, 90, 80))).masks.shape
        (1, 1, 120, 160)
    """

    def __init__(self, model: UltraSam, *, refine: bool = False, zoom: bool | None = None) -> None:
        self.model = model
        self.refine = refine
        self.margin = model.config.zoom if zoom is not False else 0.0
        if zoom and not self.margin:
            self.margin = _MARGIN
        self._frame: npt.NDArray[np.uint8] | None = None
        self._whole: Letterbox | None = None
        self._embedding: ImageEmbedding | None = None

    def set_image(self, scan: ScanLike, *, frame: int = 0) -> None:
        """Encode one frame of a scan, a file or an array [H, W] or [H, W, 3].

        Raises:
            ScanError: the file or array is no scan, or has no such frame.
        """
        pixels = as_scan(scan).frame(frame)
        whole = Letterbox.whole(*pixels.shape[:2], size=self.model.config.image_size)
        self._embedding = self._encode(pixels, [whole])
        self._frame, self._whole = pixels, whole

    @property
    def embedding(self) -> ImageEmbedding:
        """The image embedding of the whole frame."""
        return self._ready()[2]

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
        frame, whole, embedding = self._ready()
        asked = [prompts] if isinstance(prompts, Prompt) else list(prompts)
        for prompt in asked:
            prompt.check_inside(whole.height, whole.width)
        if not asked:
            return self._prediction([], 3 if multimask else 1)

        wants_three = [_lone_click(p) if multimask is None else multimask for p in asked]
        found: list[_Candidate] = []
        for start in range(0, len(asked), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            views = [whole] * len(asked[chunk])
            found += self._decode_chunk(asked[chunk], views, wants_three[chunk], frame, embedding)
        for start in range(0, len(asked), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            found[chunk] = self._second_looks(
                asked[chunk], found[chunk], frame, embedding, three=bool(multimask)
            )
        keep = 3 if multimask else 1
        return self._prediction([_best(candidate, keep) for candidate in found], keep)

    def _ready(self) -> tuple[npt.NDArray[np.uint8], Letterbox, ImageEmbedding]:
        if self._frame is None or self._whole is None or self._embedding is None:
            raise PromptError("No image is set; call set_image before predict.")
        return self._frame, self._whole, self._embedding

    def _encode(self, pixels: npt.NDArray[np.uint8], views: Sequence[Letterbox]) -> ImageEmbedding:
        model = self.model
        canvas = []
        for view in views:
            image = view.image_to_model(pixels)
            image = np.repeat(image[..., None], 3, axis=-1) if image.ndim == 2 else image
            tensor = torch.from_numpy(np.ascontiguousarray(image)).to(model.device)
            canvas.append(model.normalise(tensor.permute(2, 0, 1)))
        with torch.inference_mode():
            return model.encode(torch.stack(canvas))

    def _zoomed(self, whole: Letterbox, prompt: Prompt, logits: FloatMap) -> Letterbox:
        """A view around what a click found; the whole frame where that shows it as large."""
        box, point = box_of(logits > 0), np.asarray(prompt.points)[0]
        low, high = np.minimum(box[:2], point), np.maximum(box[2:], point)
        view = Letterbox.around(
            np.concatenate([low, high]),
            whole.height,
            whole.width,
            size=whole.size,
            margin=self.margin,
        )
        return view if view.scale >= _LEAST_GAIN * whole.scale else whole

    def _decode_chunk(
        self,
        prompts: Sequence[Prompt],
        views: Sequence[Letterbox],
        wants_three: Sequence[bool],
        frame: npt.NDArray[np.uint8],
        embedding: ImageEmbedding,
        fed_back: Sequence[FloatMap | None] | None = None,
    ) -> list[_Candidate]:
        """Decode prompts, each in its view; ``fed_back`` are logits in the scan's pixels."""
        _, whole, _ = self._ready()
        distinct = list(dict.fromkeys(views))
        zoomed = [view for view in distinct if view != whole]
        images = embedding
        if zoomed:
            images = self._encode(frame, zoomed)
            if len(zoomed) < len(distinct):
                images = _joined(embedding, images)
        order = [whole, *zoomed] if len(zoomed) < len(distinct) else zoomed
        index = torch.tensor([order.index(view) for view in views], device=self.model.device)
        masks = fed_back or [None if p.mask is None else self._mask_in_scan(p) for p in prompts]
        tensors = pad_prompts(
            [
                self._tensors(p, view, mask)
                for p, view, mask in zip(prompts, views, masks, strict=True)
            ]
        ).to(self.model.device)
        with torch.inference_mode():
            logits, iou = self.model.decode(
                images,
                tensors,
                image_index=index,
                masks=slice(None) if any(wants_three) else slice(0, 1),
            )
        all_logits, all_iou = logits.float().cpu().numpy(), iou.float().cpu().numpy()
        out = []
        for i, view in enumerate(views):
            part = slice(1, 4) if wants_three[i] else slice(0, 1)
            out.append(_Candidate(view, all_logits[i, part], all_iou[i, part]))
        return out

    def _second_looks(
        self,
        prompts: Sequence[Prompt],
        found: Sequence[_Candidate],
        frame: npt.NDArray[np.uint8],
        embedding: ImageEmbedding,
        *,
        three: bool,
    ) -> list[_Candidate]:
        """Zoom in on what lone clicks found, and refine where that is asked for."""
        _, whole, _ = self._ready()
        out = list(found)
        again: list[int] = []
        views: list[Letterbox] = []
        fed: list[FloatMap | None] = []
        asked: list[Prompt] = []
        for i, (prompt, candidate) in enumerate(zip(prompts, found, strict=True)):
            best = _best(candidate, 1)
            logits = best.view.logits_to_scan(best.logits[0])
            if not (logits > 0).any():
                continue
            view = whole
            if self.margin and _lone_click(prompt):
                view = self._zoomed(whole, prompt, logits)
            if view == whole and not self.refine:
                continue
            if self.refine and prompt.box is None:
                prompt = Prompt(box=tuple(box_of(logits > 0)))
            again.append(i)
            views.append(view)
            fed.append(logits)
            asked.append(prompt)
        if again:
            wants = [self.refine or three] * len(again)
            second = self._decode_chunk(asked, views, wants, frame, embedding, fed)
            for i, candidate in zip(again, second, strict=True):
                out[i] = candidate
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
        _, whole, _ = self._ready()
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

    def _prediction(self, found: Sequence[_Candidate], keep: int) -> Prediction:
        _, whole, _ = self._ready()
        size = self.model.config.mask_size
        count = len(found)
        masks = np.zeros((count, keep, whole.height, whole.width), dtype=bool)
        stability = np.zeros((count, keep), dtype=np.float32)
        low_res = np.zeros((count, keep, size, size), dtype=np.float32)
        iou = np.zeros((count, keep), dtype=np.float32)
        for i, candidate in enumerate(found):
            iou[i] = np.clip(candidate.iou, 0, 1)
            for j, logits in enumerate(candidate.logits):
                full = candidate.view.logits_to_scan(logits)
                masks[i, j] = full > 0
                stability[i, j] = (full > 1).sum() / max(1, int((full > -1).sum()))
                low_res[i, j] = (
                    logits if candidate.view == whole else whole.logits_to_model(full, size=size)
                )
        return Prediction(masks, iou, stability, low_res)


def _lone_click(prompt: Prompt) -> bool:
    return prompt.box is None and prompt.mask is None and len(np.asarray(prompt.points)) == 1


def _best(candidate: _Candidate, count: int) -> _Candidate:
    order = np.argsort(-candidate.iou, kind="stable")[:count]
    return replace(candidate, logits=candidate.logits[order], iou=candidate.iou[order])


def _joined(a: ImageEmbedding, b: ImageEmbedding) -> ImageEmbedding:
    return ImageEmbedding(
        torch.cat([a.embedding, b.embedding]),
        tuple(torch.cat(pair) for pair in zip(a.fine, b.fine, strict=True)),
    )
