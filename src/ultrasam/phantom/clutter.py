"""What covers the tissue in the whole picture: haze, and borders that are more ragged than their masks."""

from __future__ import annotations

import cv2
import numpy as np

from ultrasam.phantom.tissue import Scene, depth_map, smooth_noise


def draw_haze(rng: np.random.Generator, scene: Scene) -> None:
    """Add clutter: strongest near the probe, patchy, and never quite absent."""
    depth = np.clip(depth_map(scene), 0, 1)
    level = -rng.uniform(13, 28) + smooth_noise(rng, scene.shape, 50, 50) * rng.uniform(0.5, 3)
    level = level + rng.uniform(4, 24) * np.exp(-depth / rng.uniform(0.04, 0.22))
    power = 10 ** (scene.echo_db / 10) + 10 ** (level / 10)
    scene.echo_db[:] = 10 * np.log10(power)


def roughen(rng: np.random.Generator, scene: Scene) -> None:
    """Shift the tissue by up to a few pixels, since borders are ragged where annotators draw smooth lines."""
    size = rng.uniform(0, 2.4)
    grid = np.mgrid[0 : scene.shape[0], 0 : scene.shape[1]].astype(np.float32)
    x = grid[1] + smooth_noise(rng, scene.shape, 11, 8) * size
    y = grid[0] + smooth_noise(rng, scene.shape, 11, 8) * size
    scene.echo_db[:] = cv2.remap(scene.echo_db, x, y, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
    scene.specular[:] = cv2.remap(
        scene.specular, x, y, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE
    )
