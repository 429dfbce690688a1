"""`ultrasam annotate` as a process of its own, spoken to over HTTP."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from tests.processes import Background
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


def _use_cache(folder: str) -> None:
    os.environ["ULTRASAM_CACHE"] = folder


@contextmanager
def forked(folder: Path) -> Iterator[Process]:
    """The same, forked from a process that has imported everything."""
    with (folder.parent / "server.log").open("a+") as log:
        log.seek(0, os.SEEK_END)
        running = Background(
            *_command(folder, 0)[3:], log=Path(log.name),
            before=partial(_use_cache, str(folder.parent / "cache")),
        )  # fmt: skip
        try:
            address = ""
            while not address.endswith("\n"):
                assert running.poll() is None, f"it ended by itself: {Path(log.name).read_text()}"
                line = log.readline()
                if address or line.startswith("http"):
                    address += line
                time.sleep(0.02)
            yield Process(address.strip(), running, Path(log.name))
        finally:
            if running.poll() is None:
                running.kill()
                running.wait()


def _command(folder: Path, port: int) -> list[str]:
    return [
        sys.executable, "-m", "ultrasam", "annotate", str(folder), "--model", "random:nano", "--no-browser",
        "--reader", "anna", "--port", str(port),
    ]  # fmt: skip


@contextmanager
def started(
    folder: Path, *options: str, port: int = 0, preexec: Any = None, **environment: str
) -> Iterator[Process]:
    """A server of a folder, with a network of random weights; it is killed at the end if it still runs."""
    log = folder.parent / "server.log"
    with log.open("a") as opened:
        popen = subprocess.Popen(
            [*_command(folder, port), *options], stdout=subprocess.PIPE, stderr=opened, text=True,
            preexec_fn=preexec,
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
