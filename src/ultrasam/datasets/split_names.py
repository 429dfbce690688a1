"""The splits that people name their files and folders after."""

from __future__ import annotations

import re
from typing import Any

_NAMES = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test", "trainval": "trainval",
}  # fmt: skip


def split_of(value: Any) -> str | None:
    """train, val, test or trainval from a split's name, such as 'valid' or 'train2017'; None for others."""
    text = re.sub(r"\d{4}$", "", str(value).strip().casefold()) if isinstance(value, str) else ""
    return _NAMES.get(text)


def split_of_path(path: str) -> str | None:
    """The split named by a file's name, such as 'instances_val2017.json', else by the nearest folder's."""
    *folders, name = path.split("/")
    words = [split_of(word) for word in re.split(r"[^A-Za-z0-9]+", name)[:-1]]
    found = {split for split in words if split}
    if len(found) > 1:
        return "trainval" if found <= {"train", "val", "trainval"} else None
    if found:
        return found.pop()
    return next((split for folder in reversed(folders) if (split := split_of(folder))), None)
