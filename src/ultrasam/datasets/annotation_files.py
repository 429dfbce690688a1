"""Custom data sets whose annotation files list images: COCO, CVAT, Label Studio and VIA.

An annotation file's images are found by `ImageFinder`. Every image is read or reported: also one that no file
lists, or that several files annotate differently.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ultrasam.datasets.annotated_image import Case, CaseImage
from ultrasam.datasets.description import IMAGE_NOT_FOUND, DatasetInfo, DatasetSpec
from ultrasam.datasets.file_tree import FileEntry, FileTree, Skip, SkipReport
from ultrasam.datasets.readers.annotations import Annotation
from ultrasam.datasets.readers.attributes import attribute_values, choose_attribute
from ultrasam.datasets.readers.coco import (
    annotation_attributes,
    coco_images,
    is_coco,
    read_coco_image,
)
from ultrasam.datasets.readers.cvat import cvat_attributes, cvat_images, is_cvat, read_cvat
from ultrasam.datasets.readers.image_finder import ImageFinder
from ultrasam.datasets.readers.labelstudio import (
    NOT_LABEL_STUDIO,
    labelstudio_images,
    read_labelstudio,
)
from ultrasam.datasets.readers.listed_images import ListedImage, OtherFormatError
from ultrasam.datasets.readers.other_formats import other_file, other_json
from ultrasam.datasets.readers.tables import parse_json
from ultrasam.datasets.readers.via import is_via, read_via, region_attributes, via_images
from ultrasam.datasets.readers.xml_trees import parse_xml
from ultrasam.datasets.split_names import split_of_path
from ultrasam.errors import DataError
from ultrasam.text import name_key

IMAGE_FILE = r"\.(png|jpe?g|bmp|tiff?)$"
NOT_LISTED = "image that no annotation file lists"
UNDECIDED = "listed by a name that several images have"
CONFLICT = "listed several times, with different annotations"
_VERSION = 2

ReadImage = Callable[[FileEntry, tuple[Annotation, ...]], Iterable[CaseImage | Skip]]
ReadTables = Callable[[Mapping[str, Any], Sequence[FileEntry], SkipReport], "list[Table]"]


@dataclass(frozen=True, slots=True)
class Table:
    """An annotation file and the images that it lists."""

    file: FileEntry
    images: list[ListedImage]


def custom_info(name: str, layout: str, structures: tuple[str, ...] = ()) -> DatasetInfo:
    """The facts about a custom data set: next to none."""
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


def coco_file(
    name: str, file: str = r"*.json", images: str = "", *, attribute: str | None = None
) -> DatasetSpec:
    """COCO annotation files (polygons or RLE masks) and their images.

    Args:
        name: id of the data set.
        file: name or path of the annotation file; with an asterisk, every JSON file is read.
        images: folder that the listed paths start from, relative to the annotation file; if empty, usual
            folders are searched.
        attribute: attribute of the annotations that names the structure, instead of the category.
    """

    def read(
        contents: Mapping[str, Any], files: Sequence[FileEntry], report: SkipReport
    ) -> list[Table]:
        if attribute is not None:
            valid = [entry for entry in files if is_coco(contents[entry.path])]
            attributes = [a for entry in valid for a in annotation_attributes(contents[entry.path])]
            choose_attribute(attribute_values(attributes), attribute, _named(valid))
        tables = []
        for entry in files:
            try:
                listed = coco_images(contents[entry.path], entry, report, attribute=attribute)
            except OtherFormatError as error:
                _skip_other(entry, contents[entry.path], error, report, reading="coco")
                continue
            if images:
                listed = [replace(image, path=f"{images}/{image.path}") for image in listed]
            tables.append(Table(entry, listed))
        return tables

    def cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
        return _cases(name, tree, report, read, read_coco_image, kind="COCO", file=file)

    return DatasetSpec(
        custom_info(name, "a COCO JSON file and its images"), cases, version=_VERSION
    )


def via_files(name: str, *, attribute: str | None = None) -> DatasetSpec:
    """Projects or JSON exports of the VGG Image Annotator (VIA 1 and 2), and their images.

    Args:
        name: id of the data set, and the structure of regions without a name.
        attribute: region attribute that names the structure; needed if there are several and their names do
            not tell (see `choose_attribute`).
    """

    def read(
        contents: Mapping[str, Any], files: Sequence[FileEntry], report: SkipReport
    ) -> list[Table]:
        valid = [entry for entry in files if is_via(contents[entry.path])]
        values = attribute_values(
            attributes for entry in valid for attributes in region_attributes(contents[entry.path])
        )
        name_attribute = choose_attribute(values, attribute, _named(valid)) if valid else None
        tables = []
        for entry in files:
            try:
                listed = via_images(contents[entry.path], attribute=name_attribute, default=name)
            except OtherFormatError as error:
                _skip_other(entry, contents[entry.path], error, report, reading="via")
                continue
            tables.append(Table(entry, listed))
        return tables

    def cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
        return _cases(name, tree, report, read, read_via, kind="VIA")

    return DatasetSpec(custom_info(name, "a VIA JSON file and its images"), cases, version=_VERSION)


def cvat_files(name: str, file: str = "*.xml", *, attribute: str | None = None) -> DatasetSpec:
    """XML files of "CVAT for images 1.1", and their images.

    Args:
        name: id of the data set.
        file: name or path of the annotation file; with an asterisk, every XML file is read.
        attribute: attribute of the shapes that names the structure, instead of the label.
    """

    def read(
        contents: Mapping[str, Any], files: Sequence[FileEntry], report: SkipReport
    ) -> list[Table]:
        valid = [entry for entry in files if is_cvat(contents[entry.path])]
        if attribute is not None:
            attributes = [a for entry in valid for a in cvat_attributes(contents[entry.path])]
            choose_attribute(attribute_values(attributes), attribute, _named(valid))
        tables = []
        for entry in files:
            try:
                listed = cvat_images(contents[entry.path], attribute=attribute)
            except OtherFormatError as error:
                report.skip(entry, str(error), what="file")
                continue
            tables.append(Table(entry, listed))
        return tables

    def cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
        return _cases(name, tree, report, read, read_cvat, kind="CVAT", file=file, suffix="xml")

    return DatasetSpec(custom_info(name, "a CVAT XML file and its images"), cases)


def labelstudio_files(name: str, file: str = "*.json") -> DatasetSpec:
    """JSON and JSON-MIN exports of Label Studio, and their images.

    Args:
        name: id of the data set.
        file: name or path of the annotation file; with an asterisk, every JSON file is read.
    """

    def read(
        contents: Mapping[str, Any], files: Sequence[FileEntry], report: SkipReport
    ) -> list[Table]:
        tables = []
        for entry in files:
            try:
                listed = labelstudio_images(contents[entry.path], entry, report)
            except OtherFormatError as error:
                if str(error) == NOT_LABEL_STUDIO:
                    _skip_other(entry, contents[entry.path], error, report, reading="labelstudio")
                else:
                    report.skip(entry, str(error), what="file")
                continue
            tables.append(Table(entry, listed))
        return tables

    def cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
        return _cases(name, tree, report, read, read_labelstudio, kind="Label Studio", file=file)

    return DatasetSpec(custom_info(name, "a Label Studio JSON file and its images"), cases)


def _named(files: Sequence[FileEntry]) -> str:
    """The first files by name, for an error message."""
    examples = [entry.path for entry in files[:3]]
    return ", ".join([*examples, "…"] if len(files) > len(examples) else examples)


def _skip_other(
    entry: FileEntry, content: Any, error: OtherFormatError, report: SkipReport, *, reading: str
) -> None:
    report.skip(entry, other_json(content, reading=reading) or str(error), what="file")


def _cases(
    name: str,
    tree: FileTree,
    report: SkipReport,
    read_tables: ReadTables,
    read_image: ReadImage,
    *,
    kind: str,
    file: str = "*",
    suffix: str = "json",
) -> Iterator[Case]:
    """The images that a data set's tables list.

    Args:
        name: id of the data set.
        tree, report: files to search, and where to report skipped ones.
        read_tables: reads parsed files, by path, and reports those of other formats.
        read_image: reads an image with its annotations.
        kind: name of the format.
        file: name or path of the file to read; with an asterisk, all are.
        suffix: of its files: json or xml.

    Raises:
        DataError: No file is of the format.
    """
    images = [entry for entry, _ in tree.match(IMAGE_FILE)]
    before = len(report.skips)
    contents, files, others = _parsed(tree, report, file, suffix)
    tables = read_tables(contents, files, report)
    if not tables:
        raise _no_table(kind, file, tree, report.skips[before:])
    finder = ImageFinder(images, [*(table.file for table in tables), *others])
    claims: dict[str, list[tuple[Table, ListedImage]]] = defaultdict(list)
    undecided: set[str] = set()
    for table in tables:
        names = Counter(_file_name(path) for path in {listed.path for listed in table.images})
        for listed in table.images:
            unique = names[_file_name(listed.path)] == 1
            matches = finder.find(table.file, listed.path, unique=unique) or _also(
                finder, table.file, listed, unique=unique
            )
            if len(matches) == 1:
                claims[matches[0].path].append((table, listed))
            else:
                where = listed.path or f"{table.file.path}, image without a name"
                report.skip(where, UNDECIDED if matches else IMAGE_NOT_FOUND, what="file")
                undecided |= {entry.path for entry in matches}
    splits = {split_of_path(table.file.path) for table in tables}
    keys = case_keys(images)
    for image in images:
        claimed = claims.get(image.path, [])
        problem = _problem(claimed)
        if not claimed:
            report.skip(image, UNDECIDED if image.path in undecided else NOT_LISTED)
        elif problem is not None:
            report.skip(image, problem)
        else:
            table, listed = claimed[0]
            yield Case(
                name,
                keys[image.path],
                (image,),
                partial(read_image, image, listed.annotations),
                subject=listed.subject,
                split=listed.split or _split(table.file, splits),
            )


def _also(
    finder: ImageFinder, table: FileEntry, listed: ListedImage, *, unique: bool
) -> list[FileEntry]:
    """The images that other readings of a listed path mean."""
    matches = {
        entry.path: entry
        for path in listed.also
        for entry in finder.find(table, path, unique=unique)
    }
    return list(matches.values())


def _parsed(
    tree: FileTree, report: SkipReport, file: str, suffix: str
) -> tuple[dict[str, Any], list[FileEntry], list[FileEntry]]:
    """Contents of the files to read, by path; these files; and others that may list images, too."""
    parse = parse_xml if suffix == "xml" else parse_json
    contents: dict[str, Any] = {}
    files: list[FileEntry] = []
    others: list[FileEntry] = []
    for entry, _ in tree.match(rf"\.{suffix}$"):
        if "*" not in file and name_key(file) not in (name_key(entry.path), name_key(entry.name)):
            report.skip(entry, _other_than(file), what="file")
            others.append(entry)
            continue
        try:
            contents[entry.path] = parse(entry)
            files.append(entry)
        except DataError as error:
            report.skip(entry, str(error), damage=True, what="file")
            others.append(entry)
    for entry, _ in tree.match(r"\.(json|xml|csv)$"):
        if entry.name.lower().endswith(f".{suffix}"):
            continue
        reason = other_file(entry.name, entry.read()) or "not part of the data set's layout"
        report.skip(entry, reason, what="file")
    return contents, files, others


def _other_than(file: str) -> str:
    return f"another annotation file than {file}"


def _no_table(kind: str, file: str, tree: FileTree, skips: Sequence[Skip]) -> DataError:
    """The error for a folder without a file of the format, which says what is there instead."""
    expected = f"file of {kind} annotations" if "*" in file else f"{kind} file {file}"
    others = [s for s in skips if s.what == "file" and s.reason != _other_than(file)]
    what = [str(skip) for skip in others]
    listing = f" Found: {'; '.join(what[:3])}." if what else ""
    return DataError(f"No {expected} in {tree.root}.{listing}")


def _file_name(path: str) -> str:
    return name_key(path).rpartition("/")[2]


def _problem(claims: Sequence[tuple[Table, ListedImage]]) -> str | None:
    """Why an image must be left out; None if it can be read."""
    problems = [listed.problem for _, listed in claims if listed.problem is not None]
    if problems:
        return problems[0]
    if len(claims) < 2:
        return None
    stated = [[replace(a, id="") for a in listed.annotations] for _, listed in claims]
    return CONFLICT if any(annotations != stated[0] for annotations in stated[1:]) else None


def _split(file: FileEntry, splits: set[str | None]) -> str | None:
    """The split that the name of a file or its folder states; where none is for validation, one is made."""
    split = split_of_path(file.path)
    return "trainval" if split == "train" and "val" not in splits else split


def case_keys(images: Iterable[FileEntry]) -> dict[str, str]:
    """The key of each image's case, by path: the path without its suffix, if no other image has that."""
    paths = [image.path for image in images]
    stems = Counter(path.rpartition(".")[0] for path in paths)
    return {p: p if stems[p.rpartition(".")[0]] > 1 else p.rpartition(".")[0] for p in paths}
