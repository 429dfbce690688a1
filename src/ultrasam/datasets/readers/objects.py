"""The objects of an image: shapes of a group are one object, and an object annotated twice counts once."""

from __future__ import annotations

import zlib
from dataclasses import replace
from enum import Enum, auto

import numpy as np

from ultrasam.datasets.annotated_image import Instance

# LabelMe's own names, and what people write; in lower case.
IGNORED_NAMES = ("__ignore__", "_ignore_", "ignore", "ignored")
BACKGROUND_NAMES = ("_background_", "__background__", "background")


class Added(Enum):
    """What became of an instance: an object of its own, a part of another one, or nothing."""

    ALONE = auto()
    JOINED = auto()
    TWICE = auto()


class Objects:
    """Collects the instances of an image.

    Attributes:
        instances: objects and regions to ignore, in the order of their annotations.
    """

    def __init__(self) -> None:
        self.instances: list[Instance] = []
        self._of_group: dict[tuple[str, str], int] = {}
        self._equal: dict[tuple[str, int], list[int]] = {}

    def add(self, instance: Instance, group: str | None = None) -> Added:
        """Add an object.

        Args:
            instance: the object.
            group: of annotations that are one object if they have the same name; None if it is one by itself.
        """
        position = len(self.instances)
        if group is not None:
            first = self._of_group.setdefault((instance.name, group), position)
            if first < position:
                joined = self.instances[first].mask | instance.mask
                self.instances[first] = replace(self.instances[first], mask=joined)
                return Added.JOINED
        else:
            key = (instance.name, zlib.crc32(instance.mask.tobytes()))
            equal = self._equal.setdefault(key, [])
            if any(np.array_equal(self.instances[i].mask, instance.mask) for i in equal):
                return Added.TWICE
            equal.append(position)
        self.instances.append(instance)
        return Added.ALONE

    def ignore(self, instance: Instance) -> None:
        """Add a region to ignore."""
        self.instances.append(instance)
