"""Read masks back from the files that UltraSam and other tools write: DICOM-SEG, NIfTI, COCO and images.

They become prompts, or masks to go on from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ultrasam.errors import DataError, MissingDependencyError, ScanError, one_line
from ultrasam.extras import needs
from ultrasam.files import read_json
from ultrasam.images.mask_files import code_name, decode_mask
from ultrasam.images.mask_sequence import MaskSequence
from ultrasam.images.masks import BoolMask, decode_rle
from ultrasam.images.reading import kind_of
from ultrasam.images.scan import Scan

Labels = npt.NDArray[np.int64]
_MAX_OBJECTS = 1000  # a label map with more labels is a picture
_MOST_VALUES = 32  # of an image; a picture has more gray values than a mask has objects
_VOLUMES = ("nifti", "metaimage", "nrrd")


def read_masks(path: Path, scan: Scan) -> MaskSequence:
    """Read the masks of a scan.

    - DICOM Segmentation: each segment is an object; frames are found by their reference to the source.
    - NIfTI, MHA and NRRD: [x, y], [x, y, z], [x, y, t] or [x, y, 1, t]; each value but 0 is an object.
    - COCO: a results file as `ultrasam predict` and `ultrasam track` write it, or annotations of one image.
    - PNG and other lossless images: of one frame; each value or color but black is an object.

    Args:
        path: the file.
        scan: what the masks are of.

    Raises:
        DataError: The file holds no masks, or those of another scan: of another size or number of frames.
        ScanError: The file is damaged.
        MissingDependencyError: The extra of its format is not installed.
    """
    if path.suffix.lower() == ".json":
        return _read_coco(path, scan)
    kind = kind_of(path)
    if kind == "dicom":
        from ultrasam.images.dicom_seg_reading import read_seg

        return read_seg(path, scan)
    if kind == "nifti":
        return _of_labels(path, _read_nifti(path), scan, _label_names(path))
    if kind in ("metaimage", "nrrd"):
        return _of_labels(path, _read_itk(path), scan, {})
    if kind in ("mp4", "avi"):
        raise DataError(
            f"{path} is a video, which holds no masks; give DICOM-SEG, NIfTI, COCO or PNG."
        )
    labels = read_mask_image(path)
    names = {v: f"object {code_name(v)}" for v in np.unique(labels).tolist()}
    return _of_labels(path, labels[None], scan, names)


def is_mask_image(path: Path) -> bool:
    """Whether a file is an image of masks, of one frame, and not one of the formats that hold several.

    Raises:
        ScanError: The file is missing, empty or in no known format.
    """
    return path.suffix.lower() != ".json" and kind_of(path) not in (
        *_VOLUMES,
        "dicom",
        "mp4",
        "avi",
    )


def read_mask_image(path: Path) -> Labels:
    """Read an image of masks as codes [H, W]: 0 where it is black, one more code for each value or color.

    Raises:
        DataError: The file cannot be read, or is a picture and no mask.
        ScanError: The file is damaged.
    """
    try:
        decoded = decode_mask(path.read_bytes(), str(path))
    except OSError as error:
        raise DataError(f"Cannot read the mask {path}: {one_line(error)}.") from error
    values = np.unique(decoded.codes[decoded.codes > 0]).size
    if decoded.lossy or values > _MOST_VALUES:
        what = "a JPEG, whose values are inexact" if decoded.lossy else f"of {values} values"
        raise DataError(
            f"{path} is {what}, not a mask; save each object in one gray value or color, as PNG."
        )
    return decoded.codes


def _of_labels(path: Path, labels: Labels, scan: Scan, names: Mapping[int, str]) -> MaskSequence:
    """The masks in label maps [T, H, W]."""
    check_size(path, labels.shape, scan)
    values = [int(v) for v in np.unique(labels) if v]
    if not values:
        raise DataError(f"{path} holds no mask: all its pixels are 0.")
    if len(values) > _MAX_OBJECTS:
        raise DataError(f"{path} has {len(values)} values, so it is a picture and not a label map.")
    single = len(values) == 1
    objects = tuple(names.get(v, "object" if single else f"object {v}") for v in values)
    masks = MaskSequence(scan.num_frames, scan.height, scan.width, objects)
    for frame in np.flatnonzero(labels.any(axis=(1, 2))).tolist():
        masks.put(frame, np.stack([labels[frame] == value for value in values]))
    return masks


def check_size(path: Path, shape: tuple[int, ...], scan: Scan) -> None:
    """Refuse masks [T, H, W] of another scan.

    Raises:
        DataError: Frames or pixels differ in number.
    """
    if shape != (expected := (scan.num_frames, scan.height, scan.width)):
        raise DataError(
            f"{path} holds {shape[0]} frames of {shape[2]} × {shape[1]} pixels, but "
            f"{scan.source or 'the scan'} has {expected[0]} of {expected[2]} × {expected[1]}; give the masks "
            "of this scan."
        )


def _read_nifti(path: Path) -> Labels:
    try:
        voxels = np.asanyarray(_nibabel().load(path).dataobj)
    except MissingDependencyError:
        raise
    except Exception as error:  # nibabel raises of many classes on damaged files
        raise ScanError(
            f"{path} is damaged; copy or download it again ({one_line(error)})."
        ) from error
    return _whole(path, voxels.transpose())


def _nibabel() -> Any:
    with needs("Reading masks from NIfTI", extra="outputs"):
        import nibabel
    return nibabel


def _read_itk(path: Path) -> Labels:
    from ultrasam.images.itk_reader import open_itk, read_itk

    reader = open_itk(path, str(path))
    if reader.GetNumberOfComponents() != 1:
        raise DataError(f"{path} has several values per voxel, so it is no label map.")
    return _whole(path, read_itk(reader, str(path)))


def _whole(path: Path, voxels: npt.NDArray[Any]) -> Labels:
    """Voxels […, H, W] as whole numbers [T, H, W]."""
    if voxels.dtype.kind == "f" and not (np.isfinite(voxels).all() and (voxels % 1 == 0).all()):
        raise DataError(f"{path} has values that are no whole numbers, so it is no label map.")
    return voxels.reshape(-1, *voxels.shape[-2:]).astype(np.int64)


def _label_names(path: Path) -> dict[int, str]:
    """Names of the labels, if this package wrote the file."""
    for extension in _nibabel().load(path).header.extensions:
        try:
            content = json.loads(bytes(extension.get_content()).rstrip(b"\0").decode("utf-8"))
            return {int(value): str(name) for value, name in content["labels"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # of another tool
    return {}


def _read_coco(path: Path, scan: Scan) -> MaskSequence:
    entries, categories = _coco_entries(path, read_json(path), scan)
    found: dict[tuple[int, str], BoolMask] = {}
    for entry in entries:
        frame = entry.get("frame", 0)
        if not isinstance(frame, int) or not 0 <= frame < scan.num_frames:
            raise DataError(f"{path} has a mask of frame {frame}, which the scan does not have.")
        if not isinstance(entry.get("segmentation"), dict):
            raise DataError(f"{path}: a mask is no RLE; export the file with RLE masks.")
        mask = decode_rle(entry["segmentation"])
        check_size(path, (scan.num_frames, *mask.shape), scan)
        name = _object_name(entry, categories, {n for f, n in found if f == frame})
        found[frame, name] = mask
    if not found:
        raise DataError(f"{path} has no mask of {scan.source or 'the scan'}.")
    names = list(dict.fromkeys(name for _, name in found))
    masks = MaskSequence(scan.num_frames, scan.height, scan.width, tuple(names))
    empty = np.zeros((scan.height, scan.width), bool)
    for frame in sorted({frame for frame, _ in found}):
        masks.put(frame, np.stack([found.get((frame, name), empty) for name in names]))
    return masks


def _coco_entries(
    path: Path, content: Any, scan: Scan
) -> tuple[list[dict[str, Any]], dict[Any, str]]:
    """The entries that are of the scan, and the names of the categories."""
    categories: dict[Any, str] = {}
    if isinstance(content, dict) and isinstance(content.get("annotations"), list):
        entries = content["annotations"]
        categories = {c.get("id"): str(c.get("name")) for c in content.get("categories") or ()}
        images = {i.get("id"): i for i in content.get("images") or () if isinstance(i, dict)}
        files = {key: str(i.get("file_name", "")) for key, i in images.items()}
        frames = {key: i["frame"] for key, i in images.items() if "frame" in i}
        entries = [
            {"file_name": files.get(e.get("image_id"), ""), **e}
            | ({"frame": frames[e["image_id"]]} if e.get("image_id") in frames else {})
            for e in entries
            if isinstance(e, dict)
        ]
    elif isinstance(content, list) and all(isinstance(entry, dict) for entry in content):
        entries = content
    else:
        raise DataError(f"{path} is neither a COCO file nor a list of COCO results.")
    files_named = {str(entry.get("file_name", "")) for entry in entries}
    if len(files_named) > 1:
        wanted = Path(scan.source).name if scan.source else ""
        entries = [e for e in entries if Path(str(e.get("file_name", ""))).name == wanted]
    return entries, categories


def _object_name(entry: Mapping[str, Any], categories: Mapping[Any, str], taken: set[str]) -> str:
    """What an entry's object is called: by its name, else its category; never twice in a frame."""
    category = categories.get(entry.get("category_id"), entry.get("category"))
    name = str(entry.get("name") or category or "object")
    if name not in taken:
        return name
    return next(f"{name} {n}" for n in range(2, len(taken) + 3) if f"{name} {n}" not in taken)
