"""LocalServer: an annotator's server of this machine that goes with napari."""

from __future__ import annotations

import atexit
import subprocess
import sys
import tempfile
from pathlib import Path

from ultrasam.errors import UltraSamError


class LocalServer:
    """Runs ``ultrasam annotate`` on a free port of this machine; close it when done.

    Args:
        folder: the images.
        model: as in `ultrasam.load`.

    Attributes:
        address: of the server.

    Raises:
        UltraSamError: It does not start; the message is its own.
    """

    def __init__(self, folder: Path, *, model: str = "nano") -> None:
        command = [
            sys.executable, "-m", "ultrasam", "annotate", str(folder), "--model", model, "--port", "0",
            "--no-browser",
        ]  # fmt: skip
        # A pipe that nobody reads would stop the server one day.
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        atexit.register(self.close)
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()  # it prints nothing else
        if not self.address.startswith("http"):
            self._process.wait()
            self._errors.seek(0)
            lines = self._errors.read().strip().splitlines()
            self.close()
            raise UltraSamError(
                lines[-1].removeprefix("ultrasam: ")
                if lines
                else "The annotator's server does not start."
            )

    def close(self) -> None:
        """Stop the server."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for stream in (self._process.stdout, self._errors):
            if stream is not None:
                stream.close()
        atexit.unregister(self.close)
