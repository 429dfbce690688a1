"""DicomWebClient: search (QIDO-RS), retrieve (WADO-RS) and store (STOW-RS)."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ultrasam.closing import Closing
from ultrasam.dicomweb.address import Address, is_uid
from ultrasam.dicomweb.transport import Transport
from ultrasam.errors import ConfigError, DataError, ScanError, UltraSamError
from ultrasam.files import atomic_file
from ultrasam.images.scan import Scan

_INSTANCE = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_PAGE = 200  # instances of one answer
_MAX_FOUND = 20_000
_ENVELOPE = 1 << 16  # bytes of a message beside a frame
_SETTLE = 10.0  # seconds; some servers index what they store a little later
_FAILURES = {  # of Failure Reason (PS3.18, I.2.2)
    0x0110: "it failed to process the file", 0x0111: "it has such an instance already",
    0x0122: "it does not store objects of this kind", 0xA700: "it is out of space",
    0xA900: "the file does not match its kind", 0xC000: "it cannot understand the file",
}  # fmt: skip
_STUDY, _SERIES, _UID = "0020000D", "0020000E", "00080018"
_CLASS, _MODALITY, _FRAMES, _ROWS, _COLUMNS = (
    "00080016", "00080060", "00280008", "00280010", "00280011",
)  # fmt: skip
_FAILED, _REASON = "00081198", "00081197"


@dataclass(frozen=True, slots=True)
class Found:
    """An instance that a search has found; nothing of the patient.

    Attributes:
        address: where it is.
        sop_class: the UID of its kind, or "".
        modality: such as ``US``, or "" if the server does not say.
        frames, rows, columns: of its pixels; None if the server does not say.
    """

    address: Address
    sop_class: str
    modality: str
    frames: int | None
    rows: int | None
    columns: int | None


class DicomWebClient(Closing):
    """Talks to a DICOMweb server; close it when done, or use it in a ``with`` block.

    Credentials come from the environment: ``ULTRASAM_DICOMWEB_TOKEN`` is sent as a bearer token, or
    ``ULTRASAM_DICOMWEB_USER`` and ``ULTRASAM_DICOMWEB_PASSWORD``. Certificates are verified, by
    the authorities that the system trusts and the public ones, or by those of ``SSL_CERT_FILE``.

    Args:
        address: of the server, such as ``https://host/dicom-web``, or of something on it.
        timeout: seconds that the server may be silent.
        deadline: seconds that a whole answer may take.
        max_bytes: what an instance may have; a longer answer is not read on.

    Raises:
        ConfigError: The address or the credentials are invalid.
        MissingDependencyError: The extra 'dicomweb' is not installed.

    Example:
        >>> with DicomWebClient("https://host/dicom-web") as client:  # doctest: +SKIP
        ...     for found in client.search("https://host/dicom-web/studies/1.2.3"):
        ...         client.retrieve(found.address, Path("cines"))
    """

    def __init__(
        self,
        address: Address | str,
        *,
        timeout: float = 60.0,
        deadline: float = 3600.0,
        max_bytes: int = 4 * 10**9,
    ) -> None:
        self.base = _address(address).base
        self._transport = Transport(
            self.base, timeout=timeout, deadline=deadline, max_bytes=max_bytes
        )

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def search(self, address: Address | str, *, modality: str = "US") -> list[Found]:
        """The instances of a study, of a series, or of the whole server (QIDO-RS).

        Args:
            address: what to search; an instance is found if it is there, whatever its modality.
            modality: which to find.

        Raises:
            DataError: The study or series is not there, or there are more instances than a list is for.
            UltraSamError: The server cannot be reached, refuses, or answers with something else.
        """
        where = self._here(address)
        return self._search(where, modality, f"search {where}")

    def _search(self, where: Address, modality: str, what: str) -> list[Found]:
        query: dict[str, Any] = {"includefield": [_FRAMES, _ROWS, _COLUMNS], "limit": _PAGE}
        if where.instance is not None:
            path = Address("", where.study, where.series).path + "/instances"
            query["SOPInstanceUID"] = where.instance
        else:
            path = f"{where.path}/instances"
            if (
                where.series is None
            ):  # a series has one modality, and its instances have no such attribute
                query["Modality"] = modality
        found = list(self._pages(path, query, where, what))
        if where.instance is not None:
            return [one for one in found if one.address.instance == where.instance]
        # A server may ignore what it is asked for.
        return [one for one in found if one.modality in ("", modality)]

    def retrieve(self, address: Address | str, folder: Path) -> Path:
        """Write an instance to ``<folder>/<UID>.dcm``, byte for byte as the server has it (WADO-RS).

        `ultrasam.images.reading.read_scan` opens it.

        Raises:
            DataError: It is not there.
            UltraSamError: The server cannot be reached, refuses, or sends something else or too much.
        """
        where = self._here(address)
        if where.instance is None:
            raise ConfigError(f"{where} is not an instance; search it for instances first.")
        what = f"retrieve {where}"
        path = folder / f"{where.instance}.dcm"
        with atomic_file(path) as file:

            def open_part(index: int, content_type: str) -> IO[bytes]:
                if index:
                    raise UltraSamError(f"{self.base} was asked to {what} and sends several.")
                return file

            self._transport.parts(where.path, what, _INSTANCE, open_part)
            file.flush()
            # Also what is written under this name must be this instance, and not a part of another.
            if _uid_of(Path(file.name)) != where.instance:
                raise UltraSamError(
                    f"{self.base} was asked to {what} and sends something else, or nothing."
                )
        return path

    def retrieve_frame(self, address: Address | str, index: int) -> Scan:
        """One frame of an instance as a still, without the others.

        Some servers and proxies ignore the number and send the first frame each time. So the first is
        retrieved, too, and a frame that equals it is refused.

        Args:
            address: of the instance.
            index: of the frame, from 0.

        Raises:
            DataError: There is no such frame, or it cannot be told from the first, or not be shown by itself;
                retrieve the whole instance.
            UltraSamError: As in `retrieve`.
        """
        from ultrasam.dicomweb.frames import as_scan, frame_size, header_of

        where = self._here(address)
        if where.instance is None:
            raise ConfigError(f"{where} is not an instance; search it for instances first.")
        what = f"retrieve frame {index} of {where}"
        content = self._transport.json(f"{where.path}/metadata", what)
        try:
            header = header_of(content[0] if content else {})
            count = _whole(header.get("NumberOfFrames")) or 1
            if header.SOPInstanceUID != where.instance:
                raise DataError("the server describes another instance")
            if not 0 <= index < count:
                raise ScanError(f"It has {count} frames, numbered from 0")
            limit = _ENVELOPE + 2 * frame_size(header)  # what is compressed is smaller as a rule
            data, message, part = self._frame(where, index + 1, what, limit)
            if index and data == self._frame(where, 1, what, limit)[0]:
                raise DataError(
                    "the server sends the same bytes as for frame 0, and may ignore the number"
                )
            return as_scan(header, data, message, part)
        except ScanError as error:
            raise ScanError(f"Cannot {what}: {str(error).rstrip('.')}.") from error
        except DataError as error:
            raise DataError(f"Cannot {what}: {error}; retrieve the whole instance.") from error

    def store(self, file: Path, *, settle: float = _SETTLE) -> Found:
        """Send a DICOM file, such as a segmentation or a report, and make sure that it is there (STOW-RS).

        Success is not believed: the instance must be found afterwards.

        Args:
            file: a DICOM file.
            settle: seconds until it must be found.

        Returns:
            How the server lists it.

        Raises:
            ScanError: It is no DICOM file, or lacks a UID.
            UltraSamError: The server cannot be reached, refuses, or does not list it afterwards.
        """
        where = _address_in(file, self.base)
        status, answer = self._transport.post("/studies", f"store {file}", file)
        failed = _values(answer, _FAILED) if isinstance(answer, dict) else []
        if status == 409 or failed:
            reason = _whole(_first(failed[0], _REASON)) if failed else None
            told = _FAILURES.get(
                reason or 0, f"failure reason {reason}" if reason else "it does not say why"
            )
            raise UltraSamError(f"{self.base} does not store {file}: {told}.")
        end = time.monotonic() + settle
        pause = 0.1
        while True:
            found = self._listed(where, file)
            if found:
                return found[0]
            if time.monotonic() + pause > end:
                raise UltraSamError(
                    f"{self.base} answers that it has stored {file} ({status}), but does not list it "
                    f"{settle:.0f} s later; look there, and ask who runs the server."
                )
            time.sleep(pause)
            pause = min(2 * pause, 2.0)

    def _listed(self, where: Address, file: Path) -> list[Found]:
        """What the server lists under the UIDs of a file, which messages do not name."""
        try:
            return self._search(where, "", f"find {file}")
        except DataError:  # some servers answer 404 for a study or series that they do not have
            return []
        except UltraSamError as error:
            raise UltraSamError(
                f"{file} was sent, but whether it was stored is unknown: {error}"
            ) from error

    def _frame(self, where: Address, number: int, what: str, limit: int) -> tuple[bytes, str, str]:
        """The bytes of a frame, and the Content-Types of the message and of the frame in it."""
        from ultrasam.dicomweb.frames import ACCEPT

        parts: list[io.BytesIO] = []

        def open_part(index: int, content_type: str) -> IO[bytes]:
            parts.append(io.BytesIO())
            return parts[-1]

        message, types = self._transport.parts(
            f"{where.path}/frames/{number}", what, ACCEPT, open_part, limit=limit
        )
        if len(parts) != 1:
            raise DataError(f"the server sends {len(parts)} frames")
        return parts[0].getvalue(), message, types[0]

    def _pages(
        self, path: str, query: dict[str, Any], where: Address, what: str
    ) -> Iterator[Found]:
        """What a query finds, page by page, each instance once."""
        seen: set[str] = set()
        while True:
            rows = self._transport.json(path, what, {**query, "offset": len(seen)})
            fresh = 0
            for row in rows:
                one = self._found(row, where, what)
                uid = one.address.instance or ""
                if uid not in seen:
                    seen.add(uid)
                    fresh += 1
                    yield one
            if not fresh or "SOPInstanceUID" in query:
                return  # at the end; or at the beginning again, of a server that ignores the offset
            if len(seen) > _MAX_FOUND:
                raise DataError(
                    f"{where} has more than {_MAX_FOUND:,} instances; search a study or a series."
                )

    def _found(self, row: dict[str, Any], where: Address, what: str) -> Found:
        # A server need not repeat what the address has named.
        study, series = _first(row, _STUDY) or where.study, _first(row, _SERIES) or where.series
        uids = (study, series, _first(row, _UID))
        if not all(is_uid(uid) for uid in uids):
            raise UltraSamError(
                f"{self.base} was asked to {what} and lists an instance without valid UIDs."
            )
        frames, rows, columns = (_whole(_first(row, tag)) for tag in (_FRAMES, _ROWS, _COLUMNS))
        sop_class, modality = (str(_first(row, tag) or "") for tag in (_CLASS, _MODALITY))
        address = where.narrowed(*map(str, uids))
        return Found(address, sop_class, modality, frames, rows, columns)

    def _here(self, address: Address | str) -> Address:
        where = _address(address)
        if where.base != self.base:
            raise ConfigError(f"{where} is not on {self.base}; open a client for it.")
        return where


def _address(address: Address | str) -> Address:
    return address if isinstance(address, Address) else Address.parse(address)


def _values(row: dict[str, Any], tag: str) -> list[Any]:
    """The values of an element in JSON."""
    element = row.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _first(row: Any, tag: str) -> Any:
    values = _values(row, tag) if isinstance(row, dict) else []
    return values[0] if values else None


def _whole(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def _uid_of(file: Path) -> str | None:
    """The SOP Instance UID of a DICOM file; None if it is none."""
    import pydicom

    try:
        read = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["SOPInstanceUID"])
        return str(read.SOPInstanceUID)
    except Exception:  # pydicom raises of any class on what is not DICOM
        return None


def _address_in(file: Path, base: str) -> Address:
    """Where a file is to be found once it is stored.

    Raises:
        ScanError: It is no DICOM file, or lacks a UID.
    """
    import pydicom

    names = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
    try:
        read = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=names)
        uids = [str(read.get(name, "")) for name in names]
    except FileNotFoundError as error:
        raise ScanError(f"{file} does not exist.") from error
    except Exception as error:  # as above
        raise ScanError(
            f"{file} is not DICOM, or is damaged; DICOMweb stores DICOM only."
        ) from error
    for name, uid in zip(names, uids, strict=True):
        if not is_uid(uid):
            raise ScanError(f"{file} has no valid {name}, without which no server stores it.")
    return Address(base, *uids)
