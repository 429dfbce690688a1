"""The server as a process: what it announces, how it ends, tokens, HTTPS, events, and a full disk."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.annotate.process import Process, started
from tests.servers import certificate_in

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to catch"),
]


def image_id(client: httpx.Client, name: str) -> int:
    images = client.get("/v1/images").json()["images"]
    return int(next(one["id"] for one in images if one["name"] == name))


def brush(client: httpx.Client, image: int, key: str, **fields: object) -> httpx.Response:
    body = {"kind": "brush", "mode": "add", "path": [[60, 60]], "radius": 9, **fields}
    return client.post(f"/v1/images/{image}/strokes", json={"key": key, **body})


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    return certificate_in(tmp_path)


def test_it_announces_its_address_serves_and_ends_in_order(folder: Path) -> None:
    with started(folder) as server, server.client() as client:
        assert server.token == ""
        assert client.get("/healthz").status_code == 200
        assert client.get("/v1/project").json()["reader"] == "anna"
        image = image_id(client, "a.png")
        assert brush(client, image, "stroke-1").status_code == 200
        assert server.stop() == 0
        said = server.log.read_text()
        assert "Everything is saved in" in said
        assert "Traceback" not in said
        # The log of writes is folded into the file, which can be copied now.
        assert not list(folder.glob("*.sqlite-wal"))
    with started(folder) as again, again.client() as client:
        assert len(client.get(f"/v1/images/{image}").json()["objects"]) == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--host", "192.0.2.1"], "Cannot listen on 192.0.2.1"),
        (["--tls-cert", "nowhere.pem", "--tls-key", "nowhere.pem"], "Cannot use nowhere.pem"),
        (["--tls-cert", "nowhere.pem"], "Give --tls-cert and --tls-key"),
        (["--reader", "x" * 61], "60 characters"),
    ],
)
def test_what_cannot_be_served_is_one_sentence_and_no_traceback(
    folder: Path, options: list[str], sentence: str
) -> None:
    command = [sys.executable, "-m", "ultrasam", "annotate", str(folder), "--model", "random:nano"]
    done = subprocess.run(
        [*command, "--port", "0", "--no-browser", *options], capture_output=True, text=True, timeout=120
    )  # fmt: skip
    assert done.returncode != 0
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_told(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "ultrasam", "annotate", str(folder), "--port", str(port), "--no-browser"],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    assert done.returncode != 0
    assert f"Cannot listen on 127.0.0.1, port {port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_https_is_spoken_where_a_certificate_is_given(
    folder: Path, certificate: tuple[Path, Path]
) -> None:
    cert, key = certificate
    options = ("--tls-cert", str(cert), "--tls-key", str(key), "--host", "0.0.0.0", "--one-time")
    with started(folder, *options) as server:
        port = int(server.root.rpartition(":")[2])
        server.address = f"https://127.0.0.1:{port}/#token={server.token}"
        trusting = ssl.create_default_context(cafile=str(cert))
        with server.client(verify=trusting) as client:
            assert client.get("/v1/project").status_code == 401
            answer = client.post("/v1/session", json={"token": server.token, "reader": "bob"})
            assert answer.status_code == 200
            assert "secure" in answer.headers["set-cookie"].lower()
            assert client.get("/v1/project").json()["reader"] == "bob"
        with server.client(verify=trusting) as other:
            replayed = other.post("/v1/session", json={"token": server.token})
            assert (replayed.status_code, "used already" in replayed.text) == (401, True)
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False)  # no TLS, no answer
        said = server.log.read_text()
        assert server.token not in said
        assert "can read what is sent" not in said


def test_a_server_for_others_warns_without_https_and_its_token_is_in_no_log(folder: Path) -> None:
    with started(folder, "--host", "0.0.0.0") as server:
        assert len(server.token) >= 43  # 256 bits
        port = int(server.root.rpartition(":")[2])
        token = server.token
        server.address = f"http://127.0.0.1:{port}/"
        with server.client() as client:
            assert client.get("/v1/images").status_code == 401
            assert client.post("/v1/session", json={"token": token}).status_code == 200
            image = image_id(client, "a.png")
            assert brush(client, image, "stroke-1").status_code == 200
        server.stop()
        said = server.log.read_text()
        assert "Anyone on the network can read what is sent" in said
        assert token not in said
        assert token.encode() not in (folder / "ultrasam.project.sqlite").read_bytes()


def events_of(lines: Iterator[str]) -> Iterator[tuple[str, dict]]:
    """The events of a stream: their kinds and what they hold."""
    kind = ""
    for line in lines:
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, json.loads(line.removeprefix("data: "))


@pytest.fixture
def server(folder: Path) -> Iterator[Process]:
    with started(folder) as running:
        yield running


def test_a_page_that_listens_hears_of_strokes_and_of_jobs_in_their_order(server: Process) -> None:
    with (
        server.client() as client,
        server.client() as listener,
        listener.stream("GET", "/v1/events") as stream,
    ):
        assert stream.headers["content-type"].startswith("text/event-stream")
        events = events_of(stream.iter_lines())
        image = image_id(client, "cine.avi")
        assert (
            brush(client, image, "stroke-1", frame=2, radius=20, path=[[46, 60]]).status_code == 200
        )
        told = next(data for kind, data in events if kind == "image")
        assert (told["id"], told["state"], told["reader"]) == (image, "started", "anna")
        job = client.post(f"/v1/images/{image}/propagate", json={"frame": 2}).json()
        states = list[str]()
        for kind, data in events:
            if kind == "job" and data["id"] == job["id"]:
                states.append(data["state"])
                if data["state"] in ("done", "failed"):
                    break
        assert states[0] == "running"
        assert set(states) <= {"running", "done"}
        assert states[-1] == "done"


def test_a_listener_that_goes_away_hinders_nobody(server: Process) -> None:
    with server.client() as client:
        for _ in range(5):
            with server.client() as listener, listener.stream("GET", "/v1/events") as stream:
                next(stream.iter_lines())
        assert brush(client, image_id(client, "a.png"), "stroke-1").status_code == 200
        assert server.stop() == 0
        assert "Traceback" not in server.log.read_text()


def test_a_page_that_listens_does_not_keep_the_server_from_ending(server: Process) -> None:
    with server.client() as listener, listener.stream("GET", "/v1/events") as stream:
        next(stream.iter_lines())
        assert server.stop() == 0
        assert "Traceback" not in server.log.read_text()


def test_a_file_that_may_not_grow_loses_no_acknowledged_stroke(folder: Path) -> None:
    """As with a quota: the system refuses to write, the server says so, and goes on."""
    import resource

    limit = 600_000
    with (
        started(
            folder, preexec=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        ) as server,
        server.client() as client,
    ):
        image = image_id(client, "a.png")
        kept, refused = 0, 0
        for number in range(400):
            path = [[x * (7 + number) % 150 + 1, x * 11 % 110 + 1] for x in range(300)]
            answer = brush(client, image, f"stroke-{number}", path=path, radius=1)
            if answer.status_code == 200:
                kept += 1
                continue
            refused += 1
            assert answer.status_code == 507, answer.text
            assert "Traceback" not in answer.json()["detail"]
            if refused > 3:
                break
        assert refused, "the limit was not reached"
        assert len(client.get(f"/v1/images/{image}").json()["objects"]) == kept
        server.kill()
        assert "Traceback" not in server.log.read_text()
    with started(folder) as again, again.client() as client:
        assert len(client.get(f"/v1/images/{image}").json()["objects"]) == kept
        assert brush(client, image, "stroke-after").status_code == 200
