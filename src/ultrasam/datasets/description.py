"""`DatasetSpec`: the facts about a data set and its reader."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ultrasam.datasets.annotated_image import AnnotatedImage, Case, images_of
from ultrasam.datasets.file_tree import FileTree, Skip, SkipReport, describe_failure, kind_of
from ultrasam.errors import DataError

UNKNOWN = "unknown"
# Reasons for leaving files out that several readers share.
NO_OBJECT = "no object annotated"
MISSING_MASK = "image without a mask"
MISSING_IMAGE = "mask without an image"
IMAGE_NOT_FOUND = "listed image not found"
DUPLICATE_IMAGE = "duplicate image"
OPTIONAL_STRUCTURE = "optional structure (off by default)"
Access = Literal["open", "registration", "request", "agreement", "kaggle", "unknown"]
Kind = Literal["still", "cine", "volume", "unknown"]
Annotation = Literal["masks", "lines", "boxes", "unknown"]


@dataclass(frozen=True, slots=True)
class Download:
    """A public download that requires no account.

    Attributes:
        host: where the files are; zenodo and mendeley list sizes and checksums, direct is a plain URL.
        record: the Zenodo record, Mendeley ``id/version``, GitHub ``owner/name``, or URL.
    """

    host: Literal["zenodo", "mendeley", "github", "direct"]
    record: str


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """Facts about a data set; unknown ones are ``UNKNOWN``.

    Attributes:
        id: short name used in folders, tables and commands.
        name: name in the UltraSam paper (arXiv 2411.16222).
        url: where it is published.
        access: open, registration, request (to the authors), agreement (to be signed) or kaggle (login).
        license: license stated by its authors; `ultrasam.datasets.licenses` says what it allows.
        organ: what the images show.
        structures: what is annotated.
        kind: still, cine or volume.
        size: number of images, as published.
        layout: where the files are after unpacking.
        citation: BibTeX entry.
        folders: names of published folders or archives that identify the data set.
        generic_folders: those that other folders may have as well, such as ``training_set``: they identify
            the data set only where its reader finds an image.
        download: public download, if there is one.
        optional_structures: annotated structures that are off by default.
        note: what a user should know before using it.
        overlaps: ids of data sets that have, or may have, images in common with this one, so that a model
            trained on one has seen the other.
        part_of_paper: whether it is one of the paper's 43 data sets.
        annotation: how its objects are marked: masks (or outlines that enclose an area), lines or boxes.
    """

    id: str
    name: str
    url: str
    access: Access
    organ: str
    structures: tuple[str, ...]
    kind: Kind
    size: str
    layout: str = UNKNOWN
    license: str = UNKNOWN
    citation: str = UNKNOWN
    folders: tuple[str, ...] = ()
    generic_folders: tuple[str, ...] = ()
    download: Download | None = None
    optional_structures: tuple[str, ...] = ()
    note: str = ""
    overlaps: tuple[str, ...] = ()
    part_of_paper: bool = True
    annotation: Annotation = "masks"


def bibtex(kind: str, key: str, **fields: str | int) -> str:
    """Format a BibTeX entry."""
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
    return "\n".join([f"@{kind}{{{key},", *lines, "}"])


Reader = Callable[[FileTree, SkipReport], Iterable[Case]]
Counter = Callable[[FileTree, SkipReport], int]


@dataclass(frozen=True, slots=True)
class DatasetSpec:
    """A data set: its facts and its reader.

    Attributes:
        info: facts about the data set.
        cases: lists the cases in a file tree, and reports the files it leaves out.
        version: incremented whenever the reader yields different images for the same files.
        shares_subjects: id of another data set with the same subjects under the same ids.
        sequence: whether subjects are unknown and the images are frames in recording order, so that
            similar consecutive images are grouped.
        count_cases: the number of cases by the names of the files alone, for a reader that opens masks to
            list them; None if listing opens none.
    """

    info: DatasetInfo
    cases: Reader
    version: int = 1
    shares_subjects: str | None = None
    sequence: bool = False
    count_cases: Counter | None = None

    @property
    def name(self) -> str:
        return self.info.name

    def list_cases(
        self, root: Path, *, include: frozenset[str] = frozenset()
    ) -> tuple[list[Case], SkipReport]:
        """List all cases in a folder, sorted by key, and report the files left out.

        Args:
            root: folder or archive with the data set.
            include: optional structures to read as well.

        Raises:
            DataError: The folder does not exist or contains no case of this data set.
        """
        report = SkipReport()
        tree = FileTree(root, report, include=include)
        cases: dict[str, Case] = {}
        for case in self.cases(tree, report):
            if case.key in cases:
                same = case.source == cases[case.key].source
                report.skip(case.source, DUPLICATE_IMAGE, what="file" if same else "image")
            else:
                cases[case.key] = case
        if not cases:
            raise self._nothing_in(root, report)
        for entry in tree.unused():
            report.skip(entry, "not part of the data set's layout", what=kind_of(entry.name))
        return [cases[key] for key in sorted(cases)], report

    def count(self, root: Path) -> int:
        """The number of cases in a folder, with those that may turn out unreadable; nothing is decoded.

        Raises:
            DataError: The folder does not exist or contains no case of this data set.
        """
        if self.count_cases is None:
            return len(self.list_cases(root)[0])
        report = SkipReport()
        number = self.count_cases(FileTree(root, report), report)
        if not number:
            raise self._nothing_in(root, report)
        return number

    def _nothing_in(self, root: Path, report: SkipReport) -> DataError:
        return DataError(
            f"No annotated image of {self.info.name} found in {root}. Expected layout: {self.info.layout}. "
            f"{describe_failure(report.skips)}".rstrip()
        )

    def images(
        self, root: Path, *, skipped: Callable[[Skip], object] | None = None
    ) -> Iterator[AnnotatedImage]:
        """Read all annotated images in a folder, one by one.

        Args:
            root: folder or archive with the data set.
            skipped: called with each file or image left out; if None, damaged files raise.

        Raises:
            DataError: The folder contains no case, or ``skipped`` is None and a file is damaged.
        """
        cases, report = self.list_cases(root)
        for skip in report.skips:
            if skipped is not None:
                skipped(skip)
        for case in cases:
            causes: list[str] = []
            for item in images_of(case):
                if isinstance(item, AnnotatedImage):
                    yield item
                elif skipped is not None:
                    skipped(item)
                elif item.what == "annotation":
                    causes.append(str(item))
                elif item.damage:
                    raise DataError(f"{item} ({causes[0]})" if causes else str(item))
