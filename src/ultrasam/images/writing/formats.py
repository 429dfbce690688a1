"""The file formats that masks of one scan are written in."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from ultrasam.files import atomic_write
from ultrasam.images.writing.png import write_mask
from ultrasam.images.writing.segmentation import Segmentation


class MaskFormat(StrEnum):
    """A format of masks; the value is what ``--format`` takes."""

    png = "png"
    coco = "coco"
    yolo = "yolo"
    nifti = "nifti"
    seg = "seg"
    sr = "sr"
    csv = "csv"


PATTERNS = (
    "*_mask_*.png", "*_masks.json", "labels/*.txt", "yolo.yaml", "*_masks*.nii.gz", "*_seg.dcm",
    "*_sr.dcm", "*_masks.csv",
)  # fmt: skip
"""What the writers write to a folder, as globs."""


def frame_names(name: str, num_frames: int) -> list[str]:
    """What results of each frame are called: ``name``, with ``_frame_<index>`` if there are several."""
    digits = len(str(num_frames - 1))
    several = num_frames > 1
    return [f"{name}_frame_{i:0{digits}d}" if several else name for i in range(num_frames)]


def write_masks(
    folder: Path,
    name: str,
    result: Segmentation,
    formats: Sequence[MaskFormat],
    *,
    categories: Sequence[str] | None = None,
) -> tuple[list[Path], tuple[str, ...]]:
    """Write the masks of a scan in several formats.

    Args:
        folder: where to.
        name: the beginning of the files' names: ``<name>_seg.dcm``, ``<name>_masks.nii.gz`` and so on.
        result: the masks.
        formats: which; equal ones are written once.
        categories: those of the whole run, in the order of YOLO's numbers; by default those of the scan.

    Returns:
        The files that were written, and sentences about what a format could not hold.

    Raises:
        DataError: A format cannot hold this scan's masks; what was written before stays.
        MissingDependencyError: The extra 'outputs' is not installed, which nifti, seg and sr need.
        DiskFullError, UltraSamError: A file cannot be written.
    """
    written: list[Path] = []
    notes: tuple[str, ...] = ()
    for one in dict.fromkeys(formats):
        if one is MaskFormat.png:
            names = frame_names(name, result.scan.num_frames)
            for frame in result.masks.frames:
                for number, mask in enumerate(result.masks.masks(frame)):
                    written.append(folder / f"{names[frame]}_mask_{number}.png")
                    told = {**result.facts(frame, number), **result.provenance.as_dict()}
                    write_mask(written[-1], mask, told=told)
        elif one is MaskFormat.coco:
            from ultrasam.images.writing.coco import write_coco

            written.append(folder / f"{name}_masks.json")
            write_coco(written[-1], result)
        elif one is MaskFormat.yolo:
            written += _write_yolo(folder, name, result, categories)
        elif one is MaskFormat.nifti:
            from ultrasam.images.writing.nifti import write_nifti

            written += write_nifti(folder / f"{name}_masks.nii.gz", result)
        elif one is MaskFormat.seg:
            from ultrasam.images.writing.dicom_seg import write_seg

            written.append(folder / f"{name}_seg.dcm")
            write_seg(written[-1], result)
        elif one is MaskFormat.sr:
            from ultrasam.images.writing.dicom_sr import write_sr

            written.append(folder / f"{name}_sr.dcm")
            notes += write_sr(written[-1], result)
        else:
            from ultrasam.images.writing.table import write_table

            written.append(folder / f"{name}_masks.csv")
            write_table(written[-1], result)
    return written, notes


def _write_yolo(
    folder: Path, name: str, result: Segmentation, categories: Sequence[str] | None
) -> list[Path]:
    from ultrasam.images.writing.yolo import write_yolo, yolo_names

    known = list(dict.fromkeys(categories or result.categories))
    names = frame_names(name, result.scan.num_frames)
    labels = write_yolo(folder, names, result, known)
    made = "".join(f"# {key}: {value}\n" for key, value in result.provenance.as_dict().items())
    atomic_write(folder / "yolo.yaml", made + yolo_names(known))
    return [*labels, folder / "yolo.yaml"]
