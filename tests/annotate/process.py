"""`ultrasam annotate` as a process of its own, spoken to over HTTP."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx


@dataclass
class Process:
    """A server that runs.

    Attributes:
        address: as it was announced, with the token if there is one.
        popen: the process.
        log: the file of what it says on standard error.
    """

    address: str
    popen: subprocess.Popen[str]
    log: Path

    @property
    def root(self) -> str:
        """The address without the token."""
        return self.address.partition("#")[0].rstrip("/")

    @property
    def token(self) -> str:
        """The token; empty if there is none."""
        return self.address.partition("#token=")[2]

    def client(self, **options: Any) -> httpx.Client:
        """One browser."""
        return httpx.Client(
            base_url=self.root, headers={"X-UltraSam": "1"}, timeout=120, trust_env=False, **options
        )

    def wait_for_model(self) -> None:
        """Wait until it can answer clicks."""
        with self.client() as client:
            while True:
                assert self.popen.poll() is None, f"it ended by itself: {self.log.read_text()}"
                with suppress(httpx.TransportError):
                    if client.get("/v1/project").json()["model"]["ready"]:
                        return
                time.sleep(0.05)

    def stop(self) -> int:
        """Ask it to end, as a terminal does; returns its exit status."""
        self.popen.send_signal(signal.SIGINT)
        return self.popen.wait(60)

    def kill(self) -> None:
        """End it without a warning."""
        self.popen.kill()
        self.popen.wait(60)


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
