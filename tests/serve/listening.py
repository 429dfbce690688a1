"""A server on a real port of this machine, in a thread or as a process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from tests.serve.conftest import until
from tests.servers import ServerProcess
from ultrasam.serve.app import Limits, create_app
from ultrasam.serve.http.access import HostAccess
from ultrasam.serve.http.connections import TimedH11
from ultrasam.serve.http.drain import Drain, DrainingServer
from ultrasam.serve.http.run import bound


@dataclass
class Listening:
    """A server that runs.

    Attributes:
        address: of it.
        port: of it.
        app: that answers.
        drain: that stops it.
        server: uvicorn's.
    """

    address: str
    port: int
    app: Any
    drain: Drain
    server: DrainingServer


@contextmanager
def listening(
    model: Any, *, limits: Limits | None = None, token: str | None = None, head_s: float = 10.0,
    grace_s: float = 10.0, **options: Any,
) -> Iterator[Listening]:  # fmt: skip
    """A server in a thread, once its model is loaded.

    Args:
        head_s: in which a head has to arrive.
    """
    sock = bound("127.0.0.1", 0)
    port = int(sock.getsockname()[1])
    drain, limits = Drain(), limits or Limits()
    access = HostAccess("127.0.0.1", port, token=token, upload_bytes=limits.upload_bytes)
    app = create_app(lambda: model, access, limits=limits, drain=drain, **options)
    protocol = type("Protocol", (TimedH11,), {"head_s": head_s})
    server = DrainingServer(
        uvicorn.Config(app, http=protocol, ws="none", log_level="warning", access_log=False), drain,
        grace_s=grace_s,
    )  # fmt: skip
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    until(lambda: server.started and app.state.engine.is_ready)
    try:
        yield Listening(f"http://127.0.0.1:{port}", port, app, drain, server)
    finally:
        server.should_exit = True
        thread.join(60)
        sock.close()


class Process(ServerProcess):
    """``ultrasam serve`` as a process of its own."""

    def wait_until_ready(self) -> None:
        with self.client(verify=False) as client:
            while True:
                assert self.popen.poll() is None, f"it ended by itself: {self.log.read_text()}"
                with suppress(httpx.TransportError):
                    if client.get("/ready").status_code == 200:
                        return
                time.sleep(0.05)


@contextmanager
def started(
    folder: Path, *options: str, ready: bool = True, **environment: str
) -> Iterator[Process]:
    """A server of random weights; it is killed at the end if it still runs."""
    log = folder / "server.log"
    command = [
        sys.executable, "-m", "ultrasam", "serve", "--model", "random:nano+no-tta", "--port", "0", *options,
    ]  # fmt: skip
    with log.open("a") as opened:
        popen = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=opened, text=True,
            env={**os.environ, "ULTRASAM_CACHE": str(folder / "cache"), **environment},
        )  # fmt: skip
    assert popen.stdout is not None
    try:
        process = Process(popen.stdout.readline().strip(), popen, log)
        assert process.address.startswith("http"), log.read_text()
        if ready:
            process.wait_until_ready()
        yield process
    finally:
        if popen.poll() is None:
            popen.kill()
            popen.wait()
        popen.stdout.close()
