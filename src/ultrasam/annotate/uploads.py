"""Images that other tools send, or point to, which are no part of the project, with the latest embeddings."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from ultrasam.annotate.segmentation import Segmentation
from ultrasam.prompts import Prediction, Prompt
from ultrasam.serve.uploads import Uploads

_MOST_PREDICTORS = 4


class SegmentedUploads(Uploads):
    """Keeps the latest uploads, with the embeddings of the latest frames.

    An id is random, so that only who has sent an image knows it.

    Args:
        segmentation: the annotator's, whose network predicts.
        most_bytes, idle_s: as in `Uploads`.
    """

    def __init__(self, segmentation: Segmentation, **limits: Any) -> None:
        super().__init__(new_id=lambda digest: secrets.token_urlsafe(16), **limits)
        self._segmentation = segmentation
        self._predictors: OrderedDict[tuple[str, int, bool], Any] = OrderedDict()

    def remove(self, id: str) -> None:
        """Forget an upload; nothing happens if it does not exist."""
        with self._lock:
            super().remove(id)
            for key in [key for key in self._predictors if key[0] == id]:
                del self._predictors[key]

    def predict(
        self, id: str, frame: int, prompts: Prompt | Sequence[Prompt], *, multimask: bool | None
    ) -> Prediction:
        """The masks of prompts in a frame, best first; call it on the worker's thread.

        Raises:
            NotFoundError: There is no such upload.
            PromptError, ScanError, CheckpointError: As in `Segmentation.predict`.
        """
        from ultrasam.inference.predictor import Predictor

        upload = self.get(id)
        backend, views = self._segmentation.backend, self._segmentation.views
        key = id, frame, views
        predictor = self._predictors.get(key)
        if predictor is None or predictor.backend is not backend:
            predictor = Predictor(backend, tta=views)
            predictor.set_image(upload.scan.frame(frame))
            with self._lock:
                self._predictors[key] = predictor
                while len(self._predictors) > _MOST_PREDICTORS:
                    self._predictors.popitem(last=False)
        prediction: Prediction = predictor.predict(prompts, multimask=multimask)
        return prediction
