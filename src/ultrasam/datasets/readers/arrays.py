"""Images and masks kept as arrays: NumPy files, pickled dictionaries (read safely), HDF5."""

from __future__ import annotations

import io
import pickle
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ultrasam.datasets.annotated_image import Case, Instance, Picture
from ultrasam.datasets.description import NO_OBJECT
from ultrasam.datasets.file_tree import Entry, RawTree, Report, Skip
from ultrasam.datasets.readers.label_rules import fill_holes, require_shape
from ultrasam.datasets.readers.paired_images import MaskStyle, finish
from ultrasam.errors import DataError
from ultrasam.extras import needs
from ultrasam.images.pixels import Frame, to_uint8
from ultrasam.images.raster import decode_frame

_MAX_HEADER = 10_000


def paired_arrays(
    dataset: str,
    tree: RawTree,
    report: Report,
    *,
    image: str,
    mask: str,
    structure: str,
    style: MaskStyle,
) -> Iterator[Case]:
    """Cases of arrays [N, H, W(, C)] of images with arrays of masks, paired by the group ``number``."""
    masks: dict[int, Entry] = {}
    for entry, groups in tree.match(mask):
        if int(groups["number"]) in masks:
            report.skip(entry, "a second mask array of the same images")
        else:
            masks[int(groups["number"])] = entry
    for entry, groups in tree.match(image):
        found = masks.pop(int(groups["number"]), None)
        if found is None:
            report.skip(entry, "image without a mask")
            continue
        yield Case(
            dataset,
            str(int(groups["number"])),
            (entry, found),
            partial(_read_arrays, entry, found, structure, style),
            subject=str(int(groups["number"])),
        )
    for entry in masks.values():
        report.skip(entry, "mask without an image")


def _read_arrays(
    image: Entry, mask: Entry, structure: str, style: MaskStyle
) -> Iterator[Picture | Skip]:
    images, masks = _stack(load_npy(image), image), _stack(load_npy(mask), mask)
    if images.shape[:3] != masks.shape[:3]:
        raise DataError(f"{mask.path}: masks are {masks.shape[:3]}, images {images.shape[:3]}")
    for index in range(len(images)):
        values = np.asarray(images[index])
        labels = np.asarray(masks[index])
        pixels = _squeezed(values)
        instances = [Instance(structure, (labels if labels.ndim == 2 else labels.max(axis=2)) > 0)]
        yield finish(image.path, pixels, instances, style, frame=index)


def _stack(array: npt.NDArray[Any], entry: Entry) -> npt.NDArray[Any]:
    """[N, H, W] or [N, H, W, C]; one image alone is a stack of one."""
    if array.ndim == 2:
        array = array[None]
    if array.ndim not in (3, 4):
        raise DataError(f"{entry.path} holds an array of shape {array.shape}, not of images")
    return array


def _squeezed(values: npt.NDArray[Any]) -> Frame:
    """One stored image to uint8; floats in 0-1 become 0-255."""
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if np.issubdtype(values.dtype, np.floating) and values.size and float(values.max()) <= 1:
        return np.asarray(np.clip(np.rint(values * 255), 0, 255), dtype=np.uint8)
    return to_uint8(values)


def load_npy(entry: Entry) -> npt.NDArray[Any]:
    """A NumPy file, mapped from disk where it lies there; pickles are refused.

    Raises:
        DataError: damaged, or it holds objects.
    """
    try:
        if len(entry.chain) == 1:
            return np.asarray(np.load(entry.chain[0], mmap_mode="r", allow_pickle=False))
        return np.asarray(np.load(io.BytesIO(entry.read()), allow_pickle=False))
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{entry.path} is not a whole NumPy file: {error}") from error


