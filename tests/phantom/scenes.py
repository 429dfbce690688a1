"""Scenes for the tests of single painters."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np

from ultrasam.phantom.tissue import BoolMap, Scene


def blank_scene(shape: tuple[int, int] = (240, 260)) -> Scene:
    """Tissue of 0 dB all over the image, insonated straight from above."""
    zeros = np.zeros(shape, np.float32)
    beam = np.stack([zeros, zeros + 1])
    return Scene(zeros.copy(), zeros.copy(), zeros.copy(), np.ones(shape, bool), beam)


def painted(
    painter: Callable[[np.random.Generator, Scene], None], count: int
) -> Iterator[tuple[Scene, dict[str, list[BoolMap]]]]:
    """Scenes of the seeds 0 to ``count``, with the masks of each name that have 64 pixels or more."""
    for seed in range(count):
        scene = blank_scene()
        painter(np.random.default_rng(seed), scene)
        named: dict[str, list[BoolMap]] = {}
        for name, mask in scene.instances:
            if mask.sum() >= 64:
                named.setdefault(name, []).append(mask)
        yield scene, named


def ring(mask: BoolMap, near: int, far: int) -> BoolMap:
    """The pixels from ``near`` to ``far`` pixels outside a mask."""
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    return np.asarray((distance > near) & (distance <= far), bool)
