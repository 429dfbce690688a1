"""Answers with files, as MONAI Label's clients read them."""

from __future__ import annotations

import json
import secrets
from typing import Any

from ultrasam.extras import needs

with needs("The annotator", extra="annotate"):
    from fastapi import Response


def file_answer(content: bytes, name: str) -> Response:
    """A file to save under a name.

    Args:
        name: ASCII, without quotes.
    """
    return Response(
        content, media_type=_kind(name),
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )  # fmt: skip


def multipart_answer(params: dict[str, Any], content: bytes, name: str) -> Response:
    """Facts and a file as ``multipart/form-data``, whose parts are ``params`` and ``image``."""
    boundary = secrets.token_hex(16)
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="params"\r\n'
        f"Content-Type: application/json\r\n\r\n{json.dumps(params)}\r\n"
        f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
        f"Content-Type: {_kind(name)}\r\n\r\n"
    )
    body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return Response(body, media_type=f"multipart/form-data; boundary={boundary}")


def _kind(name: str) -> str:
    """OHIF looks for ``application/octet-stream`` to find an NRRD."""
    if name.endswith(".dcm"):
        return "application/dicom"
    return "application/gzip" if name.endswith(".gz") else "application/octet-stream"
