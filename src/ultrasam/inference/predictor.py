"""Predictor: segment one frame with any number of prompts."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ultrasam.errors import ConfigError, PromptError, UltraSamWarning
from ultrasam.geometry import ViewTransform
from ultrasam.images.pixels import gray
from ultrasam.inference.augmentation import (
    MeanPrediction,
    ViewPrediction,
    first_views,
    with_flip,
)
from ultrasam.inference.postprocessing import (
    clicked_pieces,
    clicks_are_inside,
    scanned_area,
    without,
)
from ultrasam.inference.second_pass import Request, refinement, zoomed_candidates
from ultrasam.inference.segmenter import ScanLike, one_frame
from ultrasam.inference.selection import Candidate, best_masks, candidates_of, in_order
from ultrasam.model.postprocessing import Postprocessor
from ultrasam.model.preprocessing import PromptType, TestTimeAugmentation
from ultrasam.prompts import Float32, Prediction, Prompt, PromptArrays
from ultrasam.runtimes.backend import Backend
from ultrasam.runtimes.backends import as_backend

if TYPE_CHECKING:
    from ultrasam.model.ultrasam import UltraSam

# Prompts and views decoded per call; more would cost memory without a gain in speed.
_CHUNK = 16
# Cached embeddings of zoomed views, which corrective clicks and refinement reuse.
_MAX_CACHED = 64


class Predictor:
    """Segments one frame with prompts; the image is encoded only once.

    Several predictors, each in its own thread, may share one model. Calls of one predictor wait for each
    other, but a prompt refers to the frame that was set last, by whichever thread. If the model's weights
    change after `set_image`, the next call encodes the frame again.

    Args:
        model: a name or path as in `ultrasam.load`, with options (``nano+no-tta``); an `UltraSam` in
            evaluation mode; or a `Backend`.
        refine: use the published test-time refinement (arXiv 2411.16222, 3.2): decode each prompt to the
            single mask, then a second time with this mask fed back and a click replaced by its box, and
            return the best of three masks by predicted IoU. By default off, unless the name has ``+refine``.
        tta: use the test-time augmentation of the weights, if any. By default on, unless the name has
            ``+no-tta``.
        device, precision, runtime: as in `ultrasam.load`, for a model given by name.

    Raises:
        ConfigError: ``refine`` is set but the model does not accept mask prompts; or ``device``,
            ``precision`` or ``runtime`` is given for a model that is already loaded.
        CheckpointError, DeviceError: The model cannot be loaded.

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
        runtime: str | None = None,
    ) -> None:
        if isinstance(model, (str, os.PathLike)):
            from ultrasam.runtimes.opening import open_backend
            from ultrasam.weights.spec import ModelSpec

            spec = ModelSpec.parse(model)
            refine = spec.refine if refine is None else refine
            tta = spec.tta if tta is None else tta
            model = open_backend(spec, runtime=runtime, device=device, precision=precision)
            if spec.kind == "imagenet":
                warnings.warn(
                    f"'{spec.text}' is only an image encoder; its mask decoder has random weights.",
                    UltraSamWarning,
                    stacklevel=2,
                )
        elif (device, precision, runtime) != (None, None, None):
            raise ConfigError(
                "device, precision and runtime apply only to a model given by name; for a loaded model, set "
                "them in ultrasam.load."
            )
        self.backend = as_backend(model)
        self.refine = bool(refine)
        if self.refine and "mask" not in self.accepts:
            raise ConfigError(
                "Refinement needs mask prompts, which this model does not accept; use refine=False."
            )
        self.tta = self.backend.tta if tta is not False else TestTimeAugmentation()
        self.postprocessor: Postprocessor = getattr(self.backend, "postprocessor", Postprocessor())
        self._scanned: npt.NDArray[np.bool_] | None = None
        self._scanned_known = False
        self._frame: npt.NDArray[np.uint8] | None = None
        self._full: ViewTransform | None = None
        self._cache: dict[ViewTransform, Any] = {}
        self._weights: Any = None  # the version of the weights that made the cache
        self._lock = threading.RLock()

    @property
    def accepts(self) -> frozenset[PromptType]:
        """The prompt types that the weights were trained with."""
        return frozenset(self.backend.preprocessor.prompt_types)

    def set_image(
        self,
        scan: ScanLike,
        *,
        frame: int | None = None,
        embeddings: Sequence[Any] | None = None,
    ) -> None:
        """Encode one frame of a scan, a file or an array [H, W] or [H, W, 3].

        Args:
            frame: index of the frame in a cine or volume; None is frame 0, with an `UltraSamWarning` if there
                are others.
            embeddings: what `embeddings` was for this frame, with the same weights; it is then not encoded.

        Raises:
            ConfigError: There is not one embedding for each view.
            ScanError: The file or array cannot be read, or has no such frame.
        """
        pixels = one_frame(scan, frame)
        if self.backend.preprocessor.channels == "gray":
            pixels = gray(pixels)
        full = self.backend.preprocessor.view(*pixels.shape[:2])
        with self._lock:
            self._frame, self._full, self._cache = pixels, full, {}
            self._scanned_known = False
            self._weights = self._weights_version()
            views = with_flip(full, self.tta)
            if embeddings is not None:
                if len(embeddings) != len(views):
                    raise ConfigError(f"Give {len(views)} embeddings, one for each view.")
                self._cache.update(zip(views, embeddings, strict=True))
            self._embeddings(views)

    @property
    def embeddings(self) -> list[Any]:
        """The backend's embeddings of the whole frame and, with test-time augmentation, of its mirror image.

        Raises:
            PromptError: No image is set.
        """
        with self._lock:
            _, full = self._ready()
            self._forget_if_weights_changed()
            return self._embeddings(with_flip(full, self.tta))

    @property
    def embedding(self) -> Any:
        """The first of `embeddings`: that of the whole frame."""
        return self.embeddings[0]

    def predict(
        self,
        prompts: Prompt | Sequence[Prompt],
        *,
        multimask: bool | None = None,
        levels: Sequence[float] = (),
    ) -> Prediction:
        """Segment one object per prompt.

        Args:
            prompts: one, or N.
            multimask: True returns three candidates per prompt, best first by predicted IoU. False returns
                the single mask. None returns one mask, for a single click the best of the three candidates,
                because a click may mean a part or the whole of an object.
            levels: probabilities between 0 and 1, besides 0.5, at which the masks are wanted, too: how far a
                mask's border moves says how sure the network is of it.

        Returns:
            The masks of N prompts; M = 3 with ``multimask=True``, else 1. A mask may be empty, which
            ``Prediction.empty`` shows; its predicted IoU is 0, and it comes after those that are not.

        Raises:
            ConfigError: A level is not between 0 and 1.
            PromptError: No image is set, a prompt lies outside it or is in fractions of its size, a mask has
                the wrong size, or the model does not accept the prompt's type.
        """
        for level in levels:
            if not 0 < level < 1:
                raise ConfigError(f"The level {level:g} is no probability between 0 and 1.")
        with self._lock:
            return self._predict(prompts, multimask, levels)

    def _predict(
        self, prompts: Prompt | Sequence[Prompt], multimask: bool | None, levels: Sequence[float]
    ) -> Prediction:
        _, full = self._ready()
        self._forget_if_weights_changed()
        prompts = [prompts] if isinstance(prompts, Prompt) else list(prompts)
        for prompt in prompts:
            prompt.check_inside(full.height, full.width)
            self._check_accepted(prompt)
        count = 3 if multimask else 1
        requests = [
            Request(
                prompt,
                first_views(prompt, full, self.tta),
                self._first_multimask(prompt, multimask),
                self._mask_input(prompt),
            )
            for prompt in prompts
        ]
        predictions = self._decode(requests)
        plans = [
            self._second_pass(request, candidates_of(first), bool(multimask))
            for request, first in zip(requests, predictions, strict=True)
        ]
        offered = self._decode_again(plans)
        cleaned = [partial(self._cleaned, prompt) for prompt in prompts]
        return best_masks(
            offered, count, full, size=self.backend.config.mask_size, cleaned=cleaned, levels=levels
        )

    def _first_multimask(self, prompt: Prompt, multimask: bool | None) -> bool:
        if self.refine:
            # As published: refined models are trained to give the three masks in the second pass only.
            return False
        return prompt.is_single_click if multimask is None else multimask

    def prompt_arrays(self, prompts: Sequence[Prompt]) -> PromptArrays:
        """Convert prompts to model pixels, in the view of the whole frame."""
        _, full = self._ready()
        return self._arrays([(prompt, full, self._mask_input(prompt)) for prompt in prompts])

    def _arrays(
        self, requests: Sequence[tuple[Prompt, ViewTransform, Float32 | None]]
    ) -> PromptArrays:
        size = self.backend.config.mask_size
        _, full = self._ready()
        parts = []
        for prompt, view, mask in requests:
            as_is = mask is not None and mask.shape == (size, size) != (full.height, full.width)
            part = self.backend.preprocessor.prompt(
                prompt, view, mask=None if as_is else mask, mask_size=size
            )
            parts.append(
                replace(part, masks=mask[None, None]) if mask is not None and as_is else part
            )
        return PromptArrays.concatenate(parts)

    def _ready(self) -> tuple[npt.NDArray[np.uint8], ViewTransform]:
        if self._frame is None or self._full is None:
            raise PromptError("No image is set; call set_image before predict.")
        return self._frame, self._full

    def _weights_version(self) -> object:
        """The version of the weights, if the backend can tell it."""
        version = getattr(self.backend, "weights_version", None)
        return None if version is None else version()

    def _forget_if_weights_changed(self) -> None:
        version = self._weights_version()
        if version != self._weights:
            self._weights, self._cache = version, {}

    def _check_accepted(self, prompt: Prompt) -> None:
        types = {
            "point": len(prompt.points) > 0,
            "box": prompt.box is not None,
            "mask": prompt.mask is not None,
        }
        rejected = [kind for kind, used in types.items() if used and kind not in self.accepts]
        if rejected:
            raise PromptError(
                f"This model accepts only {' and '.join(sorted(self.accepts))} prompts, not {rejected[0]} "
                "prompts."
            )

    def _second_pass(
        self, request: Request, first: list[Candidate], multimask: bool
    ) -> Sequence[Candidate | Request]:
        """Of a prompt's first pass, what is kept as it is, and what is decoded again."""
        _, full = self._ready()
        if self.refine:
            return refinement(request, first, full, self.tta)
        if self.tta.zoom and request.prompt.is_single_click:
            return zoomed_candidates(request, first, full, self.tta, multimask=multimask)
        return first

    def _decode_again(
        self, plans: Sequence[Sequence[Candidate | Request]]
    ) -> list[list[Candidate]]:
        """The candidates of each prompt after its second pass."""
        requests = [step for plan in plans for step in plan if isinstance(step, Request)]
        refined = iter(self._decode(requests))
        offered = []
        for plan in plans:
            candidates: list[Candidate] = []
            for step in plan:
                candidates += candidates_of(next(refined)) if isinstance(step, Request) else [step]
            several = len(plan) > 1 and any(isinstance(step, Request) for step in plan)
            offered.append(in_order(candidates) if several else candidates)
        return offered

    def _embeddings(self, views: Sequence[ViewTransform]) -> list[Any]:
        """Embeddings of distinct views; those of the whole frame and the latest others stay cached."""
        pixels, full = self._ready()
        new = [view for view in views if view not in self._cache]
        if new:
            images = np.stack([self.backend.preprocessor.image(pixels, view) for view in new])
            self._cache.update(zip(new, self.backend.encode(images), strict=True))
        embeddings = [self._cache[view] for view in views]
        for view in list(self._cache)[len(with_flip(full, self.tta)) : -_MAX_CACHED]:
            del self._cache[view]
        return embeddings

    def _decode(self, requests: Sequence[Request]) -> list[MeanPrediction]:
        """Decode each prompt in its views, in chunks."""
        flat = [(request, view) for request in requests for view in request.views]
        decoded: list[ViewPrediction] = []
        for start in range(0, len(flat), _CHUNK):
            decoded += self._decode_chunk(flat[start : start + _CHUNK])
        out, end = [], 0
        for request in requests:
            start, end = end, end + len(request.views)
            out.append(MeanPrediction(tuple(decoded[start:end])))
        return out

    def _decode_chunk(self, flat: Sequence[tuple[Request, ViewTransform]]) -> list[ViewPrediction]:
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

    @property
    def _only_full_view(self) -> bool:
        return not self.tta.zoom and not self.tta.flip

    def _mask_input(self, prompt: Prompt) -> Float32 | None:
        """A prompt's mask as a request takes it.

        Where the whole frame is the only view, low-res logits go back as they came, padding included, as in
        SAM's and UltraSam's code; other views take them by way of the scan.
        """
        mask = prompt.mask
        _, full = self._ready()
        size = self.backend.config.mask_size
        if mask is None or mask.shape == (full.height, full.width):
            return mask
        if mask.shape == (size, size):
            return mask if self._only_full_view else full.logits_to_scan(mask)
        raise PromptError(
            f"The prompt's mask is {mask.shape[1]} × {mask.shape[0]}; give the low_res_logits of a "
            f"prediction ({size} × {size}) or a mask of the scan's size ({full.width} × {full.height})."
        )

    def _cleaned(self, prompt: Prompt, logits: Float32) -> Float32:
        """Logits in the scan's pixels without what the weights say is to be removed from masks of clicks.

        A box says by itself where its object is, and a black structure may look like none of the scan.
        """
        mask, settings = logits > 0, self.postprocessor
        if prompt.box is not None or not len(prompt.points) or not mask.any():
            return logits
        keep = mask
        if settings.within_scan:
            if not self._scanned_known:
                frame, _ = self._ready()
                self._scanned, self._scanned_known = scanned_area(frame), True
            area = self._scanned
            if area is not None and clicks_are_inside(area, prompt) and (mask & area).any():
                keep = mask & area
        if settings.clicked_piece:
            keep = clicked_pieces(keep, prompt)
        return logits if keep is mask else without(logits, keep)
