"""Backend: the interface between a network in some runtime and the code that uses it.

Inputs and outputs are NumPy arrays, so a runtime needs no PyTorch and may be on another machine. Views,
chunking and placing masks in the scan are in `ultrasam.inference`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from ultrasam.model.config import ModelConfig
from ultrasam.model.preprocessing import Preprocessor, TestTimeAugmentation
from ultrasam.prompts import Float32, IntArray, PromptArrays


@runtime_checkable
class Backend(Protocol):
    """A promptable network, ready to run.

    A backend whose weights may change also has ``weights_version()``, which returns another value after a
    change; predictors then encode the frame again. A backend whose weights say what is to be removed from
    masks has a ``postprocessor``. One whose embeddings can be kept in files has ``embedding_to_arrays`` and
    ``embedding_from_arrays``.

    Attributes:
        config: sizes of the network; callers need ``mask_size``.
        preprocessor: prepares the ``pixels`` and ``prompts`` that the methods take.
        tta: the test-time augmentation of the weights.
    """

    @property
    def config(self) -> ModelConfig: ...
    @property
    def preprocessor(self) -> Preprocessor: ...
    @property
    def tta(self) -> TestTimeAugmentation: ...

    def encode(self, pixels: Float32) -> Sequence[Any]:
        """Encode preprocessed images [B, 3, S, S] as B embeddings, for this backend's ``decode``."""

    def decode(
        self,
        embeddings: Sequence[Any],
        prompts: PromptArrays,
        image_index: IntArray,
        *,
        multimask: bool,
    ) -> tuple[Float32, Float32]:
        """Decode N prompts on B embedded images.

        Args:
            image_index: [N], the image of each prompt.
            multimask: return four masks (the single mask, then the three candidates of an ambiguous prompt);
                otherwise only the single mask.

        Returns:
            Low-res logits [N, 4 or 1, M, M] (M is ``config.mask_size``) and predicted IoU [N, 4 or 1].
        """
