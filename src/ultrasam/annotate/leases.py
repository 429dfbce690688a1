"""Leases: who has an image open, so that two readers don't do the same work.

They are kept in memory and measured by a clock that nobody sets, so a crash or a changed clock locks nobody
out.
"""

from __future__ import annotations

import threading
import time

from ultrasam.annotate.problems import LeasedError

LONGEST_S = 600.0


class Leases:
    """The leases of a project's images."""

    def __init__(self) -> None:
        self._held: dict[int, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def take(self, image: int, reader: str, seconds: float) -> float:
        """Take or renew a lease; returns for how many seconds it is good.

        Raises:
            LeasedError: Another reader holds it.
        """
        with self._lock:
            self._check(image, reader)
            good = min(max(seconds, 0.0), LONGEST_S)
            self._held[image] = reader, time.monotonic() + good
        return good

    def give_back(self, image: int, reader: str) -> None:
        """Give a lease back, if the reader holds it."""
        with self._lock:
            if self._held.get(image, ("", 0.0))[0] == reader:
                del self._held[image]

    def holder(self, image: int, *, but: str | None = None) -> str | None:
        """Who holds an image, unless it is ``but``; None if nobody does."""
        with self._lock:
            return self._holder(image, but)

    def check(self, image: int, reader: str) -> None:
        """Refuse a change by a reader while another one holds the image.

        Raises:
            LeasedError: Another reader holds it.
        """
        with self._lock:
            self._check(image, reader)

    def _check(self, image: int, reader: str) -> None:
        holder = self._holder(image, reader)
        if holder is not None:
            rest = self._held[image][1] - time.monotonic()
            raise LeasedError(
                f"{holder} has this image open; take another one, or try again in {max(rest, 1):.0f} seconds."
            )

    def _holder(self, image: int, but: str | None) -> str | None:
        name, until = self._held.get(image, ("", 0.0))
        if until <= time.monotonic() or name == but:
            return None
        return name
