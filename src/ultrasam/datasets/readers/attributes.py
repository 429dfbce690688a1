"""Which of several attributes of an annotation names its structure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from ultrasam.datasets.readers.listed_images import text_of
from ultrasam.errors import DataError

SEVERAL_STRUCTURES = "annotation with several structures"
_STRUCTURE = ("name", "class", "label", "type", "category", "structure", "object")


def value_of(value: Any) -> str | None:
    """The text of an attribute's value; a checkbox, {"cyst": true, "node": false}, gives what is checked.

    None if the value is empty, or several boxes are checked.
    """
    if isinstance(value, Mapping):
        checked = [str(name).strip() for name, on in value.items() if on and on != "false"]
        return checked[0] or None if len(checked) == 1 else None
    return text_of(value)


def attribute_values(annotations: Iterable[Mapping[str, Any]]) -> dict[str, set[str]]:
    """The values of each attribute that has any, from the attributes of all annotations of a file."""
    values: dict[str, set[str]] = defaultdict(set)
    for attributes in annotations:
        for name, value in attributes.items():
            if (text := value_of(value)) is not None:
                values[str(name)].add(text)
    return dict(values)


def choose_attribute(values: Mapping[str, set[str]], wanted: str | None, where: str) -> str | None:
    """The attribute that names the structure; None if there are no attributes.

    It is the wanted one, else the only one, else the only one whose name says so, such as 'class' or 'type'.

    Args:
        values: the values of each attribute (see `attribute_values`).
        wanted: the user's choice, if any.
        where: the annotation file, for the error message.

    Raises:
        DataError: The wanted attribute does not exist, or several attributes might name the structure.
    """
    names = ", ".join(f"{name} ({_examples(found)})" for name, found in sorted(values.items()))
    if wanted is not None:
        if wanted not in values:
            raise DataError(
                f"{where}: no annotation has a value for the attribute '{wanted}'; "
                f"the attributes are: {names or 'none'}."
            )
        return wanted
    if len(values) <= 1:
        return next(iter(values), None)
    likely = [name for name in values if name.strip().casefold() in _STRUCTURE]
    if len(likely) == 1:
        return likely[0]
    raise DataError(
        f"{where}: which attribute names the structure? There are {names}; choose one with "
        "ultrasam data import --attribute NAME."
    )


def _examples(values: set[str]) -> str:
    shown = sorted(values)[:3]
    return ", ".join(shown) + (", …" if len(values) > len(shown) else "")
