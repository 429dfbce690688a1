"""Read PyTorch's pickle files without executing code from them.

Files are opened with torch's ``weights_only`` reader. Files that it rejects are read by an unpickler that
builds only tensors, NumPy arrays and plain containers, and replaces all other objects with inert
placeholders.
"""

from __future__ import annotations

import codecs
import io
import pickle
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from ultrasam.errors import CheckpointError, one_line


def read_pickle(path: Path) -> tuple[Any, tuple[str, ...]]:
    """Read a ``.pth``, ``.pt``, ``.bin``, ``.ckpt`` or ``.pkl`` file, on the CPU.

    Returns:
        The content, and the classes of objects that were replaced by placeholders (at most 100).

    Raises:
        CheckpointError: The file is not a checkpoint, or is damaged.
    """
    if (kind := _kind_of_archive(path)) is not None:
        raise CheckpointError(f"{path} is {kind}.")
    foreign: dict[str, None] = {}
    try:
        with warnings.catch_warnings():
            # Unusual pickle protocols are expected here.
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            return torch.load(path, map_location="cpu", weights_only=True), ()
    except pickle.UnpicklingError:
        # The published UltraSam checkpoint also contains a training log.
        try:
            content = _read_inert(path, foreign)
        except Exception as error:
            raise CheckpointError(
                f"{path} is not a checkpoint that can be read safely: {one_line(error)}; where it was "
                "written, run torch.save(model.state_dict(), 'weights.pth') and load that."
            ) from error
        return content, tuple(foreign)
    except Exception as error:
        raise CheckpointError(
            f"{path} is not a checkpoint, or is damaged: {one_line(error)}; download it again."
        ) from error


def _read_inert(path: Path, foreign: dict[str, None]) -> Any:
    """The content of a file of torch.save, or of a plain pickle (as in Detectron2's model zoo)."""
    inert = _inert_pickle(foreign)
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
        file.seek(0)
        # Before it wrote ZIP archives, torch.save wrote a magic number first.
        content = None if zipped else inert.load(file)
    legacy = isinstance(content, int) and content == torch.serialization.MAGIC_NUMBER
    if not zipped and not legacy:
        return content
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # placeholders differ from the classes that were saved
        return torch.load(path, map_location="cpu", weights_only=False, pickle_module=inert)


def _kind_of_archive(path: Path) -> str | None:
    """What a file is that torch.save did not write, with what to do; None if it may be a checkpoint."""
    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith(b"PK"):
        if not zipfile.is_zipfile(path):
            return "not a checkpoint, or incomplete: its end is missing; download or copy it again"
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        last = {name.rsplit("/", 1)[-1] for name in names}
        if "constants.pkl" in last:
            return (
                "a TorchScript program, not weights; save them with torch.save(torch.jit.load(FILE)"
                ".state_dict(), 'weights.pth') and load that"
            )
        if "archive_format" in last:
            return "a program of torch.export, not weights; save the model's state_dict instead"
        if all(name.endswith(".npy") for name in names):
            return "a NumPy archive, not a checkpoint; save its arrays as safetensors and load that"
        if "data.pkl" not in last:
            return (
                "a ZIP archive, not a checkpoint; extract it and give the path of the weights in it"
            )
    for magic, kind in _OTHER_KINDS.items():
        if start.startswith(magic):
            return kind
    if start[257:262] == b"ustar":
        return "a tar archive, not a checkpoint; extract it first"
    if not any(start):
        return "filled with zeros; download or copy it again"
    if not start.startswith((b"PK", b"\x80")):
        return "neither a PyTorch nor a safetensors file, so it is not a checkpoint"
    return None


_OTHER_KINDS = {
    b"\x93NUMPY": "a NumPy array, not a checkpoint",
    b"\x1f\x8b": "compressed by gzip; extract it first",
    b"7z\xbc\xaf": "a 7z archive, not a checkpoint; extract it first",
    b"Rar!": "a RAR archive, not a checkpoint; extract it first",
    b"\x89HDF": "an HDF5 file, not a PyTorch checkpoint",
    b"GGUF": "a GGUF file, not a PyTorch checkpoint",
}


class _Inert(dict[Any, Any]):
    """Placeholder for an object in a pickle that is not a tensor or a plain container.

    It keeps the object's items and attributes as plain data, so that tensors in a mapping of another class,
    or in a module that was pickled whole, are found.
    """

    dump_patches = False  # asked for by torch.load

    def __new__(cls, *_: object, **__: object) -> _Inert:
        return dict.__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__()

    __hash__ = object.__hash__  # type: ignore[assignment]  # it may be the key of a mapping

    def __eq__(self, other: object) -> bool:
        return self is other

    def __call__(self, *_: object, **__: object) -> _Inert:
        return self

    def __setstate__(self, state: object) -> None:
        # An object with slots has two mappings.
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict):
                self.update(part)

    def append(self, _: object) -> None:
        pass

    def extend(self, _: object) -> None:
        pass

    def add(self, _: object) -> None:
        pass


def _numpy_reconstruct(*arguments: Any) -> Any:
    """NumPy's function, limited to arrays."""
    if arguments[0] is not np.ndarray:
        return _Inert()
    return np._core.multiarray._reconstruct(*arguments)  # type: ignore[attr-defined]


def _rebuild_subclass(rebuild: Any, _type: Any, arguments: Any, _state: Any) -> Any:
    """A tensor of a subclass, such as MONAI's, as a plain tensor."""
    return rebuild(*arguments)


def _load_from_bytes(content: bytes) -> Any:
    """torch's function, which runs code in its pickle, without doing so."""
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _rebuild_parameter_with_state(data: Any, *_: object) -> Any:
    return data


_MAX_FOREIGN = 100
_HARMLESS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter_with_state,
    ("torch._tensor", "_rebuild_from_type_v2"): _rebuild_subclass,
    ("torch.storage", "_load_from_bytes"): _load_from_bytes,
    ("torch", "Size"): torch.Size,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _numpy_reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _numpy_reconstruct,
    ("_codecs", "encode"): codecs.encode,
}


def _inert_pickle(foreign: dict[str, None]) -> Any:
    """The parts of the pickle module that ``torch.load`` uses, without other classes than those above.

    Args:
        foreign: filled with the names of the classes that were replaced.
    """

    class InertUnpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if (module, name) not in _HARMLESS and len(foreign) < _MAX_FOREIGN:
                foreign[f"{module}.{name}"] = None
            return _HARMLESS.get((module, name), _Inert)

    class InertPickle:
        __name__ = "ultrasam.weights.pickles"
        Unpickler = InertUnpickler

        @staticmethod
        def load(file: IO[bytes], **options: Any) -> Any:
            return InertUnpickler(file, **options).load()

    return InertPickle
