"""Read the labeling configuration of a Label Studio project: where its images are, and what takes a mask.

A configuration is XML. Its controls, such as ``BrushLabels``, point by ``toName`` to an ``Image``; what is
marked ``smart`` asks a backend.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree

from ultrasam.errors import DataError, one_line

Shape = Literal["brush", "polygon", "rectangle"]
_LONGEST = 1_000_000
_TAGS: dict[str, Shape] = {
    "brushlabels": "brush", "brush": "brush", "polygonlabels": "polygon", "polygon": "polygon",
    "rectanglelabels": "rectangle", "rectangle": "rectangle",
}  # fmt: skip
_ORDER: tuple[Shape, ...] = ("brush", "polygon", "rectangle")  # the most exact first


@dataclass(frozen=True, slots=True)
class Control:
    """What takes the mask of an object.

    Attributes:
        name: ``from_name`` of its results.
        image: ``to_name`` of its results.
        shape: how it draws.
        type: of its results, such as ``brushlabels``.
        labels: that it knows, in order; none for a control without labels.
        smart: whether it asks a backend itself.
    """

    name: str
    image: str
    shape: Shape
    type: str
    labels: tuple[str, ...]
    smart: bool


@dataclass(frozen=True, slots=True)
class LabelingConfig:
    """The parts of a configuration that matter to a backend.

    Attributes:
        images: the key of a task's data for each image, by the image's name.
        controls: in the order of the configuration.
    """

    images: dict[str, str]
    controls: tuple[Control, ...]

    @classmethod
    def parse(cls, text: str) -> LabelingConfig:
        """Read a configuration.

        Raises:
            DataError: It is no XML, is too long, or declares entities.
        """
        if len(text) > _LONGEST or "<!DOCTYPE" in text.upper() or "<!ENTITY" in text.upper():
            raise DataError(
                "The labeling configuration is longer than a megabyte or declares entities; use plain tags."
            )
        try:
            root = ElementTree.fromstring(text)
        except ElementTree.ParseError as error:
            raise DataError(f"The labeling configuration is no XML: {one_line(error)}.") from error
        images = {
            tag.get("name", ""): tag.get("value", "").removeprefix("$")
            for tag in root.iter()
            if tag.tag.lower() == "image"
        }
        controls = tuple(_controls(root))
        return cls(images, controls)

    def control_for(self, image: str, label: str | None) -> Control:
        """The control that takes a mask: brush before polygon before rectangle, and those that don't ask a
        backend themselves before those that do.

        Args:
            image: its name in the configuration.
            label: that the control must know, if it knows labels.

        Raises:
            DataError: There is none.
        """
        usable = [
            one
            for one in self.controls
            if one.image == image and (label is None or not one.labels or label in one.labels)
        ]
        if not usable:
            asked = "" if label is None else f" with the label '{label[:80]}'"
            raise DataError(
                f"The labeling configuration has nothing that takes a mask{asked}; add <BrushLabels>, "
                f'<PolygonLabels> or <RectangleLabels> with toName="{image[:80]}".'
            )
        return min(usable, key=lambda one: (one.smart, _ORDER.index(one.shape)))


def _controls(root: ElementTree.Element) -> list[Control]:
    found = []
    for tag in root.iter():
        kind = tag.tag.lower() if isinstance(tag.tag, str) else ""
        if kind not in _TAGS or not tag.get("name") or not tag.get("toName"):
            continue
        labels = tuple(
            label.get("alias") or label.get("value") or ""
            for label in tag.iter()
            if isinstance(label.tag, str) and label.tag.lower() == "label"
        )
        found.append(
            Control(
                tag.get("name", ""), tag.get("toName", ""), _TAGS[kind], kind, labels,
                tag.get("smart", "").lower() == "true",
            )
        )  # fmt: skip
    return found
