"""PyTorch's pickled files read without running anyone's code.

A pickle is a program. Files are opened with torch's ``weights_only`` reader; what that refuses is read again
by an unpickler that builds tensors, NumPy arrays and plain containers, and makes an inert placeholder of all
else.
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
    """The content of a ``.pth``, ``.pt``, ``.bin`` or ``.ckpt`` file, on the CPU.

    Raises:
        CheckpointError: it is not such a file, or damaged.
    """
    try:
        with warnings.catch_warnings():
            # Other writers' files are what this is for.
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        # The published UltraSam checkpoint holds a training log beside its weights.
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
            f"{path} is not a checkpoint, or damaged: {one_line(error)}; download it again."
        ) from error


class _Inert:
    """What stands for every object in a pickle that is not a tensor or a plain container."""

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
    """NumPy's, for arrays alone."""
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
    """Builds tensors, arrays and plain containers; every other name in the file becomes `_Inert`."""

    def find_class(self, module: str, name: str) -> Any:
        return _HARMLESS.get((module, name), _Inert)


class _InertPickle:
    """The face of the pickle module that ``torch.load`` asks for."""

    __name__ = "ultrasam.weights.pickles"
    Unpickler = _InertUnpickler

    @staticmethod
    def load(file: IO[bytes], **options: Any) -> Any:
        return _InertUnpickler(file, **options).load()
