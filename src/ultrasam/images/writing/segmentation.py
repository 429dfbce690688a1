"""Segmentation: the masks of a scan with where they came from, which every writer takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from ultrasam._version import __version__
from ultrasam.errors import DataError
from ultrasam.images.mask_sequence import MaskSequence
from ultrasam.images.masks import BoolMask
from ultrasam.images.scan import Scan

Details = Mapping[tuple[int, int], Mapping[str, Any]]


def now() -> str:
    """The time, as provenance states it: ISO 8601 with the zone, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, slots=True)
class Provenance:
    """What made masks; it names no person and no patient.

    Attributes:
        model: name or path of the model, as it was given.
        weights: SHA-256 of the model's weights, or None for what has no weights.
        ultrasam: version of this package.
        created: the time, ISO 8601 with the zone.
    """

    model: str
    weights: str | None = None
    ultrasam: str = __version__
    created: str = field(default_factory=now)

    def as_dict(self) -> dict[str, str]:
        """The entries that are known, as JSON outputs carry them."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept of DICOM: value, coding scheme and meaning, as ("42798000", "SCT", "Area")."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """One number that was measured.

    Attributes:
        name: for people and for the column of a table, such as "area".
        code: the concept, as DICOM SR names it.
        value: in ``unit``.
        unit: of UCUM: "mm", "mm2", "ml", "%"; "{pixels}" and "{pixels2}" if the scan is not calibrated.
        object: index of the measured object; None if the number belongs to the scan as a whole.
        frame: index of the frame; None if the number belongs to no single frame.
    """

    name: str
    code: Code
    value: float
    unit: str
    object: int | None = None
    frame: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """The masks of one scan, and all that outputs tell about them.

    Attributes:
        scan: what was segmented.
        masks: of N objects.
        provenance: what made the masks.
        categories: what each object is, N names; by default its own name.
        details: by (frame, object): further facts for JSON and tables, such as ``prompt`` or
            ``predicted_iou``; values must be what JSON can hold.
        measurements: what was measured on the masks.

    Raises:
        DataError: The masks are not those of the scan, or there is not one category for each object.
    """

    scan: Scan
    masks: MaskSequence
    provenance: Provenance
    categories: tuple[str, ...] = ()
    details: Details = field(default_factory=dict)
    measurements: Sequence[Measurement] = ()

    def __post_init__(self) -> None:
        scan, masks = self.scan, self.masks
        expected = (scan.num_frames, scan.height, scan.width)
        if (found := (masks.num_frames, masks.height, masks.width)) != expected:
            raise DataError(
                f"The masks have {found[0]} frames of {found[2]} × {found[1]} pixels, but the scan has "
                f"{expected[0]} of {expected[2]} × {expected[1]}."
            )
        if not self.categories:
            object.__setattr__(self, "categories", masks.names)
        if len(self.categories) != len(masks.names):
            raise DataError(
                f"{len(masks.names)} objects have {len(self.categories)} categories; give one for each."
            )

    def __iter__(self) -> Iterator[tuple[int, int, BoolMask]]:
        """(frame, object, mask [H, W]) of each mask that is not empty, frame by frame."""
        for frame in self.masks.frames:
            for number, mask in enumerate(self.masks.masks(frame)):
                if mask.any():
                    yield frame, number, mask

    def facts(self, frame: int, number: int) -> Mapping[str, Any]:
        """The details of one object in one frame."""
        return self.details.get((frame, number), {})

    def prompts(self, number: int) -> list[dict[str, Any]]:
        """The prompts of an object, each with its frame."""
        return [
            {"frame": frame, **facts["prompt"]}
            for (frame, index), facts in sorted(self.details.items())
            if index == number and isinstance(facts.get("prompt"), Mapping)
        ]


def require_masks(result: Segmentation, what: str) -> None:
    """Refuse to write a file that would hold nothing.

    Raises:
        DataError: All masks are empty.
    """
    if next(iter(result), None) is None:
        raise DataError(
            f"{result.scan.source or 'The scan'}: all masks are empty, so there is no {what} to write; check "
            "the prompts."
        )
