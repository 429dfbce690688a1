"""What tests of our servers share: a server as a process, a certificate, and requests that are made up."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest


class Running(Protocol):
    """What is asked of a process, as of `subprocess.Popen`."""

    def poll(self) -> int | None:
        """The exit status; None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the exit status."""

    def send_signal(self, number: int, /) -> None:
        """Send a signal."""

    def kill(self) -> None:
        """End it without a warning."""


@dataclass
class ServerProcess:
    """A server that runs.

    Attributes:
        address: as it was announced, with the token if there is one.
        popen: the process.
        log: the file of what it says on standard error.
    """

    address: str
    popen: Running
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
        """One browser or program."""
        # Without TLS, no certificates need to be read.
        options = {"verify": self.root.startswith("https")} | options
        return httpx.Client(
            base_url=self.root, headers={"X-UltraSam": "1"}, timeout=120, trust_env=False, **options
        )

    def stop(self, number: int = signal.SIGINT) -> int:
        """Ask it to end, as a terminal does; returns its exit status."""
        self.popen.send_signal(number)
        return self.popen.wait(60)

    def kill(self) -> None:
        """End it without a warning."""
        self.popen.kill()
        self.popen.wait(60)


def certificate_in(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 by itself, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


def made_up_requests(
    api: Any, ask: Callable[[Any], Any], *, examples: int, left_out: tuple[str, ...] = ()
) -> tuple[dict[str, str], int]:
    """Try each operation of an API by itself, so that one test says all that fail.

    Args:
        api: its schema, by schemathesis.
        ask: sends a case.
        examples: how many cases of each operation.
        left_out: paths that are not tried.

    Returns:
        The operations that ended in an internal error, with the request; and how many were tried.
    """
    from hypothesis import HealthCheck, given, settings
    from schemathesis import GenerationMode

    failures: dict[str, str] = {}
    tried = 0
    for result in api.get_all_operations():
        operation = result.ok()
        if operation.path in left_out:
            continue
        valid, invalid = (operation.as_strategy(generation_mode=mode) for mode in GenerationMode)

        @settings(
            max_examples=examples, deadline=None, derandomize=True, database=None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=valid | invalid)
        def run(case: Any) -> None:
            nonlocal tried
            tried += 1
            answer = ask(case)
            if answer.status_code >= 500:
                failures[f"{case.method} {case.path}"] = f"{case.as_curl_command()}: {answer.text}"
            elif answer.status_code >= 400:
                assert isinstance(answer.json()["detail"], str)

        run()
    return failures, tried
