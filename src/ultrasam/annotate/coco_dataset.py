"""The project as one COCO data set: a PNG of each labeled frame, and ``annotations.json``.

Besides COCO's own keys, each image names its file and frame, and each annotation its object, reader, state,
source, prompts and model, so that the file can be imported without loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ultrasam._version import __version__
from ultrasam.annotate.project.masks import Content
from ultrasam.annotate.project.objects import Object
from ultrasam.annotate.rendering import png
from ultrasam.errors import DataError
from ultrasam.files import atomic_write, read_json, write_json
from ultrasam.images.masks import bounding_box
from ultrasam.images.rle import decode
from ultrasam.images.scan import Scan
from ultrasam.images.writing.segmentation import now

DESCRIPTION = "UltraSam annotator"
FILE = "annotations.json"
UNNAMED = "object"
"""The category of objects without a label."""


@dataclass(slots=True)
class CocoDataset:
    """Writes a data set, image by image.

    Args:
        folder: for ``annotations.json`` and ``images``.
        labels: of the project, in the order of their category numbers.
    """

    folder: Path
    labels: list[str]
    _images: list[dict[str, Any]] = field(default_factory=list)
    _annotations: list[dict[str, Any]] = field(default_factory=list)

    def add_frame(
        self,
        name: str,
        scan: Scan,
        frame: int,
        masks: Iterable[tuple[Object, Content]],
        *,
        path: str,
    ) -> None:
        """Add a frame with its masks; without masks, it is one in which there is nothing.

        Args:
            name: of its picture, without suffix.
            path: the image's, in the project's folder.
        """
        atomic_write(self.folder / "images" / f"{name}.png", png(scan.frame(frame)))
        image = len(self._images) + 1
        self._images.append(
            {
                "id": image, "file_name": f"{name}.png", "width": scan.width, "height": scan.height,
                "source": path, "frame": frame,
            }
        )  # fmt: skip
        for object, content in masks:
            mask = decode(content.rle, (scan.height, scan.width))
            x0, y0, x1, y1 = bounding_box(mask).tolist()
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1, "image_id": image, "iscrowd": 0,
                    "category_id": self._category(object.label_name or UNNAMED),
                    "segmentation": {"size": [scan.height, scan.width], "counts": content.rle},
                    "bbox": [x0, y0, x1 - x0, y1 - y0], "area": int(np.count_nonzero(mask)),
                    "object": object.id, "label": object.label_name, "color": object.color,
                    "reader": object.reader, "state": content.state, "source": content.source,
                    "confidence": content.confidence, "prompts": list(content.prompts),
                    "model": content.model, "saved": content.saved,
                }
            )  # fmt: skip

    def finish(self) -> None:
        """Write ``annotations.json``."""
        write_json(
            self.folder / FILE,
            {
                "info": {"description": DESCRIPTION, "version": __version__, "date_created": now()},
                "images": self._images,
                "annotations": self._annotations,
                "categories": [{"id": n, "name": name} for n, name in enumerate(self.labels, 1)],
            },
        )

    def _category(self, name: str) -> int:
        if name not in self.labels:
            self.labels.append(name)
        return self.labels.index(name) + 1


@dataclass(frozen=True, slots=True)
class ImportedMask:
    """One annotation of a file that `CocoDataset` wrote.

    Attributes:
        path, frame: of its image, in the project's folder.
        size: (height, width).
        rle: COCO's compressed RLE.
        object: tells its object from others.
        label, color: of the object.
        confidence, prompts, model: of the mask.
    """

    path: str
    frame: int
    size: tuple[int, int]
    rle: str
    object: str
    label: str | None
    color: str | None
    confidence: float | None
    prompts: tuple[dict[str, Any], ...]
    model: str | None


def is_own(content: Any) -> bool:
    """Whether JSON is what `CocoDataset` writes."""
    info = content.get("info") if isinstance(content, dict) else None
    return isinstance(info, dict) and info.get("description") == DESCRIPTION


def read_own(file: Path) -> Iterator[ImportedMask]:
    """The annotations of a file that `CocoDataset` wrote.

    Raises:
        DataError: The file is damaged.
    """
    content = read_json(file)
    try:
        images = {one["id"]: one for one in content["images"]}
        for one in content["annotations"]:
            image, rle = images[one["image_id"]], one["segmentation"]
            height, width = (int(v) for v in rle["size"])
            yield ImportedMask(
                str(image["source"]), int(image["frame"]), (height, width), str(rle["counts"]),
                str(one["object"]), one["label"], one["color"], one["confidence"],
                tuple(one["prompts"]), one["model"],
            )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{file.name} is damaged: {error}; export it again.") from error
