"""Layouts of people's own annotations: folders of images and masks, COCO, LabelMe and VIA files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import Info, RawDataset
from ultrasam.datasets.file_tree import Entry, RawTree, Report
from ultrasam.datasets.readers.coco import read_coco_image
from ultrasam.datasets.readers.label_rules import Threshold
from ultrasam.datasets.readers.labelme import read_labelme
from ultrasam.datasets.readers.paired_images import MaskStyle, paired
from ultrasam.datasets.readers.tables import parse_json
from ultrasam.datasets.readers.via import read_via
from ultrasam.errors import DataError

_PICTURE = r"\.(png|jpe?g|bmp|tiff?)$"


def _info(name: str, layout: str, structures: tuple[str, ...] = ()) -> Info:
    return Info(
        id=name,
        name=name,
        url="unknown",
        access="open",
        organ="unknown",
        structures=structures,
        kind="still",
        size="unknown",
        layout=layout,
        part_of_paper=False,
    )


def paired_folders(name: str, *, structure: str | None = None, least: int = 128) -> RawDataset:
    """``images/<stem>.*`` with ``masks/<stem>.*``: grey of at least ``least`` (or 1 of 1) is the structure.

    A folder of its own below ``masks`` names the structure: ``masks/<structure>/<stem>.*``.
    """

    def cases(tree: RawTree, report: Report) -> Iterator[Case]:
        return paired(
            name,
            tree,
            report,
            image=r"/images?/(?P<stem>[^/]+)" + _PICTURE,
            mask=r"/(masks?|labels?)/((?P<what>[^/]+)/)?(?P<stem>[^/]+)" + _PICTURE,
            labels=lambda g: Threshold(g.get("what") or structure or name, least),
            style=MaskStyle(resize=True),
        )

    layout = "images/<stem>.* and masks/<stem>.* or masks/<structure>/<stem>.*"
    return RawDataset(_info(name, layout), cases)


def coco_file(name: str, file: str = r"*.json", images: str = "") -> RawDataset:
    """A COCO file with polygons or run lengths, and its images anywhere beside or below.

    Args:
        file: the file's name; any JSON file with 'annotations' where it has a star.
        images: a folder that the images' paths must end in, before their own; any where empty.
    """

    def cases(tree: RawTree, report: Report) -> Iterator[Case]:
        by_path: dict[str, list[Entry]] = defaultdict(list)
        for entry, _ in tree.match(_PICTURE):
            by_path[entry.name.casefold()].append(entry)
        used = set()
        tables = [e for e, _ in tree.match(r"\.json$") if "*" in file or e.name == file]
        for table in tables:
            content = parse_json(table)
            try:
                categories = {c["id"]: str(c["name"]) for c in content["categories"]}
                found: dict[Any, list[tuple[str, Any]]] = defaultdict(list)
                for a in content["annotations"]:
                    found[a["image_id"]].append((categories[a["category_id"]], a["segmentation"]))
                listed = [(str(i["file_name"]), i) for i in content["images"]]
            except (KeyError, TypeError) as error:
                raise DataError(
                    f"{table.path} is not a COCO annotation file ({error!r})."
                ) from error
            for path, described in listed:
                image = _found(by_path, f"{images}/{path}" if images else path)
                if image is None:
                    report.skip(path, "annotated image that is missing")
                    continue
                used.add(image.path)
                yield Case(
                    name,
                    PurePosixPath(path).with_suffix("").as_posix(),
                    (image,),
                    partial(read_coco_image, image, tuple(found.get(described["id"], ()))),
                    subject=_text(described.get("subject") or described.get("patient_id")),
                    split=_text(described.get("split")),
                )
        for entries in by_path.values():
            for entry in entries:
                if entry.path not in used:
                    report.skip(entry, "image without a mask")

    return RawDataset(_info(name, "a COCO JSON file and its images"), cases)


def labelme_files(name: str) -> RawDataset:
    """``<stem>.json`` (LabelMe) beside ``<stem>.*``; every label is a structure."""

    def cases(tree: RawTree, report: Report) -> Iterator[Case]:
        images = {e.path.rsplit(".", 1)[0].casefold(): e for e, _ in tree.match(_PICTURE)}
        for file, _ in tree.match(r"\.json$"):
            stem = file.path.rsplit(".", 1)[0]
            image = images.pop(stem.casefold(), None)
            if image is None:
                report.skip(file, "mask without an image")
                continue
            yield Case(name, stem, (image, file), partial(read_labelme, image, file, {}))
        for image in images.values():
            report.skip(image, "image without a mask")

    return RawDataset(_info(name, "<stem>.json (LabelMe) beside <stem>.jpg"), cases)


def via_files(name: str, *, attribute: str | None = None) -> RawDataset:
    """VGG Image Annotator's projects or exports (JSON), and their images anywhere beside or below.

    Args:
        attribute: the region attribute that names the structure; the only one, or ``name``, where None.
    """

    def cases(tree: RawTree, report: Report) -> Iterator[Case]:
        by_path: dict[str, list[Entry]] = defaultdict(list)
        for entry, _ in tree.match(_PICTURE):
            by_path[entry.name.casefold()].append(entry)
        used = set()
        for table, _ in tree.match(r"\.json$"):
            content = parse_json(table)
            if isinstance(content, dict):
                content = content.get("_via_img_metadata", content)
            records = list(content.values()) if isinstance(content, dict) else []
            if not records or not all(isinstance(r, dict) and "regions" in r for r in records):
                raise DataError(f"{table.path} is not a VIA file: its images have no 'regions'.")
            for record in records:
                path = str(record.get("filename", ""))
                image = _found(by_path, path)
                if image is None:
                    report.skip(path, "annotated image that is missing")
                    continue
                used.add(image.path)
                regions = record["regions"]
                listed = list(regions.values()) if isinstance(regions, dict) else list(regions)
                yield Case(
                    name,
                    PurePosixPath(path).with_suffix("").as_posix(),
                    (image, table),
                    partial(read_via, image, tuple(listed), attribute, name),
                )
        for entries in by_path.values():
            for entry in entries:
                if entry.path not in used:
                    report.skip(entry, "image without a mask")

    return RawDataset(_info(name, "a VIA JSON file and its images"), cases)


def _found(by_name: dict[str, list[Entry]], path: str) -> Entry | None:
    """The image whose path ends in ``path``; of several, the shortest."""
    parts = PurePosixPath(path.replace("\\", "/")).parts
    if not parts:
        return None
    candidates = by_name.get(parts[-1].casefold(), [])
    wanted = "/".join(p for p in parts if p not in ("..", ".", "/")).casefold()
    exact = [e for e in candidates if f"/{e.path.casefold()}".endswith(f"/{wanted}")]
    found = exact or (candidates if len(candidates) == 1 else [])
    return min(found, key=lambda e: len(e.path), default=None)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def layout_of(folder: Path) -> str:
    """Which layout a folder of one's own has: ``own_masks`` (images/ and masks/), or JSON beside images:
    ``own_coco``, ``own_via`` or ``own_labelme``.

    Raises:
        DataError: missing, or none of these.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.")
    if (folder / "images").is_dir() and any((folder / n).is_dir() for n in ("masks", "labels")):
        return "own_masks"
    for path in sorted(folder.rglob("*.json")):
        with path.open("rb") as file:
            start = file.read(1 << 20)
        for mark, layout in (
            (b'"annotations"', "own_coco"),
            (b'"shapes"', "own_labelme"),
            (b'"regions"', "own_via"),
        ):
            if mark in start:
                return layout
    raise DataError(
        f"{folder} has neither images/ with masks/ nor a COCO, LabelMe or VIA file; see docs/data.md."
    )
