"""Archive: instances of a DICOMweb server that clients name by their UIDs, retrieved when they are needed."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ultrasam.dicomweb.address import Address
from ultrasam.dicomweb.client import DicomWebClient
from ultrasam.errors import DataError, DiskFullError, UltraSamError
from ultrasam.serve.http.problems import NotFoundError, RefusedError

Uids = tuple[str, str, str]
_AT_ONCE = 4
_WAITING = 32
_KNOWN = 20_000
_SILENCE_S, _DEADLINE_S = 20.0, 120.0


class Archive:
    """What a server retrieves for its clients; close it when done.

    An instance never changes under its UID, so whoever still has its file need not retrieve it again.

    Args:
        address: of the DICOMweb server, such as ``https://host/dicom-web``. Credentials come from the
            environment, as of `DicomWebClient`.
        most_bytes: of an instance.

    Raises:
        ConfigError: The address or the credentials are invalid.
        MissingDependencyError: The extra 'dicomweb' is not installed.
    """

    def __init__(self, address: str, *, most_bytes: int) -> None:
        self._client = DicomWebClient(
            address, max_bytes=most_bytes, timeout=_SILENCE_S, deadline=_DEADLINE_S
        )
        # Apart from the threads that decode, which a slow archive must not keep from others.
        self._pool = ThreadPoolExecutor(_AT_ONCE, "archive")
        self._room = threading.BoundedSemaphore(_WAITING)
        self._digests: OrderedDict[Uids, str] = OrderedDict()

    def digest(self, uids: Uids) -> str | None:
        """SHA-256 of an instance that was retrieved before, hexadecimal."""
        return self._digests.get(uids)

    def remember(self, uids: Uids, digest: str) -> None:
        """Note what was retrieved."""
        self._digests[uids] = digest
        while len(self._digests) > _KNOWN:
            self._digests.popitem(last=False)

    async def retrieve(self, uids: Uids) -> bytes:
        """The file of an instance.

        Args:
            uids: of its study, its series and itself.

        Raises:
            NotFoundError: The archive does not have it.
            RefusedError: Too many wait for the archive (429), or it cannot be reached or sends something else
                (502).
        """
        if not self._room.acquire(blocking=False):
            raise RefusedError("Many wait for the archive; ask again in 5 s.", 429, retry_after=5)
        task = self._pool.submit(self._retrieve, uids)
        task.add_done_callback(lambda _: self._room.release())
        return await asyncio.wrap_future(task)

    def close(self) -> None:
        """Close the connections; what is being retrieved is given up."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _retrieve(self, uids: Uids) -> bytes:
        where = Address(self._client.base).narrowed(*uids)
        with tempfile.TemporaryDirectory(prefix="ultrasam-archive-") as folder:
            try:
                return self._client.retrieve(where, Path(folder)).read_bytes()
            except DiskFullError:
                raise
            except DataError as error:
                raise NotFoundError("The archive does not have this instance.") from error
            except UltraSamError as error:
                raise RefusedError(
                    str(error)
                    .replace(self._client.base, "The archive", 1)
                    .replace(str(where), "it"),
                    502,
                ) from error
