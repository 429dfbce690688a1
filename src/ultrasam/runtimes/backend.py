"""Backend: the seam between a network in some runtime and everything that uses one.

Arrays go in and come out, so that a runtime without PyTorch, or one on another machine, can stand behind it.
Views, chunks and the placing of masks in the scan are above this seam, in `ultrasam.inference`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from ultrasam.model.config import ModelConfig
from ultrasam.model.preprocessing import Preprocessor, TestTimeAugmentation
from ultrasam.prompts import Float32, IntArray, PromptArrays


@runtime_checkable
class Backend(Protocol):
    """A promptable network that is ready to run.

    Attributes:
        config: sizes; of them a user of this seam needs ``mask_size``.
        preprocessor: makes ``pixels`` and ``prompts`` of what a user has.
        tta: the test-time augmentation that suits the weights.
    """

    @property
    def config(self) -> ModelConfig: ...
    @property
    def preprocessor(self) -> Preprocessor: ...
    @property
    def tta(self) -> TestTimeAugmentation: ...

    def encode(self, pixels: Float32) -> Sequence[Any]:
        """Preprocessed images [B, 3, S, S] to B embeddings, which this backend's ``decode`` takes back."""

    def decode(
        self,
        embeddings: Sequence[Any],
        prompts: PromptArrays,
        image_index: IntArray,
        *,
        multimask: bool,
    ) -> tuple[Float32, Float32]:
        """N prompts on B embedded images.

        Args:
            image_index: [N], the image of each prompt.
            multimask: all four masks: the single one, then the three of an ambiguous prompt; else the single
                one alone.

        Returns:
            Low-res logits [N, 4 or 1, M, M] (M is ``config.mask_size``) and predicted IoU [N, 4 or 1].
        """
