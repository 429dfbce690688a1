"""Image and category IDs of a user's COCO file, so that results can be scored against it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ultrasam.errors import DataError, one_line
from ultrasam.files import read_json
from ultrasam.images.scan import Scan
from ultrasam.inference.inputs import match_names

Id = int | str
_LISTED = 8


@dataclass(frozen=True, slots=True)
class CocoImage:
    """An image of a COCO file.

    Attributes:
        id: of any type that COCO files have.
        size: height and width in pixels, if the file has them.
    """

    id: Id
    size: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class CocoIds:
    """IDs of a COCO file.

    Attributes:
        path: of the COCO file.
        images: by name, in the file; several of one name cannot be told apart.
        categories: IDs by name, in the file's order.
        default: the category of objects that have none of their own; see `for_category`.
        of_files: the image of each input, after `for_files`.
        ambiguous: why an input cannot be told from others, after `for_files`.
    """

    path: Path
    images: Mapping[str, list[CocoImage]]
    categories: Mapping[str, Id]
    default: str | None = None
    of_files: Mapping[Path, CocoImage] | None = None
    ambiguous: Mapping[Path, str] | None = None

    def for_files(self, paths: Sequence[Path]) -> CocoIds:
        """Find the image of each input (see `ultrasam.inference.inputs.match_names`).

        Raises:
            DataError: No input is in the COCO file.
        """
        matches = match_names(paths, self.images, folder=self.path.parent)
        found, ambiguous = {}, dict(matches.ambiguous)
        for path, name in matches.names.items():
            if len(self.images[name]) == 1:
                found[path] = self.images[name][0]
            else:
                ambiguous[path] = f"{len(self.images[name])} images are called '{name}'"
        if not found:
            path = paths[0]
            reason = ambiguous.get(path, f"it has no image called {path.name}")
            raise DataError(f"{path} is not in {self.path}: {reason}.")
        return replace(self, of_files=found, ambiguous=ambiguous)

    def for_category(self, name: str | None) -> CocoIds:
        """Use one category for objects that have none of their own.

        Raises:
            DataError: The COCO file has no such category.
        """
        if name is not None:
            self.category(name)
        return replace(self, default=name)

    def image(self, path: Path, scan: Scan) -> Id:
        """The image ID of an input.

        Raises:
            DataError: The COCO file has no such image, or one of another size; or the input has several
                frames.
        """
        found = (self.of_files or {}).get(path)
        if found is None:
            reason = (self.ambiguous or {}).get(path, f"it has no image called {path.name}")
            raise DataError(f"{path} is not in {self.path}: {reason}.")
        if scan.num_frames > 1:
            raise DataError(
                f"{path} has {scan.num_frames} frames, but images of COCO files are single; save the frames "
                "as images."
            )
        if found.size is not None and found.size != (scan.height, scan.width):
            height, width = found.size
            raise DataError(
                f"{path} is {scan.width} × {scan.height} pixels, but {width} × {height} in {self.path}; "
                "results could not be compared."
            )
        return found.id

    def category(self, name: str | None) -> Id:
        """The ID of a category, by its name or ID; None is the default, or the only one.

        Raises:
            DataError: There is no such category, or there are several and none is named.
        """
        name = self.default if name is None else name
        known = ", ".join(list(self.categories)[:_LISTED])
        if name is None:
            if len(self.categories) != 1:
                raise DataError(
                    f"{self.path} has {len(self.categories)} categories ({known}); choose one with "
                    "--category, or give each prompt its own in the prompts file."
                )
            return next(iter(self.categories.values()))
        if name in self.categories:
            return self.categories[name]
        alike = [i for n, i in self.categories.items() if n.casefold() == name.casefold()]
        alike = alike or [i for i in self.categories.values() if str(i) == name]
        if len(alike) != 1:
            raise DataError(f"{self.path} has no category '{name}'; it has {known}.")
        return alike[0]


def read_coco_ids(path: Path) -> CocoIds:
    """Read the IDs of a COCO file.

    Raises:
        DataError: The file cannot be read, or is not of this form.
    """
    content = read_json(path)
    images: dict[str, list[CocoImage]] = {}
    for entry in _list(content, "images", path):
        name = entry.get("file_name")
        if not isinstance(name, str) or not _is_id(entry.get("id")):
            raise DataError(f"{path}: image {_short(entry)} has no file_name or no id.")
        size = entry.get("height"), entry.get("width")
        known = all(isinstance(side, int | float) and 0 < side < 1e9 for side in size)
        image = CocoImage(entry["id"], (int(size[0]), int(size[1])) if known else None)  # type: ignore[arg-type]
        images.setdefault(name, []).append(image)
    categories: dict[str, Id] = {}
    for entry in _list(content, "categories", path):
        if not _is_id(entry.get("id")):
            raise DataError(f"{path}: category {_short(entry)} has no id.")
        name = str(entry.get("name", entry["id"]))
        if name in categories:
            raise DataError(f"{path}: two categories are called '{name}'.")
        categories[name] = entry["id"]
    return CocoIds(path, images, categories)


def _list(content: Any, key: str, path: Path) -> list[dict[str, Any]]:
    entries = content.get(key) if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise DataError(f"{path} is not a COCO file: it has no {key}.")
    if not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f"{path} is not a COCO file: its {key} are no objects.")
    return entries


def _is_id(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _short(entry: Any) -> str:
    return one_line(json.dumps(entry), limit=60)
