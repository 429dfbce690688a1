"""Read images and masks stored as arrays: NumPy files, pickled dictionaries (restricted), HDF5."""

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

from ultrasam.datasets.annotated_image import Case, CaseImage, Instance
from ultrasam.datasets.description import MISSING_IMAGE, MISSING_MASK, NO_OBJECT
from ultrasam.datasets.file_tree import FileEntry, FileTree, Skip, SkipReport
from ultrasam.datasets.readers.label_rules import require_shape
from ultrasam.datasets.readers.paired_images import MaskOptions, finish
from ultrasam.errors import DataError, one_line
from ultrasam.extras import needs
from ultrasam.images.masks import fill_holes
from ultrasam.images.pixels import GrayScale, to_uint8
from ultrasam.images.raster import decode_frame

_MAX_HEADER = 10_000


def paired_arrays(
    dataset: str,
    tree: FileTree,
    report: SkipReport,
    *,
    image: str,
    mask: str,
    structure: str,
    options: MaskOptions,
) -> Iterator[Case]:
    """List pairs of NumPy files: images [N, H, W] or [N, H, W, C], and masks of the same shape.

    Args:
        dataset: id of the data set.
        tree, report: files to search, and where to report skipped ones.
        image, mask: path patterns (see `FileTree.match`) with the group ``number``, which pairs them and is
            the subject.
        structure: name of the structure that the masks show.
        options: how masks become instances.
    """
    masks: dict[int, FileEntry] = {}
    for entry, groups in tree.match(mask):
        if int(groups["number"]) in masks:
            report.skip(entry, "duplicate mask array", what="file")
        else:
            masks[int(groups["number"])] = entry
    for entry, groups in tree.match(image):
        mask_entry = masks.pop(int(groups["number"]), None)
        if mask_entry is None:
            report.skip(entry, MISSING_MASK)
            continue
        yield Case(
            dataset,
            str(int(groups["number"])),
            (entry, mask_entry),
            partial(_read_arrays, entry, mask_entry, structure, options),
            subject=str(int(groups["number"])),
        )
    for entry in masks.values():
        report.skip(entry, MISSING_IMAGE, what="file")


def _read_arrays(
    image: FileEntry, mask: FileEntry, structure: str, options: MaskOptions
) -> Iterator[CaseImage | Skip]:
    images, masks = _stack(load_npy(image), image), _stack(load_npy(mask), mask)
    if images.shape[:3] != masks.shape[:3]:
        raise DataError(
            f"{mask.path}: the masks have shape {masks.shape[:3]}, but the images {images.shape[:3]}."
        )
    scale = _scale(images)
    for index in range(len(images)):
        values = np.asarray(images[index])
        labels = np.asarray(masks[index])
        pixels = scale(values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values)
        instances = [Instance(structure, (labels if labels.ndim == 2 else labels.max(axis=2)) > 0)]
        yield finish(image.path, pixels, instances, options, frame=index)


def _stack(array: npt.NDArray[Any], entry: FileEntry) -> npt.NDArray[Any]:
    """The array as [N, H, W] or [N, H, W, C]; a single image becomes a stack of one."""
    if array.ndim == 2:
        array = array[None]
    if array.ndim not in (3, 4):
        raise DataError(
            f"{entry.path} has shape {array.shape}; images need [N, H, W] or [N, H, W, C]."
        )
    return array


def _scale(images: npt.NDArray[Any]) -> GrayScale:
    """The gray scale of a stack; an image with NaN or infinity does not count, and is refused by itself."""
    if images.dtype == np.uint8:
        return GrayScale(0, 255)
    finite = [np.asarray(image) for image in images if np.isfinite(image).all()]
    return GrayScale.of(*(finite or [np.asarray(images)]))


