"""Text: files that people wrote, in any common encoding and Unicode form, counts and times in sentences."""

from __future__ import annotations

import codecs
import unicodedata

_MARKS = (  # UTF-32 before UTF-16: its mark begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decode_text(data: bytes) -> str:
    """Decode a text file: by its byte order mark, else as UTF-8, UTF-16, Windows-1252 or Latin-1.

    Which 8-bit code page a file is in cannot be known for certain; ASCII survives in all of them.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data.decode(encoding, errors="replace")
    # Text in Latin letters has a zero in every second byte of UTF-16, and none in any other encoding.
    if b"\0" in data[:200]:
        little = data[1:200:2].count(0) > data[0:200:2].count(0)
        return data.decode("utf-16-le" if little else "utf-16-be", errors="replace")
    for encoding in ("utf-8", "cp1252"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")


def name_key(path: str) -> str:
    """A file's name or path in the form in which names are compared.

    Paths that differ only in case, Unicode form, ``\\`` for ``/``, or ``.`` and empty parts have one key.
    """
    text = unicodedata.normalize("NFC", path.replace("\\", "/")).casefold()
    return "/".join(part for part in text.split("/") if part not in ("", "."))


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun, for example ``1 image`` or ``1,200 images``.

    Args:
        plural: of the noun, if an s at its end does not make it.
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def duration(seconds: float) -> str:
    """A time in seconds as text, in the unit that suits it."""
    if seconds < 90:
        return counted(round(seconds), "second")
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def valid_text(path: object) -> str:
    """A path as text for any file; bytes of its name that are not UTF-8 become ``\\xe4``."""
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
