"""Frames: the frames of an image on the server as an array, each fetched when napari shows it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ultrasam.images.pixels import Frame, gray

_KEPT = 64  # frames


class Frames:
    """An array [T, H, W] of gray values, uint8; indexing it fetches the frames that are asked for.

    Args:
        fetch: returns frame k, [H, W] or [H, W, 3].
        shape: T, H, W.
    """

    def __init__(self, fetch: Callable[[int], Frame], shape: tuple[int, int, int]) -> None:
        self._fetch, self.shape = fetch, shape
        self.dtype, self.ndim = np.dtype(np.uint8), 3
        self._kept: OrderedDict[int, npt.NDArray[np.uint8]] = OrderedDict()

    @property
    def size(self) -> int:
        """How many values it has."""
        return int(np.prod(self.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> npt.NDArray[np.uint8]:
        first, *rest = key if isinstance(key, tuple) else (key,)
        if first is Ellipsis:
            first, rest = slice(None), [Ellipsis, *rest]
        if isinstance(first, (int, np.integer)):
            return np.asarray(self._frame(range(len(self))[int(first)])[tuple(rest)])
        indices = np.arange(len(self))[first]
        stack = np.stack([self._frame(int(index)) for index in indices])
        return np.asarray(stack[(slice(None), *rest)])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(self[:], dtype)

    def _frame(self, index: int) -> npt.NDArray[np.uint8]:
        found = self._kept.get(index)
        if found is None:
            found = self._kept[index] = gray(self._fetch(index))
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return found
