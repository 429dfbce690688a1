"""The files of a job, on disk and in ZIP and TAR archives, which are read in place."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from ultrasam.datasets.archives import is_archive, list_members, member_start, read_member
from ultrasam.errors import ScanError, UltraSamError
from ultrasam.images.mask_names import split_masks
from ultrasam.images.reading import read_scan, scan_suffixes, starts_as_dicom
from ultrasam.images.scan import Scan
from ultrasam.inference.inputs import find_inputs
from ultrasam.text import counted

logger = logging.getLogger(__name__)

RANDOM_ACCESS = (".zip", ".tar")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a file is.

    Attributes:
        path: the file, or, in an archive, the archive's path with that of the member below it.
        archive: the archive, if it is in one.
        member: its name there, as stored.
    """

    path: Path
    archive: Path | None = None
    member: str | None = None


def find_sources(names: Sequence[str]) -> list[Source]:
    """The images that names mean: files, folders, globs and archives; folders may hold archives, too.

    What is left out is logged, as `ultrasam.inference.inputs.find_inputs` does.

    Raises:
        ScanError: A name matches nothing, or an archive or a folder holds no image.
        DataError: An archive is damaged.
    """
    plain: list[str] = []
    archives: dict[Path, None] = {}
    for name in names:
        path = Path(name)
        if path.is_file() and is_archive(path.name):
            archives[path] = None
            continue
        inside = _archives_in(path) if path.is_dir() else []
        archives |= dict.fromkeys(inside)
        if inside and not _holds_images(path):
            continue
        plain.append(name)
    found = [Source(path) for path in (find_inputs(plain) if plain else [])]
    for archive in archives:
        found += _images_in(archive)
    return found


def _archives_in(folder: Path) -> list[Path]:
    inside = [path for path in folder.rglob("*") if path.name.lower().endswith(RANDOM_ACCESS)]
    hidden = [path for path in inside if _is_hidden(path.relative_to(folder).parts)]
    return sorted(path for path in set(inside) - set(hidden) if path.is_file())


def _holds_images(folder: Path) -> bool:
    try:
        return bool(find_inputs([str(folder)]))
    except ScanError:
        return False


def _is_hidden(parts: Sequence[str]) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in parts)


def _images_in(archive: Path) -> list[Source]:
    if not archive.name.lower().endswith(RANDOM_ACCESS):
        raise ScanError(
            f"{archive} can only be read from its beginning; unpack it, or pack it as .zip or .tar."
        )
    members: dict[Path, str] = {}
    others = 0
    for member in list_members((str(archive),)):
        inside = PurePosixPath(member.name.replace("\\", "/"))
        if _is_hidden([part for part in inside.parts if part not in (".", "..")]):
            continue
        named = inside.name.lower().endswith(scan_suffixes())
        if named or starts_as_dicom(member_start((str(archive), member.name), 512)):
            members[archive.joinpath(*(p for p in inside.parts if p not in ("/", "..")))] = (
                member.name
            )
        else:
            others += 1
    images, masks = split_masks(sorted(members))
    if not images:
        raise ScanError(f"The archive {archive} holds no images.")
    for count, noun in ((len(masks), "mask"), (others, "file that is not an image")):
        if count:
            plural = "files that are not images" if noun != "mask" else None
            logger.info("%s: left out %s.", archive, counted(count, noun, plural))
    return [Source(path, archive, members[path]) for path in images]


class SourceReader:
    """Opens the files of a shard; an instance is a `ultrasam.inference.processing.Open`.

    Results and messages name a file by its `Source.path`, wherever it lies.

    Args:
        sources: the files.
        folder: what relative paths are relative to.
        refused: why files are not to be opened, by path.
        noted: the file that takes the path of each file before it is opened.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        folder: Path,
        refused: Mapping[Path, str] | None = None,
        noted: Path | None = None,
    ) -> None:
        self._sources = {source.path: source for source in sources}
        self._folder = folder
        self._refused = dict(refused or {})
        self._noted = noted
        self._places: dict[str, str] = {}

    @contextmanager
    def __call__(self, path: Path) -> Iterator[Scan]:
        """Open a file; of a member of an archive, a copy lasts until the block ends.

        Raises:
            ScanError: The file cannot be read.
        """
        if path in self._refused:
            raise ScanError(self._refused[path])
        if self._noted is not None:
            self._noted.write_bytes(as_bytes(path))
        source = self._sources[path]
        if source.archive is None or source.member is None:
            yield self._read(self._folder / path, path)
            return
        data = read_member((str(self._folder / source.archive), source.member))
        with tempfile.TemporaryDirectory(prefix="ultrasam-") as folder:
            copy = Path(folder) / path.name
            copy.write_bytes(data)
            del data
            yield self._read(copy, path)

    def _read(self, place: Path, path: Path) -> Scan:
        if str(place) != str(path):
            self._places[str(place)] = str(path)
        try:
            scan = read_scan(place)
        except UltraSamError as error:
            raise type(error)(self.named(str(error))) from error
        return replace(scan, notes=tuple(self.named(note) for note in scan.notes))

    def named(self, text: str) -> str:
        """A message with files named as the user knows them."""
        for place, path in self._places.items():
            text = text.replace(place, path)
        return text


def as_bytes(text: str | os.PathLike[str]) -> bytes:
    """A path as bytes, which a table can hold whatever its name is."""
    return str(text).encode("utf-8", "surrogateescape")


def as_text(data: bytes) -> str:
    """The reverse of `as_bytes`."""
    return data.decode("utf-8", "surrogateescape")
