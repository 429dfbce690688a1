"""What a person has on disk of a data set: a tree of files, archives opened, litter told apart.

Paths are matched by their ends, without regard to case, so an extra top folder or a renamed one does no
harm. Every file is either used or reported: `RawTree.unused` gives what no layout asked for.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from ultrasam.datasets.archives import is_archive, list_members, member_on_disk, read_member
from ultrasam.errors import DataError, MissingDependencyError

_LITTER = re.compile(
    r"/(__MACOSX/|\.(?!\.?/)[^/]*|Thumbs\.db$|desktop\.ini$|ehthumbs\.db$|~\$|[^/]*~$)",
    re.IGNORECASE,
)
_PARTIAL = re.compile(r"\.(part|partial|crdownload|download|tmp|aria2)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, on disk or in an archive.

    Attributes:
        path: below the tree's root, '/' between parts, an archive being one of them; NFC.
        chain: the path on disk, then the members that lead to it.
        size: bytes.
        stamp: changes when the file on disk does.
    """

    path: str
    chain: tuple[str, ...]
    size: int
    stamp: int

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    @property
    def stem(self) -> str:
        return self.name.rsplit(".", 1)[0]

    def read(self) -> bytes:
        """The file's bytes.

        Raises:
            DataError: it cannot be read.
        """
        if len(self.chain) > 1:
            return read_member(self.chain)
        try:
            return Path(self.chain[0]).read_bytes()
        except OSError as error:
            raise DataError(f"{self.path} cannot be read: {error.strerror}.") from error

    def on_disk(self) -> AbstractContextManager[Path]:
        """A path for libraries that open nothing else; a copy while the context lasts, if need be."""
        if len(self.chain) > 1:
            return member_on_disk(self.chain)
        return nullcontext(Path(self.chain[0]))


@dataclass(frozen=True, slots=True)
class Skip:
    """Something that was left out, and why.

    Attributes:
        where: the file, and the frame in it if only that.
        reason: a sentence; the same words for the same cause, so that they can be counted.
        damage: something is broken; else a rule leaves it out.
    """

    where: str
    reason: str
    damage: bool = False


@dataclass(slots=True)
class Report:
    """All that was left out while a data set was listed."""

    skips: list[Skip] = field(default_factory=list)

    def skip(self, where: Entry | str, reason: str) -> None:
        self.skips.append(Skip(where if isinstance(where, str) else where.path, reason))


class RawTree:
    """All files below one folder (or one archive), archives opened."""

    def __init__(self, root: Path, report: Report, *, extras: frozenset[str] = frozenset()) -> None:
        """``extras``: structures asked for beyond the data set's usual ones."""
        if not root.exists():
            raise DataError(f"There is no {root}; give the folder where the data are unpacked.")
        self.root = root
        self.extras = extras
        self.entries = sorted(_walk(root, report), key=lambda entry: entry.path)
        self._used: set[str] = set()

    def match(self, pattern: str) -> Iterator[tuple[Entry, dict[str, str]]]:
        """Files whose path holds ``pattern``, and its named groups.

        The path is '/', the root's own name, '/' and the path below it. Case is ignored; files come in
        the order of their paths and count as used.
        """
        expression = re.compile(unicodedata.normalize("NFC", pattern), re.IGNORECASE)
        for entry in self.entries:
            found = expression.search(f"/{self.root.name}/{entry.path}")
            if found:
                self._used.add(entry.path)
                yield entry, {k: v for k, v in found.groupdict().items() if v is not None}

    def first(self, pattern: str) -> Entry | None:
        """The first file that matches, if any."""
        return next((entry for entry, _ in self.match(pattern)), None)

    def unused(self) -> list[Entry]:
        """Files that no pattern matched."""
        return [entry for entry in self.entries if entry.path not in self._used]


def _walk(root: Path, report: Report) -> Iterator[Entry]:
    if root.is_file():
        yield from _expand(_entry(root, root.name), report, siblings=frozenset())
        return
    for folder, folders, files in os.walk(root):
        folders.sort()
        here = Path(folder)
        siblings = frozenset(name.casefold() for name in (*folders, *files))
        for name in sorted(files):
            path = here / name
            relative = unicodedata.normalize("NFC", path.relative_to(root).as_posix())
            if path.is_symlink() and not path.exists():
                report.skip(relative, "a link to nothing")
                continue
            yield from _expand(_entry(path, relative), report, siblings=siblings)


def _entry(path: Path, relative: str) -> Entry:
    stat = path.stat()
    return Entry(relative, (str(path),), stat.st_size, stat.st_mtime_ns)


def _expand(entry: Entry, report: Report, *, siblings: frozenset[str]) -> Iterator[Entry]:
    """The file itself, or what the archive holds."""
    if _LITTER.search("/" + entry.path):
        report.skip(entry, "left by the operating system")
    elif _PARTIAL.search(entry.path):
        report.skip(entry, "an unfinished download")
    elif entry.size == 0:
        report.skip(entry, "empty file")
    elif not is_archive(entry.name):
        yield entry
    else:
        try:
            members = list_members(entry.chain)
        except (DataError, MissingDependencyError) as error:
            report.skip(entry, f"archive cannot be read: {error}")
            return
        tops = {m.name.replace("\\", "/").split("/", 1)[0].casefold() for m in members}
        if siblings and (entry.stem.casefold() in siblings or (tops and tops <= siblings)):
            report.skip(entry, "archive that is already unpacked beside it")
            return
        for member in sorted(members, key=lambda m: m.name):
            name = unicodedata.normalize("NFC", member.name.replace("\\", "/"))
            inner = Entry(
                f"{entry.path}/{name}", (*entry.chain, member.name), member.size, entry.stamp
            )
            yield from _expand(inner, report, siblings=frozenset())
