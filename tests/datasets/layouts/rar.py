"""Writes RAR 4 archives of stored (uncompressed) files: no free tool does."""

from __future__ import annotations

import struct
import zlib

_MARK = b"Rar!\x1a\x07\x00"


def rar4(files: dict[str, bytes]) -> bytes:
    out = [_MARK, _block(0x73, 0, b"\0" * 6)]
    for name, data in files.items():
        encoded = name.replace("/", "\\").encode("ascii")
        body = struct.pack(
            "<IIBIIBBHI",
            len(data),  # packed
            len(data),  # unpacked
            2,  # made on Windows
            zlib.crc32(data),
            0x5A21A000,  # date
            20,  # version needed
            0x30,  # stored
            len(encoded),
            0x20,  # attributes
        )
        out.append(_block(0x74, 0x8000, body + encoded) + data)
    out.append(_block(0x7B, 0x4000, b""))
    return b"".join(out)


def _block(kind: int, flags: int, body: bytes) -> bytes:
    head = struct.pack("<BHH", kind, flags, 7 + len(body)) + body
    return struct.pack("<H", zlib.crc32(head) & 0xFFFF) + head
