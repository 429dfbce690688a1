"""What the catalogue says of a data set, and the reader that belongs to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ultrasam.datasets.annotated_image import AnnotatedImage, Case, images_of
from ultrasam.datasets.file_tree import RawTree, Report, Skip
from ultrasam.errors import DataError

UNKNOWN = "unknown"
Access = Literal["open", "registration", "request", "kaggle"]
Kind = Literal["still", "cine", "volume"]


@dataclass(frozen=True, slots=True)
class Download:
    """A public address that needs no account.

    Attributes:
        host: zenodo, mendeley or github, whose listing gives files and checksums; or direct.
        record: the record's number, ``id/version``, ``owner/name``, or the address itself.
    """

    host: Literal["zenodo", "mendeley", "github", "direct"]
    record: str


@dataclass(frozen=True, slots=True)
class Info:
    """Facts about a data set; what isn't known says so.

    Attributes:
        id: short name, the same in folders, tables and commands.
        name: as in the paper (arXiv 2411.16222).
        url: where it is published.
        access: open; or behind a registration, a request to the authors, or a Kaggle login.
        licence: as its authors state it.
        organ, structures: what is seen, what is annotated.
        kind: stills, cines or volumes.
        size: how much there is, from the literature.
        layout: what lies where once it is unpacked.
        citation: BibTeX.
        folders: names of folders or archives by which it is recognised.
        download: a public direct address, if there is one.
        extras: structures that are off by default.
        note: what a user should know before using it.
        part_of_paper: one of the 43.
    """

    id: str
    name: str
    url: str
    access: Access
    organ: str
    structures: tuple[str, ...]
    kind: Kind
    size: str
    layout: str
    licence: str = UNKNOWN
    citation: str = UNKNOWN
    folders: tuple[str, ...] = ()
    download: Download | None = None
    extras: tuple[str, ...] = ()
    note: str = ""
    part_of_paper: bool = True


def bibtex(kind: str, key: str, **fields: str | int) -> str:
    """A BibTeX entry."""
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
    return "\n".join([f"@{kind}{{{key},", *lines, "}"])


Reader = Callable[[RawTree, Report], Iterable[Case]]


@dataclass(frozen=True, slots=True)
class RawDataset:
    """One data set: its facts and its reader.

    Attributes:
        cases: lists the cases of a tree; what it leaves out goes to the report.
        version: raised when the reader gives other samples for the same files.
        shares_subjects: the id of another data set of the same subjects, with the same names.
        sequence: the subject is unknown and images come in the order of a recording, so that those
            that follow each other and look alike belong together.
    """

    info: Info
    cases: Reader
    version: int = 1
    shares_subjects: str | None = None
    sequence: bool = False

    @property
    def name(self) -> str:
        return self.info.name

    def list_cases(
        self, root: Path, *, extras: frozenset[str] = frozenset()
    ) -> tuple[list[Case], Report]:
        """All cases below a folder, in the order of their keys, and what was left out.

        Raises:
            DataError: there is no such folder, or nothing of this data set in it.
        """
        report = Report()
        tree = RawTree(root, report, extras=extras)
        cases: dict[str, Case] = {}
        for case in self.cases(tree, report):
            if case.key in cases:
                report.skip(case.source, "the same image is there twice")
            else:
                cases[case.key] = case
        if not cases:
            first = f"; the first thing left out: {report.skips[0].where}, " if report.skips else ""
            why = report.skips[0].reason if report.skips else ""
            raise DataError(
                f"Nothing of {self.info.name} is under {root}{first}{why}. It is laid out as: "
                f"{self.info.layout}."
            )
        for entry in tree.unused():
            report.skip(entry, "not a part of this data set's layout")
        return [cases[key] for key in sorted(cases)], report

    def images(
        self, root: Path, *, skipped: Callable[[Skip], object] | None = None
    ) -> Iterator[AnnotatedImage]:
        """All annotated images below a folder, read one by one.

        Args:
            skipped: told what is left out; without it damage raises.

        Raises:
            DataError: nothing is there; or, without ``skipped``, a file is damaged.
        """
        cases, report = self.list_cases(root)
        for skip in report.skips:
            if skipped is not None:
                skipped(skip)
        for case in cases:
            for found in images_of(case):
                if isinstance(found, AnnotatedImage):
                    yield found
                elif skipped is not None:
                    skipped(found)
                elif found.damage:
                    raise DataError(f"{found.where}: {found.reason}")


NO_OBJECT = "no object is annotated"
