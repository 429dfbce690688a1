"""Calls MONAI Label as 3D Slicer's plug-in does: the same requests, the same reading of answers.

Written after plugins/slicer/MONAILabel/MONAILabelLib/client.py of Project-MONAI/MONAILabel: `http.client`,
a body of multipart/form-data with its own boundary and the whole path as file name, and an answer that is
read by the standard library's parser of MIME.
"""

from __future__ import annotations

import email.parser
import email.policy
import http.client
import json
import mimetypes
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

import httpx

BOUNDARY = "----------lImIt_of_THE_fIle_eW_$"


class Slicer:
    """A client.

    Args:
        address: as it is typed into Slicer's field, with the path.
        folder: for files that the server sends.
    """

    def __init__(self, address: str, folder: Path) -> None:
        self.address, self.folder = address.rstrip("/"), folder
        self.headers: dict[str, str] = {}

    def request(
        self, method: str, selector: str, body: Any = None, kind: str = "application/json"
    ) -> tuple[int, bytes, Any]:
        parts = urlsplit(self.address)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=100)
        headers = dict(self.headers)
        if body:
            body = json.dumps(body) if isinstance(body, dict) else body
            headers |= {"content-type": kind, "content-length": str(len(body))}
        connection.request(method, parts.path + "/" + selector.lstrip("/"), body, headers)
        response = connection.getresponse()
        return response.status, response.read(), response.headers

    def json(self, method: str, selector: str, body: Any = None) -> Any:
        status, content, _ = self.request(method, selector, body)
        assert status == 200, content
        return json.loads(content)

    def multipart(
        self, method: str, selector: str, fields: dict[str, str], files: dict[str, Path]
    ) -> tuple[int, bytes, Any]:
        body = bytearray()
        for key, value in fields.items():
            part = f'Content-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
            body += f"--{BOUNDARY}\r\n{part}".encode()
        for key, path in files.items():
            kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
            body += (
                (
                    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{key}"; filename="{path}"\r\n'
                    f"Content-Type: {kind}\r\n\r\n"
                ).encode()
                + path.read_bytes()
                + b"\r\n"
            )
        body += f"--{BOUNDARY}--\r\n\r\n".encode()
        return self.request(
            method, selector, bytes(body), f"multipart/form-data; boundary={BOUNDARY}"
        )

    def log_in(self, name: str, password: str) -> int:
        form = urlencode({"username": name, "password": password, "grant_type": "password"})
        status, content, _ = self.request(
            "POST", "/auth/token", form, "application/x-www-form-urlencoded"
        )
        if status == 200:
            token = json.loads(content)
            self.headers["Authorization"] = f"{token['token_type']} {token['access_token']}"
        return status

    def create_session(self, path: Path) -> str:
        with path.open("rb") as file:
            answer = httpx.put(
                f"{self.address}/session/", files=[("files", (path.name, file))],
                data={"client_id": "user-xyz"}, timeout=100,
            )  # fmt: skip
        assert answer.status_code == 200, answer.text
        return str(answer.json()["session_id"])

    def infer(
        self, image: str, params: dict[str, Any], *, model: str = "ultrasam", session: str = ""
    ) -> tuple[Path, dict[str, Any]]:
        """The file that Slicer loads, and the facts."""
        selector = f"/infer/{quote_plus(model)}?image={quote_plus(image)}"
        if session:
            selector += f"&session_id={quote_plus(session)}"
        fields = {"params": json.dumps({**params, "client_id": "user-xyz"})}
        status, content, headers = self.multipart("POST", selector, fields, {})
        if status != 200:
            raise RuntimeError(f"Status: {status}; Response: {content!r}")
        message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(
            f"Content-Type: {headers['content-type']}\r\n\r\n".encode() + content
        )
        parts = {
            part.get_param("name", header="content-disposition"): part
            for part in message.iter_parts()
        }
        image_part: Any = parts["image"]
        path = self.folder / str(image_part.get_filename())
        path.write_bytes(image_part.get_payload(decode=True))
        facts: Any = parts["params"]
        return path, json.loads(facts.get_payload(decode=True))

    def save_label(self, image: str, path: Path, params: dict[str, Any]) -> tuple[int, Any]:
        status, content, _ = self.multipart(
            "PUT", f"/datastore/label?image={quote_plus(image)}",
            {"params": json.dumps({**params, "client_id": "user-xyz"})}, {"label": path},
        )  # fmt: skip
        return status, json.loads(content)
