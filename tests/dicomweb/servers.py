"""DICOMweb servers on this machine: Debian's Orthanc, and one that does what servers should not."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pydicom
import pytest

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
USER, PASSWORD = "reader", "not-a-secret"


def uids(file: Path) -> tuple[str, str, str]:
    """Those of a file's study, its series and itself."""
    read = pydicom.dcmread(file, stop_before_pixels=True)
    return read.StudyInstanceUID, read.SeriesInstanceUID, read.SOPInstanceUID


def instance(root: str, file: Path) -> str:
    """The address of a file's instance on a server."""
    study, series, uid = uids(file)
    return f"{root}/studies/{study}/series/{series}/instances/{uid}"


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc: its DICOMweb, and its own interface, which knows nothing of DICOMweb."""

    root: str

    @property
    def dicomweb(self) -> str:
        return f"{self.root}/dicom-web"

    def own(self, method: str, path: str, **options: Any) -> httpx.Response:
        with httpx.Client(auth=(USER, PASSWORD), trust_env=False) as client:
            return client.request(method, f"{self.root}{path}", **options)

    def add(self, data: bytes) -> str:
        """Its own identifier of a file that it now has."""
        return str(self.own("POST", "/instances", content=data).raise_for_status().json()["ID"])

    def file_of(self, uid: str) -> bytes:
        """The bytes that it holds of an instance."""
        found = self.own("POST", "/tools/lookup", content=uid).raise_for_status().json()
        name = next(one["ID"] for one in found if one["Type"] == "Instance")
        return self.own("GET", f"/instances/{name}/file").raise_for_status().content


@contextmanager
def orthanc(folder: Path) -> Iterator[Orthanc]:
    """Orthanc on a free port of the loopback, with an empty storage of its own."""
    program = shutil.which("Orthanc")
    if program is None or not PLUGIN.exists():
        pytest.skip("Orthanc with DICOMweb (Debian's orthanc, orthanc-dicomweb) is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    storage = str(folder / "storage")
    settings = {
        "Name": "test", "StorageDirectory": storage, "IndexDirectory": storage,
        "HttpPort": port, "RemoteAccessAllowed": False, "DicomServerEnabled": False,
        "AuthenticationEnabled": True, "RegisteredUsers": {USER: PASSWORD}, "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(settings))
    server = Orthanc(f"http://127.0.0.1:{port}")
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [program, folder / "orthanc.json"], stdout=log, stderr=subprocess.STDOUT
        )
        try:
            end = time.monotonic() + 60
            while True:
                try:
                    server.own("GET", "/system").raise_for_status()
                    break
                except httpx.HTTPError:
                    assert process.poll() is None, (folder / "log").read_text()
                    assert time.monotonic() < end, "Orthanc does not start"
                    time.sleep(0.1)
            yield server
        finally:
            process.kill()
            process.wait()


@dataclass
class Answer:
    """What the fake server sends; ``body`` may never end."""

    body: bytes | Iterator[bytes] = b""
    status: int = 200
    content_type: str = "application/dicom+json"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Asked:
    """What the fake server was asked."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes


Respond = Callable[[Asked], Answer]


@contextmanager
def fake(respond: Respond, *, certificate: Path | None = None) -> Iterator[tuple[str, list[Asked]]]:
    """A server on the loopback that answers as told; its root, and what it was asked.

    Args:
        certificate: a file with certificate and key, for https.
    """
    asked: list[Asked] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            asked.append(
                Asked(
                    self.command, address.path.removeprefix("/dicom-web"), parse_qs(address.query),
                    dict(self.headers), self.rfile.read(length),
                )
            )  # fmt: skip
            answer = respond(asked[-1])
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            chunks = [answer.body] if isinstance(answer.body, bytes) else answer.body
            if isinstance(answer.body, bytes) and "Content-Length" not in answer.headers:
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            try:
                for chunk in chunks:
                    self.wfile.write(chunk)
            except OSError:  # the client has left
                self.close_connection = True

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        scheme = "http" if certificate is None else "https"
        yield f"{scheme}://127.0.0.1:{server.server_port}/dicom-web", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def parts(*contents: bytes, kind: str = "application/dicom", inner: str = "") -> Answer:
    """A multipart answer."""
    body = b"".join(
        f"--edge\r\nContent-Type: {inner or kind}\r\n\r\n".encode() + content + b"\r\n"
        for content in contents
    )
    return Answer(
        body + b"--edge--\r\n", content_type=f'multipart/related; type="{kind}"; boundary=edge'
    )


def listed(*uids: tuple[str, str, str], modality: str = "US") -> Answer:
    """The answer to a search: instances by study, series and their own UID."""
    tags = ("0020000D", "0020000E", "00080018")
    rows = [
        {tag: {"vr": "UI", "Value": [uid]} for tag, uid in zip(tags, one, strict=True)}
        | {
            "00080060": {"vr": "CS", "Value": [modality]},
            "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Möller^Änne"}]},
        }
        for one in uids
    ]
    return Answer(json.dumps(rows).encode())
