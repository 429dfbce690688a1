"""`FileTree`: the files of a raw data set, including those inside archives.

Patterns match the end of a path and ignore case, so an extra or renamed top folder does no harm. Every file
is either used or reported: `FileTree.unused` lists the files that no pattern matched.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ultrasam.datasets.archives import is_archive, list_members, member_on_disk, read_member
from ultrasam.errors import DataError, MissingDependencyError
from ultrasam.text import counted

_SYSTEM_FILE = re.compile(
    r"/(__MACOSX/|\.(?!\.?/)[^/]*|Thumbs\.db$|desktop\.ini$|ehthumbs\.db$|~\$|[^/]*~$)",
    re.IGNORECASE,
)
_PARTIAL = re.compile(r"\.(part|partial|crdownload|download|tmp|aria2)$", re.IGNORECASE)


_IMAGE = re.compile(
    r"\.(png|jpe?g|bmp|tiff?|gif|dcm|dicom|nii|nii\.gz|mha|mhd|nrrd|mp4|avi|mov|mkv)$",
    re.IGNORECASE,
)

Left = Literal["image", "annotation", "file", "note"]


def kind_of(name: str) -> Left:
    """What leaving out a file of this name leaves out: an image, or another file."""
    return "image" if _IMAGE.search(name) else "file"


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file, on disk or in an archive.

    Attributes:
        path: relative to the root of the tree, '/'-separated, in NFC; an archive counts as a folder.
        chain: the path on disk, then the names of nested archive members.
        size: in bytes.
        stamp: modification time of the file on disk, in ns.
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
        """Read the file.

        Raises:
            DataError: The file cannot be read.
        """
        if len(self.chain) > 1:
            return read_member(self.chain)
        try:
            return Path(self.chain[0]).read_bytes()
        except OSError as error:
            raise DataError(f"Cannot read {self.path}: {error.strerror}.") from error

    def on_disk(self) -> AbstractContextManager[Path]:
        """A path for libraries that open only paths; may be a copy that lasts as long as the build."""
        if len(self.chain) > 1:
            return nullcontext(member_on_disk(self.chain))
        return nullcontext(Path(self.chain[0]))


@dataclass(frozen=True, slots=True)
class Skip:
    """A file or image that was left out.

    Attributes:
        where: path of the file, and the frame if only that one is left out.
        reason: why; worded identically for the same cause, so that reasons can be counted.
        damage: whether the file is damaged; otherwise a rule excludes it.
        what: what was left out. Each image of a data set is read or reported as one left-out ``image``; an
            ``annotation`` was left out of an image that was read; a ``file`` is not an image; a ``note``
            tells of something done to an image that was read, and nothing was left out.
    """

    where: str
    reason: str
    damage: bool = False
    what: Left = "image"

    def __str__(self) -> str:
        # Messages about a damaged file name it already.
        named = self.reason.startswith(self.where)
        return self.reason if named else f"{self.where}: {self.reason}"


SkipCounts = dict[Left, Counter[str]]
"""How many images, annotations and other files were left out, and how many notes there are, by reason."""


def count_skips(skips: Iterable[Skip]) -> SkipCounts:
    """Count skips by what was left out, and why."""
    counts: SkipCounts = {what: Counter() for what in ("image", "annotation", "file", "note")}
    for skip in skips:
        counts[skip.what][skip.reason] += 1
    return counts


def describe_skips(counts: SkipCounts, *, most: int = 4) -> list[str]:
    """Sentences that tell what was left out, for example ``3 images left out: 2 × empty file; 1 × …``.

    Args:
        counts: what was left out.
        most: number of reasons to name for each of images, annotations and files.
    """
    lines = []
    for what, reasons in counts.items():
        total = sum(reasons.values())
        if not total:
            continue
        # A reason may be a whole sentence, that of an error.
        named = [f"{count:,} × {reason.rstrip('.')}" for reason, count in reasons.most_common(most)]
        if len(reasons) > most:
            more = len(reasons) - most
            named.append(f"{more} more {'reason' if more == 1 else 'reasons'}")
        if what == "note":
            lines.append(f"Note: {'; '.join(named)}.")
            continue
        left = counted(total, "other file" if what == "file" else what)
        lines.append(f"{left} left out: {'; '.join(named)}.")
    return lines


def describe_failure(skips: Sequence[Skip]) -> str:
    """Sentences on why nothing could be read, with an example; empty if nothing was left out."""
    counts = count_skips(skips)
    counts["note"].clear()
    for what in ("annotation", "image", "file"):
        example = next((skip for skip in skips if skip.what == what), None)
        if example is not None:
            alone = sum(reasons.total() for reasons in counts.values()) == 1
            sentences = "" if alone else f"{' '.join(describe_skips(counts))} For example, "
            return f"{sentences}{example}."
    return ""


@dataclass(slots=True)
class SkipReport:
    """The files left out while a data set was listed.

    Attributes:
        skips: what was left out.
        notes: sentences on how the files were understood, such as what the values of masks became.
    """

    skips: list[Skip] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def skip(
        self, where: FileEntry | str, reason: str, *, damage: bool = False, what: Left = "image"
    ) -> None:
        path = where if isinstance(where, str) else where.path
        self.skips.append(Skip(path, reason, damage, what))


class FileTree:
    """All files in a folder or archive, including members of nested archives.

    Args:
        root: the folder or archive.
        report: collects system files, unfinished downloads and unreadable archives.
        include: optional structures to read as well.

    Raises:
        DataError: ``root`` does not exist.
    """

    def __init__(
        self, root: Path, report: SkipReport, *, include: frozenset[str] = frozenset()
    ) -> None:
        if not root.exists():
            raise DataError(f"{root} does not exist; give the folder that contains the data.")
        self.root = root
        self.include = include
        self.entries = sorted(_walk(root, report), key=lambda entry: entry.path)
        self._used: set[str] = set()

    def match(self, pattern: str) -> Iterator[tuple[FileEntry, dict[str, str]]]:
        """Files whose path matches a regular expression, with the values of its named groups.

        The expression is searched, ignoring case, in ``/<name of the root>/<path below the root>``. Files are
        sorted by path and marked as used.
        """
        expression = re.compile(unicodedata.normalize("NFC", pattern), re.IGNORECASE)
        for entry in self.entries:
            match = expression.search(f"/{self.root.name}/{entry.path}")
            if match:
                self._used.add(entry.path)
                yield entry, {k: v for k, v in match.groupdict().items() if v is not None}

    def first(self, pattern: str) -> FileEntry | None:
        """The first matching file; None if there is none."""
        return next((entry for entry, _ in self.match(pattern)), None)

    def unused(self) -> list[FileEntry]:
        """The files that no pattern has matched."""
        return [entry for entry in self.entries if entry.path not in self._used]


def _walk(root: Path, report: SkipReport) -> Iterator[FileEntry]:
    if root.is_file():
        yield from _expand(_entry(root, root.name), report, siblings=frozenset())
        return
    for folder, folders, files in os.walk(root):
        folders.sort()
        siblings = frozenset(name.casefold() for name in (*folders, *files))
        for name in sorted(files):
            path = Path(folder, name)
            relative = unicodedata.normalize("NFC", path.relative_to(root).as_posix())
            if path.is_symlink() and not path.exists():
                report.skip(relative, "broken link", damage=True, what=kind_of(name))
                continue
            yield from _expand(_entry(path, relative), report, siblings=siblings)


def _entry(path: Path, relative: str) -> FileEntry:
    stat = path.stat()
    return FileEntry(relative, (str(path),), stat.st_size, stat.st_mtime_ns)


def _expand(
    entry: FileEntry, report: SkipReport, *, siblings: frozenset[str]
) -> Iterator[FileEntry]:
    """The file itself, or the members of an archive."""
    if _SYSTEM_FILE.search("/" + entry.path):
        report.skip(entry, "system file", what="file")
    elif _PARTIAL.search(entry.path):
        report.skip(entry, "unfinished download", what="file")
    elif entry.size == 0:
        report.skip(entry, "empty file", damage=True, what=kind_of(entry.name))
    elif not is_archive(entry.name):
        yield entry
    else:
        try:
            members = list_members(entry.chain)
        except (DataError, MissingDependencyError) as error:
            report.skip(entry, f"unreadable archive: {error}", damage=True, what="file")
            return
        tops = {m.name.replace("\\", "/").split("/", 1)[0].casefold() for m in members}
        if siblings and (entry.stem.casefold() in siblings or (tops and tops <= siblings)):
            report.skip(entry, "archive already unpacked", what="file")
            return
        for member in sorted(members, key=lambda m: m.name):
            name = unicodedata.normalize("NFC", member.name.replace("\\", "/"))
            inner = FileEntry(
                f"{entry.path}/{name}", (*entry.chain, member.name), member.size, entry.stamp
            )
            yield from _expand(inner, report, siblings=frozenset())
