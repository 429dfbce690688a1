"""A drop-in replacement for segment-anything: change the import, keep the code.

Replace ``from segment_anything import SamPredictor, sam_model_registry`` by
``from ultrasam.compat import SamPredictor, sam_model_registry``. Arguments and return values follow
segment-anything 1.0; points and boxes are pixel indices, as there. Invalid prompts raise `PromptError`.
"""

from __future__ import annotations

from ultrasam.compat.automatic import SamAutomaticMaskGenerator
from ultrasam.compat.parts import ResizeLongestSide
from ultrasam.compat.predictor import SamPredictor
from ultrasam.compat.sam import (
    Sam,
    build_sam,
    build_sam_vit_b,
    build_sam_vit_h,
    build_sam_vit_l,
    sam_model_registry,
)

__all__ = [
    "ResizeLongestSide", "Sam", "SamAutomaticMaskGenerator", "SamPredictor", "build_sam",
    "build_sam_vit_b", "build_sam_vit_h", "build_sam_vit_l", "sam_model_registry",
]  # fmt: skip
