"""Valid annotated data sets of every custom layout, and the ways in which people damage them."""

from __future__ import annotations

import copy
import io
import json
import math
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from tests.field.damaged_xml import change_xml

SIZE = (12, 16)  # height, width
NAMES = ("a", "b", "c", "Zürich 4")
EMPTY = "c"  # the image that is annotated as one without objects
_BOX = (3, 2, 6, 5)  # x, y, width, height of the object of each other image


def picture(gray: int) -> bytes:
    """A PNG of one gray value."""
    return _png(np.full(SIZE, gray, np.uint8))


def mask(value: int = 255) -> bytes:
    """A mask PNG with the object."""
    values = np.zeros(SIZE, np.uint8)
    x, y, w, h = _BOX
    values[y : y + h, x : x + w] = value
    return _png(values)


def _png(values: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(values).save(out, "PNG")
    return out.getvalue()


def _outline() -> list[list[float]]:
    x, y, w, h = _BOX
    return [[x, y], [x + w, y], [x + w, y + h], [x, y + h]]


Files = dict[str, bytes]


def coco() -> Files:
    """A COCO file beside its images."""
    flat = [float(v) for point in _outline() for v in point]
    table = {
        "images": [
            {"id": k, "file_name": f"{n}.png", "height": SIZE[0], "width": SIZE[1]}
            for k, n in enumerate(NAMES, 1)
        ],
        "categories": [{"id": 1, "name": "cyst"}],
        "annotations": [
            {
                "id": 10 + k, "image_id": k, "category_id": 1, "iscrowd": 0, "area": 30.0,
                "bbox": list(_BOX), "segmentation": [flat],
            }
            for k, n in enumerate(NAMES, 1) if n != EMPTY
        ],
    }  # fmt: skip
    return {"annotations.json": _text(table)} | _pictures("")


def via() -> Files:
    """A VIA project beside its images."""
    xs, ys = zip(*_outline(), strict=True)
    shape = {"name": "polygon", "all_points_x": list(xs), "all_points_y": list(ys)}
    region = {"shape_attributes": shape, "region_attributes": {"name": "cyst"}}
    table = {
        f"{n}.png100": {
            "filename": f"{n}.png", "size": 100, "file_attributes": {},
            "regions": [] if n == EMPTY else [region],
        }
        for n in NAMES
    }  # fmt: skip
    return {"via.json": _text(table)} | _pictures("")


def labelstudio() -> Files:
    """A Label Studio export with the images as they were uploaded."""
    height, width = SIZE
    value = {
        "points": [[100 * x / width, 100 * y / height] for x, y in _outline()],
        "closed": True, "polygonlabels": ["cyst"],
    }  # fmt: skip
    region = {
        "id": "r1", "type": "polygonlabels", "value": value, "from_name": "label", "to_name": "image",
        "original_width": width, "original_height": height, "image_rotation": 0, "origin": "manual",
    }  # fmt: skip
    tasks = [
        {
            "id": k, "data": {"image": f"/data/upload/1/{k:08x}-{n}.png"},
            "annotations": [{
                "id": 100 + k, "completed_by": 1, "was_cancelled": False, "ground_truth": False,
                "result": [] if n == EMPTY else [region],
            }],
        }
        for k, n in enumerate(NAMES, 1)
    ]  # fmt: skip
    return {"export.json": _text(tasks)} | _pictures("")


def cvat() -> Files:
    """A CVAT XML file with its images."""
    points = ";".join(f"{x:.2f},{y:.2f}" for x, y in _outline())
    shape = f'<polygon label="cyst" source="manual" occluded="0" points="{points}" z_order="0"></polygon>'
    images = "".join(
        f'<image id="{k}" name="{n}.png" width="{SIZE[1]}" height="{SIZE[0]}">'
        f"{'' if n == EMPTY else shape}</image>"
        for k, n in enumerate(NAMES)
    )
    text = (
        '<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version><meta><task><id>1</id>'
        f"</task></meta>{images}</annotations>"
    )
    return {"annotations.xml": text.encode()} | _pictures("images/")


def labelme() -> Files:
    """A LabelMe file beside each image."""
    files = _pictures("")
    for n in NAMES:
        shapes = [
            {"label": "cyst", "points": _outline(), "shape_type": "polygon", "group_id": None}
        ]
        files[f"{n}.json"] = _text(
            {
                "version": "5.2.1", "flags": {}, "shapes": [] if n == EMPTY else shapes,
                "imagePath": f"{n}.png", "imageData": None,
                "imageHeight": SIZE[0], "imageWidth": SIZE[1],
            }
        )  # fmt: skip
    return files


def masks() -> Files:
    """A mask file for each image."""
    files = _pictures("images/")
    return files | {f"masks/{n}.png": mask(0 if n == EMPTY else 255) for n in NAMES}


def _pictures(folder: str) -> Files:
    return {f"{folder}{n}.png": picture(40 + 30 * k) for k, n in enumerate(NAMES)}


def _text(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode()


@dataclass(frozen=True)
class Damage:
    """One way to damage the files of a data set, in place."""

    name: str
    apply: Callable[[Files], None]

    def __repr__(self) -> str:
        return self.name


def damages() -> st.SearchStrategy[list[Damage]]:
    """One to four damages in a row."""
    return st.lists(st.one_of(_in_json(), _in_text(), _in_files()), min_size=1, max_size=4)


_VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [None, "", "1", "01", 1, 1.0, 0, -1, 999, 1e300, math.nan, math.inf, True, [], {}, [[]], [None],
     "cyst", "../a.png", "a.png", [1, 2], [[1, 2, 3]], [[1, 1, 9, 9]], {"counts": [1], "size": [1, 1]},
     {"counts": [190, 2], "size": [12, 16]}, {"counts": "abc", "size": [12, 16]}, "polygon", "mask"]
)  # fmt: skip


def _in_json() -> st.SearchStrategy[Damage]:
    """Change one value somewhere in an annotation file, or its order."""

    @st.composite
    def build(draw: st.DrawFn) -> Damage:
        file, where = draw(st.integers(0, 50)), draw(st.integers(0, 10_000))
        how = draw(st.sampled_from(["drop", "set", "text", "double", "reverse", "swap", "cut"]))
        value = draw(_VALUES)

        def apply(files: Files) -> None:
            tables = sorted(name for name in files if name.endswith((".json", ".xml")))
            if not tables:
                return
            name = tables[file % len(tables)]
            if name.endswith(".xml"):
                files[name] = change_xml(files[name], where, how, value)
                return
            try:
                content = json.loads(files[name])
            except ValueError:
                return
            places = list(_places(content))
            if not places:
                return
            parent, key = places[where % len(places)]
            if how == "drop":
                del parent[key]
            elif how == "set":
                parent[key] = copy.deepcopy(value)
            elif how == "text":
                parent[key] = str(parent[key])
            elif how == "double" and isinstance(parent, list):
                parent.append(copy.deepcopy(parent[key]))
            elif how == "reverse" and isinstance(parent, list):
                parent.reverse()
            elif how == "swap" and isinstance(parent, list) and len(parent) > 1:
                parent[key], parent[key - 1] = parent[key - 1], parent[key]
            elif how == "cut" and isinstance(parent, list):
                del parent[key:]
            files[name] = _text(content)

        return Damage(f"json {how} {file} {where} {value!r}", apply)

    return build()


def annotation_damages() -> st.SearchStrategy[Damage]:
    """Damage the annotation of one image, but not which image it belongs to."""

    @st.composite
    def build(draw: st.DrawFn) -> Damage:
        where, how = (
            draw(st.integers(0, 10_000)),
            draw(st.sampled_from(["drop", "set", "text", "cut"])),
        )
        value = draw(_VALUES)

        def apply(files: Files) -> None:
            if "annotations.xml" in files:
                data = change_xml(files["annotations.xml"], where, how, value, of_image=False)
                files["annotations.xml"] = data
                return
            contents = {n: json.loads(files[n]) for n in sorted(files) if n.endswith(".json")}
            places = [
                (name, parent, key)
                for name, content in contents.items()
                for items, index in _annotations(content)
                for parent, key in [(items, index), *_places(items[index])]
                if key != "image_id" and not (how in ("drop", "cut") and parent is items)
            ]
            name, parent, key = places[where % len(places)]
            if how == "drop":
                del parent[key]
            elif how == "set":
                parent[key] = copy.deepcopy(value)
            elif how == "text":
                parent[key] = str(parent[key])
            elif isinstance(parent, list):
                del parent[key:]
            files[name] = _text(contents[name])

        return Damage(f"annotation {how} {where} {value!r}", apply)

    return build()


def _annotations(content: Any) -> Iterator[tuple[list[Any], int]]:
    """Each annotation of a COCO, VIA, LabelMe or Label Studio file, as a list and an index."""
    if isinstance(content, list):
        lists = [a["result"] for task in content for a in task["annotations"]]
    elif "annotations" in content:
        lists = [content["annotations"]]
    elif "shapes" in content:
        lists = [content["shapes"]]
    else:
        lists = [image["regions"] for image in content.values()]
    for items in lists:
        for index in range(len(items)):
            yield items, index


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    """Each container in a JSON tree with each of its keys."""
    if isinstance(content, dict | list):
        keys = list(content) if isinstance(content, dict) else range(len(content))
        for key in keys:
            yield content, key
            yield from _places(content[key])


def _in_text() -> st.SearchStrategy[Damage]:
    """Cut an annotation file, or save it in another encoding."""

    @st.composite
    def build(draw: st.DrawFn) -> Damage:
        file, at = draw(st.integers(0, 50)), draw(st.floats(0, 1))
        how = draw(
            st.sampled_from(
                ["cut", "utf-16", "utf-8-sig", "latin-1", "utf-32", "crlf", "escape", "doctype"]
            )
        )

        def apply(files: Files) -> None:
            tables = sorted(name for name in files if name.endswith((".json", ".xml")))
            if not tables:
                return
            name = tables[file % len(tables)]
            data = files[name]
            try:
                text = data.decode()
                if how == "cut":
                    data = data[: int(at * len(data))]
                elif how == "doctype":
                    data = text.replace("<annotations>", "<!DOCTYPE a><annotations>").encode()
                elif how == "crlf":
                    data = text.replace(",", ",\r\n").encode()
                elif how == "escape":
                    data = json.dumps(json.loads(text)).encode()
                else:
                    data = text.encode(how, errors="replace")
            except ValueError:
                return
            files[name] = data

        return Damage(f"text {how} {file} {at:.2f}", apply)

    return build()


def _in_files() -> st.SearchStrategy[Damage]:
    """Remove, rename, damage, replace or add files."""

    @st.composite
    def build(draw: st.DrawFn) -> Damage:
        file, value = (
            draw(st.integers(0, 50)),
            draw(st.sampled_from([0, 1, 2, 7, 85, 128, 170, 255])),
        )
        how = draw(
            st.sampled_from(
                ["remove", "case", "unicode", "suffix", "cut", "empty", "size", "turn", "values",
                 "color", "another", "json beside", "table beside", "in folder", "text beside"]
            )
        )  # fmt: skip

        def apply(files: Files) -> None:
            names = sorted(files)
            if not names:
                return
            name = names[file % len(names)]
            folder, _, last = name.rpartition("/")
            inside = f"{folder}/" if folder else ""
            is_picture = name.endswith((".png", ".PNG"))
            if how == "remove":
                del files[name]
            elif how == "case":
                files[inside + last.upper()] = files.pop(name)
            elif how == "unicode":
                files[inside + unicodedata.normalize("NFD", last)] = files.pop(name)
            elif how == "suffix":
                files[inside + last.rsplit(".", 1)[0] + ".bmp"] = files.pop(name)
            elif how == "cut":
                files[name] = files[name][: len(files[name]) // 2]
            elif how == "empty":
                files[name] = b""
            elif how == "size" and is_picture:
                files[name] = _png(np.full((24, 32), value, np.uint8))
            elif how == "turn" and is_picture:
                files[name] = _png(np.full(SIZE[::-1], value, np.uint8))
            elif how == "values" and is_picture:
                files[name] = mask(value)
            elif how == "color" and is_picture:
                rgb = np.zeros((*SIZE, 3), np.uint8)
                rgb[3:6, 3:6] = (value, 0, 128)
                files[name] = _png(rgb)
            elif how == "another":
                files[f"{inside}another.png"] = picture(99)
            elif how == "json beside":
                files["info.json"] = b'{"description": "a set", "year": 2024}'
            elif how == "table beside":
                files["captions.json"] = _text({"images": [], "annotations": [], "info": {}})
            elif how == "in folder":
                files[f"{inside}deeper/{last}"] = files[name]
            elif how == "text beside":
                files["README.txt"] = b"Read me."

        return Damage(f"file {how} {file} {value}", apply)

    return build()


def write(files: Files, folder: Path) -> None:
    """Write files below a folder."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
