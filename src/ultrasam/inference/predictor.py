"""Predictor: one frame, any number of prompts, masks in the scan's own pixels."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from ultrasam.errors import ConfigError, PromptError, UltraSamWarning
from ultrasam.geometry import ViewTransform
from ultrasam.images.masks import bounding_box
from ultrasam.inference.augmentation import (
    MeanPrediction,
    ViewPrediction,
    first_views,
    flips,
    zoomed,
)
from ultrasam.inference.segmenter import ScanLike, as_scan
from ultrasam.model.preprocessing import PromptType, TestTimeAugmentation
from ultrasam.prompts import Float32, Prediction, Prompt, PromptArrays
from ultrasam.runtimes.backend import Backend

if TYPE_CHECKING:
    from ultrasam.model.ultrasam import UltraSam

# Views encoded and prompts decoded in one call: past this, memory grows and speed does not.
_CHUNK = 16
# Zoomed views whose embeddings are kept: corrections and refinement come back to them.
_MAX_CACHED = 64


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    """One prompt to be decoded in some views.

    Attributes:
        multimask: give the three masks of an ambiguous prompt, not the single one.
        mask_input: logits in the scan's pixels, or None.
    """

    prompt: Prompt
    views: tuple[ViewTransform, ...]
    multimask: bool
    mask_input: Float32 | None


class Predictor:
    """Segment what prompts point at in one frame; the image is encoded once.

    A predictor holds the frame that is set and serves one thread; several predictors, each in its own thread,
    may share one model.

    Args:
        model: a name or path, as `ultrasam.load` takes it, with options (``nano+no-tta``); an `UltraSam` in
            evaluation mode; or a `Backend`.
        refine: the published test-time refinement (arXiv 2411.16222, 3.2): each prompt is decoded a
            second time with its mask fed back and its click replaced by the mask's box, and of three
            masks the one with the highest predicted IoU is taken. By default as the name says, else off.
        tta: test-time augmentation, where the weights have it. By default as the name says, else on.
        device, precision: of a model given by name, as `ultrasam.load` has them.

    Raises:
        ConfigError: refinement of a model that does not accept mask prompts; a device or precision for a
            model that is loaded already.

    Example:
        >>> import numpy as np
        >>> predictor = Predictor("random:nano", device="cpu")
        >>> predictor.set_image(np.zeros((120, 160), np.uint8))
        >>> predictor.predict(Prompt(box=(40, 30, 90, 80))).masks.shape
        (1, 1, 120, 160)
    """

    def __init__(
        self,
        model: Backend | UltraSam | str | os.PathLike[str] = "nano",
        *,
        refine: bool | None = None,
        tta: bool | None = None,
        device: str | None = None,
        precision: str | None = None,
    ) -> None:
        if isinstance(model, (str, os.PathLike)):
            from ultrasam.weights.load import load_model
            from ultrasam.weights.spec import ModelSpec

            spec = ModelSpec.parse(model)
            refine = spec.refine if refine is None else refine
            tta = spec.tta if tta is None else tta
            model = load_model(spec, device=device, precision=precision)
            if spec.kind == "imagenet":
                warnings.warn(
                    f"'{spec.text}' is an image encoder alone; its mask decoder has random weights.",
                    UltraSamWarning,
                    stacklevel=2,
                )
        elif device is not None or precision is not None:
            raise ConfigError(
                "device and precision are for a model given by name; this one is loaded already, so choose "
                "them in ultrasam.load."
            )
        self.backend = _backend(model)
        self.refine = bool(refine)
        if self.refine and "mask" not in self.accepts:
            raise ConfigError(
                "Refinement feeds masks back, and this model does not accept mask prompts; leave refine out."
            )
        self.tta = self.backend.tta if tta is not False else TestTimeAugmentation()
        self._frame: npt.NDArray[np.uint8] | None = None
        self._full: ViewTransform | None = None
        self._embedded: dict[ViewTransform, Any] = {}

    @property
    def accepts(self) -> frozenset[PromptType]:
        """The kinds of prompt that the weights were trained with."""
        return frozenset(self.backend.preprocessor.prompt_types)

    def set_image(self, scan: ScanLike, *, frame: int = 0) -> None:
        """Encode one frame of a scan, a file or an array [H, W] or [H, W, 3].

        Raises:
            ScanError: the file or array is no scan, or has no such frame.
        """
        pixels = as_scan(scan).frame(frame)
        full = self.backend.preprocessor.view(*pixels.shape[:2])
        self._frame, self._full, self._embedded = pixels, full, {}
        self._embeddings(flips(full, self.tta))

    @property
    def embedding(self) -> Any:
        """The backend's embedding of the whole frame."""
        _, full = self._ready()
        return self._embedded[full]

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
            PromptError: no image is set; a prompt lies outside it, its mask has another size, or the model
                does not accept its kind.
        """
        _, full = self._ready()
        given = [prompts] if isinstance(prompts, Prompt) else list(prompts)
        for prompt in given:
            prompt.check_inside(full.height, full.width)
            self._check_accepted(prompt)
        keep = 3 if multimask else 1
        requests = [
            _Request(
                prompt,
                first_views(prompt, full, self.tta),
                prompt.is_single_click if multimask is None else multimask,
                None if prompt.mask is None else self._mask_in_scan(prompt.mask),
            )
            for prompt in given
        ]
        found = self._decode(requests)
        second = {}
        for i, (request, first) in enumerate(zip(requests, found, strict=True)):
            follow_up = self._second_pass(request, first, multimask=bool(multimask))
            if follow_up is not None:
                second[i] = follow_up
        for i, prediction in zip(second, self._decode(list(second.values())), strict=True):
            found[i] = prediction
        return self._prediction([prediction.best(keep) for prediction in found], keep)

    def prompt_arrays(self, prompts: Sequence[Prompt]) -> PromptArrays:
        """Prompts in the model's pixels, in the view of the whole frame."""
        _, full = self._ready()
        return self._arrays(
            [
                (prompt, full, None if prompt.mask is None else self._mask_in_scan(prompt.mask))
                for prompt in prompts
            ]
        )

    def _arrays(
        self, given: Sequence[tuple[Prompt, ViewTransform, Float32 | None]]
    ) -> PromptArrays:
        size = self.backend.config.mask_size
        to_model = self.backend.preprocessor.prompt
        return PromptArrays.concatenate(
            [to_model(prompt, view, mask=mask, mask_size=size) for prompt, view, mask in given]
        )

    def _ready(self) -> tuple[npt.NDArray[np.uint8], ViewTransform]:
        if self._frame is None or self._full is None:
            raise PromptError("No image is set; call set_image before predict.")
        return self._frame, self._full

    def _check_accepted(self, prompt: Prompt) -> None:
        given = {
            "point": len(prompt.points) > 0,
            "box": prompt.box is not None,
            "mask": prompt.mask is not None,
        }
        refused = [kind for kind, there in given.items() if there and kind not in self.accepts]
        if refused:
            raise PromptError(
                f"This model accepts {' and '.join(sorted(self.accepts))} prompts only, not {refused[0]} "
                "prompts."
            )

    def _second_pass(
        self, request: _Request, first: MeanPrediction, *, multimask: bool
    ) -> _Request | None:
        """Zoom in on what a lone click found, and refine where that is asked for."""
        _, full = self._ready()
        closer = bool(self.tta.zoom) and request.prompt.is_single_click
        if not closer and not self.refine:
            return None
        logits = first.best(1).in_scan(0)
        if not (logits > 0).any():
            return None
        prompt, views = request.prompt, request.views
        around: tuple[ViewTransform, ...] = ()
        if closer:
            box, point = bounding_box(logits > 0), prompt.points[0]
            corners = [np.minimum(box[:2], point), np.maximum(box[2:], point)]
            around = zoomed(np.concatenate(corners), full, self.tta)
        if around:
            views = around
        elif not self.refine:
            return None
        if self.refine and prompt.box is None:
            prompt = Prompt(box=bounding_box(logits > 0))
        return _Request(prompt, views, self.refine or multimask, logits)

    def _embeddings(self, views: Sequence[ViewTransform]) -> list[Any]:
        """Of distinct views; those of the whole frame and the latest others are kept."""
        pixels, full = self._ready()
        new = [view for view in views if view not in self._embedded]
        if new:
            images = np.stack([self.backend.preprocessor.image(pixels, view) for view in new])
            self._embedded.update(zip(new, self.backend.encode(images), strict=True))
        found = [self._embedded[view] for view in views]
        for view in list(self._embedded)[len(flips(full, self.tta)) : -_MAX_CACHED]:
            del self._embedded[view]
        return found

    def _decode(self, requests: Sequence[_Request]) -> list[MeanPrediction]:
        """Decode prompts, each in its views, some at a time."""
        flat = [(request, view) for request in requests for view in request.views]
        found: list[ViewPrediction] = []
        for start in range(0, len(flat), _CHUNK):
            found += self._decode_chunk(flat[start : start + _CHUNK])
        out, end = [], 0
        for request in requests:
            start, end = end, end + len(request.views)
            out.append(MeanPrediction(tuple(found[start:end])))
        return out

    def _decode_chunk(self, flat: Sequence[tuple[_Request, ViewTransform]]) -> list[ViewPrediction]:
        distinct = list(dict.fromkeys(view for _, view in flat))
        logits, iou = self.backend.decode(
            self._embeddings(distinct),
            self._arrays([(r.prompt, view, r.mask_input) for r, view in flat]),
            np.array([distinct.index(view) for _, view in flat], dtype=np.int64),
            multimask=any(request.multimask for request, _ in flat),
        )
        parts = [slice(1, 4) if request.multimask else slice(0, 1) for request, _ in flat]
        return [
            ViewPrediction(view, logits[i, part], iou[i, part])
            for i, ((_, view), part) in enumerate(zip(flat, parts, strict=True))
        ]

    def _mask_in_scan(self, mask: Float32) -> Float32:
        """A prompt's mask as logits in the scan's pixels."""
        _, full = self._ready()
        size = self.backend.config.mask_size
        if mask.shape == (full.height, full.width):
            return mask
        if mask.shape == (size, size):
            return full.logits_to_scan(mask)
        raise PromptError(
            f"The prompt's mask is {mask.shape[1]} × {mask.shape[0]}; give a prediction's "
            f"low_res_logits ({size} × {size}) or a mask of the scan's own size "
            f"({full.width} × {full.height})."
        )

    def _prediction(self, found: Sequence[MeanPrediction], keep: int) -> Prediction:
        _, full = self._ready()
        size = self.backend.config.mask_size
        count = len(found)
        masks = np.zeros((count, keep, full.height, full.width), dtype=bool)
        stability = np.zeros((count, keep), dtype=np.float32)
        low_res = np.zeros((count, keep, size, size), dtype=np.float32)
        iou = np.zeros((count, keep), dtype=np.float32)
        for i, prediction in enumerate(found):
            iou[i] = np.clip(prediction.predicted_iou, 0, 1)
            for j in range(keep):
                logits = prediction.in_scan(j)
                masks[i, j] = logits > 0
                stability[i, j] = (logits > 1).sum() / max(1, int((logits > -1).sum()))
                low_res[i, j] = prediction.low_res(j, full, logits)
        return Prediction(masks, iou, stability, low_res)


def _backend(model: Backend | UltraSam) -> Backend:
    # A network can only be given where PyTorch is loaded already; other backends do without it.
    network = getattr(sys.modules.get("ultrasam.model.ultrasam"), "UltraSam", None)
    if network is not None and isinstance(model, network):
        from ultrasam.runtimes.torch_backend import TorchBackend

        return TorchBackend(cast("UltraSam", model))
    if not isinstance(model, Backend):
        raise ConfigError(
            f"Predictor takes a model's name, an UltraSam or a Backend, not a {type(model).__name__}."
        )
    return model