def load_pickled_npy(entry: Entry) -> Any:
    """The object in a NumPy file of one pickled object, which may hold arrays and plain containers only.

    Raises:
        DataError: damaged, or the pickle asks for anything else.
    """
    data = io.BytesIO(entry.read())
    try:
        version = np.lib.format.read_magic(data)
        read_header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        _, _, dtype = read_header(data, max_header_size=_MAX_HEADER)
        if not dtype.hasobject:
            raise DataError(f"{entry.path} holds plain numbers, not a dictionary of masks")
        found = _ArraysOnly(data).load()
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{entry.path} cannot be read: {' '.join(str(error).split())}") from error
    return found.item() if isinstance(found, np.ndarray) and found.dtype.hasobject else found


_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("collections", "OrderedDict"),
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return _encode  # how Python 2 wrote bytes
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(
                f"its pickle asks for {module}.{name}, which is not allowed"
            )
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes encoded as {encoding}")
    return text.encode("latin1")


def read_pickled_masks(
    image: Entry, file: Entry, structures: tuple[str, ...]
) -> Iterator[Picture | Skip]:
    """An image with a pickled dictionary whose ``structures`` maps names to 0/1 masks."""
    pixels = decode_frame(image.read(), image.path)
    content = load_pickled_npy(file)
    masks = content.get("structures") if isinstance(content, dict) else None
    if not isinstance(masks, dict):
        raise DataError(f"{file.path} has no 'structures'")
    instances = []
    for name, mask in masks.items():
        if str(name) not in structures:
            yield Skip(file.path, f"unknown structure '{name}'")
            continue
        values = np.asarray(mask)
        require_shape(values, pixels.shape[:2], f"{file.path} {name}")
        instances.append(Instance(str(name), values > 0))
    yield Picture(pixels, tuple(instances))


def hdf5_clips(
    dataset: str,
    entry: Entry,
    report: Report,
    *,
    structure: str,
    subject: Callable[[str], str],
) -> Iterator[Case]:
    """Clips in an HDF5 file with the arrays image, mask [N, H, W], annot_id and frame_num [N]."""
    with needs("Reading HDF5 files", extra="data"):
        import h5py

    frames: dict[str, list[tuple[int, int]]] = defaultdict(list)
    try:
        with entry.on_disk() as path, h5py.File(path, "r") as file:
            missing = [n for n in ("image", "mask", "annot_id") if n not in file]
            if missing:
                raise DataError(f"{entry.path} lacks the array '{missing[0]}'")
            ids = [_text(value) for value in file["annot_id"][()].ravel()]
            numbers = file["frame_num"][()].ravel() if "frame_num" in file else np.arange(len(ids))
    except (OSError, RuntimeError, KeyError) as error:
        report.skip(entry, f"damaged: {' '.join(str(error).split())}")
        return
    for row, (clip, number) in enumerate(zip(ids, numbers, strict=True)):
        frames[clip].append((int(number), row))
    for clip, found in frames.items():
        yield Case(
            dataset,
            re.sub(r"[^\w.-]", "_", clip),
            (entry,),
            partial(_read_clip, entry, tuple(sorted(found)), structure, clip),
            subject=subject(clip),
            study=clip,
        )


def _read_clip(
    entry: Entry, rows: tuple[tuple[int, int], ...], structure: str, clip: str
) -> Iterator[Picture | Skip]:
    with needs("Reading HDF5 files", extra="data"):
        import h5py

    with entry.on_disk() as path, h5py.File(path, "r") as file:
        for number, row in rows:
            try:
                pixels, mask = file["image"][row], file["mask"][row]
            except OSError:
                where = f"{entry.path} {clip} frame {number}"
                yield Skip(where, "frame cannot be decoded", damage=True)
                continue
            pixels = to_uint8(pixels[..., 0] if pixels.ndim == 3 else pixels)
            mask = mask[..., 0] if mask.ndim == 3 else mask
            if not mask.any():
                yield Skip(f"{entry.path} {clip} frame {number}", NO_OBJECT)
                continue
            yield Picture(pixels, (Instance(structure, fill_holes(mask > 0)),), number)


def _text(value: Any) -> str:
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)
