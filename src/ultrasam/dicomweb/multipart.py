"""Messages of several parts (multipart/related, RFC 2387), read and written piece by piece.

A part may be a cine of gigabytes: none is ever held in memory as a whole.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from email.message import Message
from pathlib import Path
from typing import IO, Any

from ultrasam.errors import UltraSamError

_CHUNK = 1 << 20


class MalformedMessageError(UltraSamError):
    """A message is not what its header says, or ends early."""


def header_parameter(content_type: str, name: str) -> str | None:
    """A parameter of a Content-Type, also where a server has put it into the quotes of another.

    Example:
        >>> header_parameter('multipart/related; type="a/b"; boundary=xyz', "boundary")
        'xyz'
        >>> header_parameter('multipart/related; type="a/b; transfer-syntax=1.2"', "transfer-syntax")
        '1.2'
    """
    found = _parameter(content_type, name)
    if found is None and name != "type":
        inner = _parameter(content_type, "type")
        found = _parameter(inner, name) if inner else None
    return found


def media_type(content_type: str) -> str:
    """A Content-Type without its parameters, in small letters."""
    return content_type.partition(";")[0].strip().lower()


def read_parts(
    content_type: str, chunks: Iterable[bytes], open_part: Callable[[int, str], IO[bytes]]
) -> list[str]:
    """Write the parts of a message to files; a message that is not multipart is its only part.

    Args:
        content_type: of the message.
        chunks: its bytes.
        open_part: gives the open file of a part, by its index and Content-Type. Whoever opens files, closes
            them.

    Returns:
        The Content-Type of each part.

    Raises:
        MalformedMessageError: The message has no boundary, is damaged, or ends early.
    """
    if not media_type(content_type).startswith("multipart/"):
        file = open_part(0, content_type)
        for chunk in chunks:
            file.write(chunk)
        return [content_type]
    boundary = header_parameter(content_type, "boundary")
    if not boundary:
        raise MalformedMessageError("the message has no boundary between its parts")
    return _Parts(boundary, open_part).read(chunks)


def message_of(file: Path) -> tuple[str, int, Iterator[bytes]]:
    """A message whose only part is a DICOM file.

    Returns:
        Its Content-Type, its length in bytes, and the bytes. Some servers answer a message that is sent
        without its length with success, and store nothing.
    """
    boundary = secrets.token_hex(16)
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    tail = f"\r\n--{boundary}--\r\n".encode()

    def content() -> Iterator[bytes]:
        yield head
        with file.open("rb") as opened:
            while chunk := opened.read(_CHUNK):
                yield chunk
        yield tail

    content_type = f'multipart/related; type="application/dicom"; boundary={boundary}'
    return content_type, len(head) + file.stat().st_size + len(tail), content()


def _parameter(content_type: str, name: str) -> str | None:
    message = Message()
    message["Content-Type"] = content_type
    value = message.get_param(name)
    return value if isinstance(value, str) else None


class _Parts:
    """Takes a message apart with the parser of python-multipart, which calls the methods ``_on_…``."""

    def __init__(self, boundary: str, open_part: Callable[[int, str], IO[bytes]]) -> None:
        from python_multipart.exceptions import FormParserError
        from python_multipart.multipart import MultipartParser

        self._errors = (FormParserError, UnicodeError)
        self._open = open_part
        self._found: list[str] = []
        self._file: IO[bytes] | None = None
        self._name, self._value, self._type = b"", b"", ""
        self._ended = False
        callbacks: Any = {
            "on_part_begin": self._on_begin, "on_header_begin": self._on_header,
            "on_header_field": self._on_name, "on_header_value": self._on_value,
            "on_header_end": self._on_header_end, "on_headers_finished": self._on_headers,
            "on_part_data": self._on_data, "on_end": self._on_end,
        }  # fmt: skip
        try:
            self._parser: Any = MultipartParser(boundary, callbacks)
        except self._errors as error:
            raise MalformedMessageError("the boundary between its parts is invalid") from error

    def read(self, chunks: Iterable[bytes]) -> list[str]:
        try:
            for chunk in chunks:
                self._parser.write(chunk)
        except self._errors as error:
            raise MalformedMessageError("the message is damaged between its parts") from error
        if not self._ended:
            raise MalformedMessageError("the message ends before its last part does")
        return self._found

    def _on_begin(self) -> None:
        self._file, self._type = None, "application/octet-stream"

    def _on_header(self) -> None:
        self._name, self._value = b"", b""

    def _on_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._name.strip().lower() == b"content-type":
            self._type = self._value.decode("latin-1").strip()

    def _on_headers(self) -> None:
        self._file = self._open(len(self._found), self._type)
        self._found.append(self._type)

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(data[start:end])

    def _on_end(self) -> None:
        self._ended = True
