"""Layers: an image of the server in a napari viewer, with its masks, clicks and boxes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from napari.utils.colormaps import DirectLabelColormap

from ultrasam.images.masks import BoolMask
from ultrasam.napari.coordinates import Json, box_at, boxes_of, click_at, label_map, points_of

Clicked = Callable[[int, Json], None]


class Layers:
    """The layers of one image.

    A point that is added to ``Add`` or ``Remove`` is a click, and a rectangle in ``Boxes`` a box. What the
    layers show is what the server has stored; the masks cannot be painted on.

    Args:
        viewer: napari's; what the layers of an earlier image were is removed.
        pixels: [H, W], [H, W, 3], or frames [T, H, W].
        name: of the image.
        shape: height, width.
        frames: their count.
        prompted: is given the frame and the prompt that a person has added.
    """

    def __init__(
        self,
        viewer: Any,
        pixels: Any,
        name: str,
        shape: tuple[int, int],
        frames: int,
        prompted: Clicked,
    ) -> None:
        self._viewer, self._shape, self._prompted = viewer, shape, prompted
        self._dimensions = 2 if frames == 1 else 3
        self._filling = False
        whole = shape if frames == 1 else (frames, *shape)
        self.image = viewer.add_image(pixels, name=name, rgb=pixels.ndim == 3 and frames == 1)
        self.masks = viewer.add_labels(np.zeros(whole, np.uint16), name="Masks", opacity=0.4)
        self.masks.editable = False
        self.boxes = viewer.add_shapes(
            ndim=self._dimensions, name="Boxes", edge_color="#4cc2ff", face_color="transparent",
            edge_width=2,
        )  # fmt: skip
        points = {
            "ndim": self._dimensions,
            "size": max(3.0, max(shape) / 80),
            "border_color": "black",
        }
        self.remove = viewer.add_points(name="Remove", face_color="#d55e00", **points)
        self.add = viewer.add_points(name="Add", face_color="#009e73", **points)
        self.boxes.mode, self.remove.mode, self.add.mode = "add_rectangle", "add", "add"
        for layer, label in ((self.add, 1), (self.remove, 0)):
            layer.events.data.connect(lambda event, label=label: self._clicked(event, label))
        self.boxes.events.data.connect(self._drawn)
        viewer.layers.selection.active = self.add

    @property
    def frame(self) -> int:
        """Which is shown."""
        return int(self._viewer.dims.current_step[0]) if self._dimensions == 3 else 0

    def show(
        self,
        frame: int,
        objects: Sequence[Json],
        masks: Sequence[BoolMask | None],
        active: str | None,
    ) -> None:
        """Show what the server has stored in a frame.

        Args:
            objects: with their ``mask`` entries.
            masks: [H, W] of each, or None.
            active: the id of the object whose prompts are shown, or None.
        """
        numbered = [
            (one["number"], mask)
            for one, mask in zip(objects, masks, strict=True)
            if mask is not None
        ]
        colors: dict[Any, str] = {one["number"]: one["color"] for one in objects}
        labels = label_map(numbered, self._shape)
        if self._dimensions == 3:
            self.masks.data[frame] = labels
        else:
            self.masks.data[...] = labels
        self.masks.colormap = DirectLabelColormap(
            color_dict={None: "transparent", 0: "transparent", **colors}
        )
        self.masks.refresh()
        prompts: list[Json] = next(
            (one["mask"]["prompts"] for one in objects if one["id"] == active and one["mask"]), []
        )
        with self._quietly():
            self.add.data = points_of(prompts, 1, frame, self._dimensions)
            self.remove.data = points_of(prompts, 0, frame, self._dimensions)
            self.boxes.selected_data = set()
            self.boxes.data = []
            boxes = boxes_of(prompts, frame, self._dimensions)
            if boxes:
                self.boxes.add(boxes, shape_type="rectangle")

    def close(self) -> None:
        """Take the layers out of the viewer."""
        for layer in (self.add, self.remove, self.boxes, self.masks, self.image):
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """While the layers are filled, what is added to them was not added by a person."""
        self._filling = True
        try:
            yield
        finally:
            self._filling = False

    def _clicked(self, event: Any, label: int) -> None:
        layer = self.add if label else self.remove
        if self._filling or not _is_added(event) or not len(layer.data):
            return
        frame, x, y = click_at(layer.data[-1])
        self._prompted(frame, {"points": [[x, y, label]], "box": None})

    def _drawn(self, event: Any) -> None:
        if self._filling or not _is_added(event) or not len(self.boxes.data):
            return
        frame, box = box_at(self.boxes.data[-1])
        if box[0] < box[2] and box[1] < box[3]:
            self._prompted(frame, {"points": [], "box": box})


def _is_added(event: Any) -> bool:
    action = getattr(event, "action", None)
    return str(getattr(action, "value", action)) == "added"
