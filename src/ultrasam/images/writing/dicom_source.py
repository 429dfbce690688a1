"""What a derived DICOM object takes over from its source, and how it names the software that made it.

Of the patient and the study, only what the standard demands is taken over (types 1 and 2 of the modules
Patient and General Study, PS3.3 C.7.1.1 and C.7.2.1), which a viewer needs to file both together.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ultrasam.errors import DataError, one_line
from ultrasam.extras import needs
from ultrasam.images.quiet import quiet_warnings
from ultrasam.images.reading import kind_of
from ultrasam.images.writing.segmentation import Segmentation

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MANUFACTURER = "UltraSam"
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_TEXTS = (  # type 2: present, perhaps empty
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
_OTHERS = (
    "SpecificCharacterSet", "TimezoneOffsetFromUTC", "Rows", "Columns", "NumberOfFrames",
    "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod",
)  # fmt: skip
_MULTI_FRAME = ("1.2.840.10008.5.1.4.1.1.3.1", "1.2.840.10008.5.1.4.1.1.3")
_MAX_PARAMETERS = 10_000  # characters of an LT element, with room for names


def read_source(result: Segmentation, what: str) -> Dataset:
    """The header of a scan's DICOM file, without pixels, private elements and further identity.

    Args:
        what: is to be written, for messages.

    Raises:
        DataError: The scan is not from a DICOM file, or lacks what a derived object must refer to.
        MissingDependencyError: The extra 'outputs' is not installed.
    """
    path = result.scan.source
    if path is None or kind_of(path) != "dicom":
        raise DataError(
            f"{what} refers to a DICOM image, which {path or 'this scan'} is not; use nifti, coco or png "
            "instead."
        )
    with needs(f"Writing {what}", extra="outputs"):
        import pydicom
        from pydicom.dataset import Dataset
    try:
        with quiet_warnings():
            read = pydicom.dcmread(
                path, stop_before_pixels=True, force=True, specific_tags=[*_UIDS, *_TEXTS, *_OTHERS]
            )
            header = Dataset()
            for name in (*_UIDS, *_TEXTS, *_OTHERS):
                if name in read:
                    header.add(read[name])
            for name in ("SOPClassUID", "SOPInstanceUID"):  # some scanners name them in front only
                if name not in header and f"MediaStorage{name}" in read.file_meta:
                    setattr(header, name, read.file_meta[f"MediaStorage{name}"].value)
    except Exception as error:  # pydicom raises of any class on damaged elements
        raise DataError(
            f"{path}: its header cannot be copied to {what} ({one_line(error)}); use nifti."
        ) from error
    missing = [name for name in _UIDS if not header.get(name)]
    if missing:
        raise DataError(
            f"{path} has no {missing[0]}, which {what} must refer to; export it again, or use nifti."
        )
    for name in _TEXTS:
        if name not in header:
            setattr(header, name, None)
    header.Rows, header.Columns = result.scan.height, result.scan.width
    return header


def is_multi_frame(header: Dataset, frames: int) -> bool:
    """Whether references to an image name its frames."""
    return frames > 1 or header.SOPClassUID in _MULTI_FRAME


def equipment(result: Segmentation) -> dict[str, str]:
    """The software, as highdicom's objects take it; its serial number is that of the weights, if known."""
    made = result.provenance
    return {
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": made.model[-64:],
        "software_versions": made.ultrasam,
        "device_serial_number": (made.weights or "none")[:64],
    }


def parameters(result: Segmentation, number: int) -> dict[str, str]:
    """What an object was made with: model, hash, time and prompts; many prompts are cut, and say so."""
    found = {**result.provenance.as_dict()}
    prompts = result.prompts(number)
    text = json.dumps(prompts)
    if len(text) > _MAX_PARAMETERS - sum(map(len, found.values())):
        text = f"{len(prompts)} prompts, the first: {json.dumps(prompts[0])[:4000]}"
    return found | ({"prompts": text} if prompts else {})


def as_texts(values: Mapping[str, Any], limit: int) -> list[str]:
    """Parameters as texts of a limited length."""
    return [f"{name}={value}"[:limit] for name, value in values.items()]


def import_highdicom(what: str) -> Any:
    """highdicom, without its log.

    Raises:
        MissingDependencyError: The extra 'outputs' is not installed.
    """
    with needs(f"Writing {what}", extra="outputs"):
        import highdicom
    logging.getLogger("highdicom").setLevel(logging.ERROR)
    # The name is the source's, and is copied as it is.
    warnings.filterwarnings("ignore", "The string .* is unlikely to represent", UserWarning)
    return highdicom


def algorithm(hd: Any, result: Segmentation, number: int) -> Any:
    """The software as the maker of a segment."""
    from pydicom.sr.codedict import codes

    return hd.AlgorithmIdentificationSequence(
        name=result.provenance.model[-64:],
        family=codes.DCM.ArtificialIntelligence,
        version=result.provenance.ultrasam,
        source=MANUFACTURER,
        parameters=parameters(result, number),
    )
