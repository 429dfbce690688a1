"""`ultrasam annotate` as a process of its own, spoken to over HTTP."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from tests.servers import ServerProcess


class Process(ServerProcess):
    """An annotator's server that runs."""

    def wait_for_model(self) -> None:
        """Wait until it can answer clicks."""
        with self.client() as client:
            while True:
                assert self.popen.poll() is None, f"it ended by itself: {self.log.read_text()}"
                with suppress(httpx.TransportError):
                    if client.get("/v1/project").json()["model"]["ready"]:
                        return
                time.sleep(0.05)


@contextmanager
def started(
    folder: Path, *options: str, port: int = 0, preexec: Any = None, **environment: str
) -> Iterator[Process]:
    """A server of a folder, with a network of random weights; it is killed at the end if it still runs."""
    log = folder.parent / "server.log"
    command = [
        sys.executable, "-m", "ultrasam", "annotate", str(folder), "--model", "random:nano", "--no-browser",
        "--reader", "anna", "--port", str(port), *options,
    ]  # fmt: skip
    with log.open("a") as opened:
        popen = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=opened, text=True, preexec_fn=preexec,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "ULTRASAM_CACHE": str(folder.parent / "cache"),
                 **environment},
        )  # fmt: skip
    assert popen.stdout is not None
    try:
        address = popen.stdout.readline().strip()
        assert address.startswith("http"), log.read_text()
        yield Process(address, popen, log)
    finally:
        if popen.poll() is None:
            popen.kill()
            popen.wait()
        popen.stdout.close()
