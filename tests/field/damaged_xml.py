"""Damage an XML file as people do."""

from __future__ import annotations

import copy
import xml.etree.ElementTree as ET
from typing import Any


def change_xml(data: bytes, where: int, how: str, value: Any, *, of_image: bool = True) -> bytes:
    """Change one attribute or element of an XML file; only of shapes, unless ``of_image``."""
    try:
        root = ET.fromstring(data)
    except (ET.ParseError, ValueError):
        return data
    within = [root] if of_image else list(root.iterfind("image"))
    shapes = {id(e) for image in root.iterfind("image") for e in image.iter() if e is not image}
    places: list[tuple[ET.Element, str | int]] = [
        (e, key)
        for top in within
        for e in top.iter()
        if of_image or id(e) in shapes
        for key in [*sorted(e.attrib), *range(len(e)), "(tag)"]
    ]
    if not places:
        return data
    element, key = places[where % len(places)]
    text = "".join(c for c in str(value) if c.isprintable())
    if key == "(tag)":
        if how in ("set", "text"):
            element.tag = {"set": "mask", "text": "box"}[how] if text else "unknown"
    elif isinstance(key, str):
        if how == "drop":
            del element.attrib[key]
        elif how == "cut":
            element.attrib[key] = element.attrib[key][: len(element.attrib[key]) // 2]
        else:
            element.attrib[key] = text if how == "set" else ""
    elif how == "drop":
        del element[key]
    elif how == "double":
        element.append(copy.deepcopy(element[key]))
    elif how == "reverse":
        element[:] = element[::-1]
    elif how == "swap":
        element[key], element[key - 1] = element[key - 1], element[key]
    elif how == "cut":
        del element[key:]
    return ET.tostring(root, encoding="utf-8", xml_declaration=True)