def load_npy(entry: FileEntry) -> npt.NDArray[Any]:
    """Load a NumPy file, memory-mapped if it is not in an archive; pickled objects are refused.

    Raises:
        DataError: The file is damaged or contains pickled objects.
    """
    try:
        if len(entry.chain) == 1:
            return np.asarray(np.load(entry.chain[0], mmap_mode="r", allow_pickle=False))
        return np.asarray(np.load(io.BytesIO(entry.read()), allow_pickle=False))
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{entry.path} is not a valid NumPy file: {error}") from error


def load_pickled_npy(entry: FileEntry) -> Any:
    """Load a NumPy file with one pickled object, allowing only arrays and plain containers.

    Raises:
        DataError: The file is damaged, or the pickle requires any other class.
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
            raise DataError(
                f"{entry.path} contains plain numbers instead of a dictionary of masks."
            )
        content = _ArraysOnly(data).load()
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"Cannot read {entry.path}: {one_line(error)}") from error
    return (
        content.item() if isinstance(content, np.ndarray) and content.dtype.hasobject else content
    )


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
                f"the pickle requires {module}.{name}, which is not allowed"
            )
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"unsupported encoding {encoding}")
    return text.encode("latin1")


def read_pickled_masks(
    image: FileEntry, file: FileEntry, structures: tuple[str, ...]
) -> Iterator[CaseImage | Skip]:
    """Read an image and a pickled dictionary whose ``structures`` maps names to 0/1 masks [H, W]."""
    pixels = decode_frame(image.read(), image.path)
    content = load_pickled_npy(file)
    masks = content.get("structures") if isinstance(content, dict) else None
    if not isinstance(masks, dict):
        raise DataError(f"{file.path} has no dictionary 'structures'.")
    instances = []
    for name, mask in masks.items():
        if str(name) not in structures:
            yield Skip(file.path, f"unknown structure '{name}'")
            continue
        values = np.asarray(mask)
        require_shape(values, pixels.shape[:2], f"{file.path} {name}")
        instances.append(Instance(str(name), values > 0))
    yield CaseImage(pixels, tuple(instances))


def hdf5_clips(
    dataset: str,
    entry: FileEntry,
    report: SkipReport,
    *,
    structure: str,
    subject: Callable[[str], str],
) -> Iterator[Case]:
    """List the clips in an HDF5 file.

    The file has the arrays image and mask, [N, H, W] or [N, H, W, C], and annot_id and frame_num, [N].

    Args:
        dataset: id of the data set.
        entry: the file.
        report: where to report skipped files.
        structure: name of the structure that the masks show.
        subject: maps a clip's annot_id to its subject.
    """
    with needs("Reading HDF5 files", extra="data"):
        import h5py

    frames: dict[str, list[tuple[int, int]]] = defaultdict(list)
    try:
        with entry.on_disk() as path, h5py.File(path, "r") as file:
            missing = [n for n in ("image", "mask", "annot_id") if n not in file]
            if missing:
                raise DataError(f"{entry.path} has no array '{missing[0]}'.")
            ids = [_text(value) for value in file["annot_id"][()].ravel()]
            numbers = file["frame_num"][()].ravel() if "frame_num" in file else np.arange(len(ids))
    except (OSError, RuntimeError, KeyError) as error:
        report.skip(entry, f"damaged: {one_line(error)}")
        return
    for row, (clip, number) in enumerate(zip(ids, numbers, strict=True)):
        frames[clip].append((int(number), row))
    for clip, rows in frames.items():
        yield Case(
            dataset,
            re.sub(r"[^\w.-]", "_", clip),
            (entry,),
            partial(_read_clip, entry, tuple(sorted(rows)), structure, clip),
            subject=subject(clip),
            study=clip,
        )


def _read_clip(
    entry: FileEntry, rows: tuple[tuple[int, int], ...], structure: str, clip: str
) -> Iterator[CaseImage | Skip]:
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
            yield CaseImage(pixels, (Instance(structure, fill_holes(mask > 0)),), number)


def _text(value: Any) -> str:
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)
