"""Custom data sets: image and mask folders, and COCO, LabelMe and VIA annotation files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import (
    IMAGE_NOT_FOUND,
    MISSING_IMAGE,
    MISSING_MASK,
    DatasetInfo,
    DatasetSpec,
)
from ultrasam.datasets.file_tree import FileEntry, FileTree, SkipReport
from ultrasam.datasets.readers.coco import read_coco_image
from ultrasam.datasets.readers.label_rules import Threshold
from ultrasam.datasets.readers.labelme import read_labelme
from ultrasam.datasets.readers.paired_images import MaskOptions, paired
from ultrasam.datasets.readers.tables import parse_json
from ultrasam.datasets.readers.via import read_via
from ultrasam.errors import DataError

_IMAGE_FILE = r"\.(png|jpe?g|bmp|tiff?)$"


def _info(name: str, layout: str, structures: tuple[str, ...] = ()) -> DatasetInfo:
    return DatasetInfo(
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


def image_mask_folder(
    name: str, *, structure: str | None = None, min_value: int = 128
) -> DatasetSpec:
    """Images in ``images/<stem>.*`` with masks in ``masks/<stem>.*`` or ``masks/<structure>/<stem>.*``.

    Args:
        name: id of the data set.
        structure: the structure that the masks show, unless a subfolder names it; defaults to ``name``.
        min_value: mask pixels of at least this gray value belong to the structure. A mask of zeros and
            ones is scaled to 0 and 255 first.
    """

    def cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
        return paired(
            name,
            tree,
            report,
            image=r"/images?/(?P<stem>[^/]+)" + _IMAGE_FILE,
            mask=r"/(masks?|labels?)/((?P<structure>[^/]+)/)?(?P<stem>[^/]+)" + _IMAGE_FILE,
            labels=lambda g: Threshold(g.get("structure") or structure or name, min_value),
            options=MaskOptions(resize=True),
        )

    layout = "images/<stem>.* with masks/<stem>.* or masks/<structure>/<stem>.*"
    return DatasetSpec(_info(name, layout), cases)


def coco_file(name: str, file: str = r"*.json", images: str = "") -> DatasetSpec:
    """A COCO annotation file (polygons or RLE masks), with its images in the same folder or below.

    Args:
        name: id of the data set.
        file: name of the annotation file; with an asterisk, every JSON file is read.
        images: folder that contains the listed images; if empty, all folders are searched.
    """

    def cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
        by_name = _images_by_name(tree)
        used: set[str] = set()
        tables = [e for e, _ in tree.match(r"\.json$") if "*" in file or e.name == file]
        for table in tables:
            content = parse_json(table)
            try:
                categories = {c["id"]: str(c["name"]) for c in content["categories"]}
                annotations: dict[Any, list[tuple[str, Any]]] = defaultdict(list)
                for a in content["annotations"]:
                    structure = categories[a["category_id"]]
                    annotations[a["image_id"]].append((structure, a["segmentation"]))
                records = [(str(i["file_name"]), i) for i in content["images"]]
            except (KeyError, TypeError) as error:
                raise DataError(
                    f"{table.path} is not a COCO annotation file ({error!r}); it needs 'images', "
                    "'annotations' and 'categories'."
                ) from error
            for path, record in records:
                image = _image_at(by_name, f"{images}/{path}" if images else path)
                if image is None:
                    report.skip(path, IMAGE_NOT_FOUND, what="file")
                    continue
                used.add(image.path)
                yield Case(
                    name,
                    PurePosixPath(path).with_suffix("").as_posix(),
                    (image,),
                    partial(read_coco_image, image, tuple(annotations.get(record["id"], ()))),
                    subject=_text(record.get("subject") or record.get("patient_id")),
                    split=_text(record.get("split")),
                )
        _skip_unused(by_name, used, report)

    return DatasetSpec(_info(name, "a COCO JSON file and its images"), cases)


def labelme_files(name: str) -> DatasetSpec:
    """LabelMe files: ``<stem>.json`` next to the image ``<stem>.*``. Each label is a structure."""

    def cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
        images = {e.path.rsplit(".", 1)[0].casefold(): e for e, _ in tree.match(_IMAGE_FILE)}
        for file, _ in tree.match(r"\.json$"):
            stem = file.path.rsplit(".", 1)[0]
            image = images.pop(stem.casefold(), None)
            if image is None:
                report.skip(file, MISSING_IMAGE, what="file")
                continue
            yield Case(name, stem, (image, file), partial(read_labelme, image, file, {}))
        for image in images.values():
            report.skip(image, MISSING_MASK)

    return DatasetSpec(_info(name, "<stem>.json (LabelMe) next to <stem>.jpg"), cases)


def via_files(name: str, *, attribute: str | None = None) -> DatasetSpec:
    """VGG Image Annotator projects or exports (JSON), with their images in the same folder or below.

    Args:
        name: id of the data set, and the structure of regions without a name.
        attribute: region attribute that names the structure; defaults to ``name``, else the first one.
    """

    def cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
        by_name = _images_by_name(tree)
        used: set[str] = set()
        for table, _ in tree.match(r"\.json$"):
            content = parse_json(table)
            if isinstance(content, dict):
                content = content.get("_via_img_metadata", content)
            records = list(content.values()) if isinstance(content, dict) else []
            if not records or not all(isinstance(r, dict) and "regions" in r for r in records):
                raise DataError(
                    f"{table.path} is not a VIA file: it lists no images with 'regions'."
                )
            for record in records:
                path = str(record.get("filename", ""))
                image = _image_at(by_name, path)
                if image is None:
                    report.skip(path, IMAGE_NOT_FOUND, what="file")
                    continue
                used.add(image.path)
                regions = record["regions"]
                regions = tuple(regions.values() if isinstance(regions, dict) else regions)
                yield Case(
                    name,
                    PurePosixPath(path).with_suffix("").as_posix(),
                    (image, table),
                    partial(read_via, image, regions, attribute, name),
                )
        _skip_unused(by_name, used, report)

    return DatasetSpec(_info(name, "a VIA JSON file and its images"), cases)


ImagesByName = dict[str, list[FileEntry]]


def _images_by_name(tree: FileTree) -> ImagesByName:
    """All image files by lower-case file name."""
    by_name: ImagesByName = defaultdict(list)
    for entry, _ in tree.match(_IMAGE_FILE):
        by_name[entry.name.casefold()].append(entry)
    return by_name


def _skip_unused(by_name: ImagesByName, used: set[str], report: SkipReport) -> None:
    for entries in by_name.values():
        for entry in entries:
            if entry.path not in used:
                report.skip(entry, MISSING_MASK)


def _image_at(by_name: ImagesByName, path: str) -> FileEntry | None:
    """The image whose path ends in ``path``, the shortest one if there are several; else None."""
    parts = PurePosixPath(path.replace("\\", "/")).parts
    if not parts:
        return None
    candidates = by_name.get(parts[-1].casefold(), [])
    suffix = "/".join(p for p in parts if p not in ("..", ".", "/")).casefold()
    exact = [e for e in candidates if f"/{e.path.casefold()}".endswith(f"/{suffix}")]
    matches = exact or (candidates if len(candidates) == 1 else [])
    return min(matches, key=lambda e: len(e.path), default=None)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def detect_layout(folder: Path) -> str:
    """The id of a custom data set's layout: image_mask_folder, coco, via or labelme.

    Raises:
        DataError: The folder does not exist, or its layout is not supported.
    """
    if not folder.is_dir():
        raise DataError(f"Folder {folder} does not exist.")
    if (folder / "images").is_dir() and any((folder / n).is_dir() for n in ("masks", "labels")):
        return "image_mask_folder"
    for path in sorted(folder.rglob("*.json")):
        with path.open("rb") as file:
            start = file.read(1 << 20)
        for key, layout in (
            (b'"annotations"', "coco"),
            (b'"shapes"', "labelme"),
            (b'"regions"', "via"),
        ):
            if key in start:
                return layout
    raise DataError(
        f"Unsupported layout in {folder}. Use images/ with masks/, or a COCO, LabelMe or VIA file "
        "(see docs/data.md)."
    )
