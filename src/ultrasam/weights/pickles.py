"""Read PyTorch's pickle files without executing code from them.

Files are opened with torch's ``weights_only`` reader. Files that it rejects are read by an unpickler that
builds only tensors, NumPy arrays and plain containers, and replaces all other objects with inert
placeholders.
"""

from __future__ import annotations

import codecs
import pickle
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from ultrasam.errors import CheckpointError, one_line


def read_pickle(path: Path) -> Any:
    """Read a ``.pth``, ``.pt``, ``.bin`` or ``.ckpt`` file, on the CPU.

    Raises:
        CheckpointError: The file is not a checkpoint, or is damaged.
    """
    try:
        with warnings.catch_warnings():
            # Unusual pickle protocols are expected here.
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        # The published UltraSam checkpoint also contains a training log.
        try:
            return torch.load(
                path, map_location="cpu", weights_only=False, pickle_module=_InertPickle
            )
        except Exception as error:
            raise CheckpointError(
                f"{path} is not a checkpoint that can be read safely: {one_line(error)}."
            ) from error
    except Exception as error:
        raise CheckpointError(
            f"{path} is not a checkpoint, or is damaged: {one_line(error)}; download it again."
        ) from error


class _Inert:
    """Placeholder for any object in a pickle that is not a tensor or a plain container."""

    def __new__(cls, *_: object, **__: object) -> _Inert:
        return object.__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __call__(self, *_: object, **__: object) -> _Inert:
        return self

    def __setstate__(self, _: object) -> None:
        pass

    def __setitem__(self, _: object, __: object) -> None:
        pass

    def append(self, _: object) -> None:
        pass

    def extend(self, _: object) -> None:
        pass

    def add(self, _: object) -> None:
        pass


def _numpy_reconstruct(*arguments: Any) -> Any:
    """NumPy's function, subsample to arrays."""
    if arguments[0] is not np.ndarray:
        return _Inert()
    return np._core.multiarray._reconstruct(*arguments)  # type: ignore[attr-defined]


_HARMLESS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch", "Size"): torch.Size,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _numpy_reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _numpy_reconstruct,
    ("_codecs", "encode"): codecs.encode,
}


class _InertUnpickler(pickle.Unpickler):
    """Builds only tensors, arrays and plain containers; every other class becomes `_Inert`."""

    def find_class(self, module: str, name: str) -> Any:
        return _HARMLESS.get((module, name), _Inert)


class _InertPickle:
    """The parts of the pickle module that ``torch.load`` uses."""

    __name__ = "ultrasam.weights.pickles"
    Unpickler = _InertUnpickler

    @staticmethod
    def load(file: IO[bytes], **options: Any) -> Any:
        return _InertUnpickler(file, **options).load()
