"""``ultrasam serve`` as a process: what it announces, logs and refuses, and how it ends."""

from __future__ import annotations

import concurrent.futures
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path

import cv2
import httpx
import pytest

from tests.serve.conftest import picture, png
from tests.serve.listening import Process, started
from tests.servers import certificate_in

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="signals")]
BOX = {"prompts": [{"box": [20, 20, 70, 60]}]}


def predict(server: Process, seed: int, *, name: str = "x.png") -> httpx.Response:
    with server.client() as client:
        return client.post(
            "/v1/predict", files={"image": (name, png(seed))}, data={"request": json.dumps(BOX)}
        )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_middle_loses_no_accepted_request(
    tmp_path: Path, number: signal.Signals
) -> None:
    with started(tmp_path) as server:
        with concurrent.futures.ThreadPoolExecutor(24) as pool:
            asked = [pool.submit(predict, server, seed) for seed in range(24)]
            concurrent.futures.wait(asked, return_when=concurrent.futures.FIRST_COMPLETED)
            server.popen.send_signal(number)
            time.sleep(0.2)
            late = predict(server, 99)
            answers = [one.result() for one in asked]
        assert late.status_code == 503
        assert {answer.status_code for answer in answers} <= {200, 503}
        assert sum(answer.status_code == 200 for answer in answers) > 1
        assert all("retry-after" in one.headers for one in answers if one.status_code == 503)
        assert server.popen.wait(60) == 0
        said = server.log.read_text()
        assert "Traceback" not in said
        assert said.rstrip().endswith("ultrasam: Stopped.")


def test_what_is_not_answered_within_the_grace_time_is_given_up(tmp_path: Path) -> None:
    with started(tmp_path, "--grace", "0.3", "--queue", "1000", TMPDIR=str(tmp_path)) as server:
        with concurrent.futures.ThreadPoolExecutor(40) as pool:
            asked = [pool.submit(predict, server, seed) for seed in range(200)]
            concurrent.futures.wait(asked, return_when=concurrent.futures.FIRST_COMPLETED)
            begun = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - begun < 30
            for one in asked:
                one.cancel()
        assert "were not answered within 0.3 seconds" in server.log.read_text()
        assert not list(tmp_path.glob("ultrasam-uploads-*"))  # nobody's image is left behind


def test_the_log_is_json_and_names_nobody(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    cut = png(5)[:-30]
    (root / "Doe^Jane.png").write_bytes(cut)
    cv2.imwrite(str(root / "Doe^John.png"), picture(6))
    with started(tmp_path, "--root", str(root)) as server, server.client() as client:
        predict(server, 1, name="Doe^Jane 1970.png")
        client.post("/v1/uploads?name=Doe.png", content=b"Doe")
        client.get("/v1/uploads/Doe^Jane/predict")
        for name in ("Doe^Jane.png", "Doe^John.png"):
            client.post("/v1/predict", json={**BOX, "source": {"path": name}})
        assert server.stop() == 0
        lines = server.log.read_text().splitlines()
    assert not [line for line in lines if "Doe" in line or "1970" in line or str(root) in line]
    entries = [json.loads(line) for line in lines if line.startswith("{")]
    assert [entry["status"] for entry in entries] == [200, 422, 405, 422, 200]
    assert entries[0]["route"] == "/v1/predict"
    assert entries[0]["embedding"] == "encoded"
    assert entries[0]["encode_ms"] > 0
    assert entries[0]["bytes_in"] > len(png(1))


def test_another_address_makes_a_token_or_takes_that_of_the_environment(tmp_path: Path) -> None:
    with started(tmp_path, "--host", "0.0.0.0") as server:
        token = server.token
        assert len(token) > 40
        root = f"http://127.0.0.1:{server.root.rpartition(':')[2]}"
        assert httpx.get(f"{root}/v1/model", trust_env=False).status_code == 401
        known = {"authorization": f"Bearer {token}"}
        assert httpx.get(f"{root}/v1/model", headers=known, trust_env=False).status_code == 200
        server.stop()
        said = server.log.read_text()
        assert token not in said
        assert "Anyone on the network can read" in said
    with started(tmp_path, ULTRASAM_TOKEN="a token of mine, long") as server:
        assert "#" not in server.address
        assert httpx.get(f"{server.root}/v1/model", trust_env=False).status_code == 401


def test_https(tmp_path: Path) -> None:
    cert, key = certificate_in(tmp_path)
    with started(tmp_path, "--tls-cert", str(cert), "--tls-key", str(key)) as server:
        assert server.address.startswith("https://")
        trusted = ssl.create_default_context(cafile=str(cert))
        answer = httpx.get(f"{server.root}/ready", verify=trusted, trust_env=False)
        assert answer.json()["status"] == "ready"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--host", "192.0.2.1"], "Cannot listen on 192.0.2.1"),
        (["--tls-cert", "nowhere.pem"], "Give --tls-cert and --tls-key"),
        (["--root", "nowhere"], "nowhere is not a folder"),
        (["--model", "nowhere.pt"], "neither a file nor a known model"),
        (["--model", "BROKEN"], "BROKEN"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(
    tmp_path: Path, options: list[str], sentence: str
) -> None:
    (tmp_path / "BROKEN").write_bytes(b"no weights")
    command = [sys.executable, "-m", "ultrasam", "serve", "--port", "0", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
