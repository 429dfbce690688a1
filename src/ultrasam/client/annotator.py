"""Client: a Python program's way to an annotator's server, without PyTorch.

It is a `Segmenter`: code that works with a `Predictor` works with it, while the network runs elsewhere.
"""

from __future__ import annotations

import io
import uuid
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from ultrasam.annotate.wire import mask_from_json
from ultrasam.client.connection import Connection, Json, token_in
from ultrasam.client.remote import RemoteSegmenter
from ultrasam.errors import UltraSamWarning
from ultrasam.images.masks import BoolMask
from ultrasam.images.pixels import Frame
from ultrasam.inference.segmenter import ScanLike

_PAGE = 500  # images of one request


class Client(RemoteSegmenter):
    """Talks to the server of ``ultrasam annotate``; close it when done, or use it in a ``with`` block.

    Args:
        address: of the server, such as ``http://127.0.0.1:8417``.
        token: that the server has printed; a server on this machine needs none.
        reader: who works; by default whom the server names.
        timeout: seconds to wait for an answer; the first one in an image takes the longest.

    Raises:
        MissingDependencyError: The extra 'client' is not installed.
        UltraSamError: No server answers, or it refuses the token.

    Example:
        >>> with Client("http://127.0.0.1:8417") as client:  # doctest: +SKIP
        ...     client.set_image(12)
        ...     prediction = client.predict(Prompt(points=[(120, 80)]))
    """

    def __init__(
        self,
        address: str = "http://127.0.0.1:8417",
        *,
        token: str | None = None,
        reader: str | None = None,
        timeout: float = 60.0,
    ) -> None:
        self._login = {"token": token or token_in(address), "reader": reader}
        self._connect(
            Connection(
                address, token=None, timeout=timeout, patience=0,
                who=("annotator", "ultrasam annotate FOLDER"),
            )
        )  # fmt: skip

    def _greet(self) -> None:
        if any(self._login.values()):
            self._json("POST", "session", self._login)
        self.model = self._json("GET", "project")["model"]

    # What a segmenter does.

    def set_image(self, scan: ScanLike | int, *, frame: int | None = None) -> None:
        """Set the frame that later prompts refer to.

        Args:
            scan: the number of an image in the server's project; or a scan, a file of this machine or an
                array [H, W] or [H, W, 3], whose frame is sent without loss.
            frame: of a cine or volume; None is frame 0, with an `UltraSamWarning` if there are others.

        Raises:
            DataError: There is no such image or frame.
            ScanError: The file or array cannot be read.
        """
        if isinstance(scan, (int, np.integer)) and not isinstance(scan, bool):
            row = self.image(int(scan))
            if frame is None and row["frames"] > 1:
                warnings.warn(
                    f"{row['name']} has {row['frames']} frames; frame 0 is used. Choose one with frame=.",
                    UltraSamWarning, stacklevel=2,
                )  # fmt: skip
            self._json("POST", f"images/{scan}/open", {"frame": frame or 0})
            self._image, self._sent = (f"images/{scan}", frame or 0), None
            self._shape = row["height"], row["width"]
            return
        super().set_image(scan, frame=frame)

    # What a project holds.

    def project(self) -> Json:
        """The project: its name, labels, reader, model and counts of images."""
        return self._json("GET", "project")

    def images(self) -> Iterator[Json]:
        """All images by name, each with its ``id``."""
        offset, total = 0, 1
        while offset < total:
            answer = self._json("GET", f"images?offset={offset}&limit={_PAGE}")
            yield from answer["images"]
            offset, total = offset + _PAGE, answer["total"]

    def image(self, id: int) -> Json:
        """One image: size, frames, spacing, objects and history.

        Raises:
            DataError: There is none.
        """
        return self._json("GET", f"images/{id}")

    def frame(self, id: int, frame: int = 0) -> Frame:
        """The pixels of a frame, [H, W] or [H, W, 3] uint8."""
        content = self._connection.request("GET", f"images/{id}/frames/{frame}.png").content
        return np.asarray(Image.open(io.BytesIO(content)))

    def objects(self, id: int, frame: int = 0) -> list[Json]:
        """The reader's objects, each with its ``mask`` in a frame, or None."""
        found: list[Json] = self._json("GET", f"images/{id}/objects?frame={frame}")["objects"]
        return found

    def mask(self, entry: Json, shape: tuple[int, int]) -> BoolMask:
        """The mask [H, W] of an object's ``mask`` entry.

        Args:
            shape: (height, width) of the image.
        """
        wire = entry["mask"]
        return mask_from_json(wire["box"], wire["runs"], shape)

    def stroke(self, id: int, kind: str, *, frame: int = 0, **about: Any) -> Json:
        """Do one action in an image, as the page does; it is on disk when the answer comes.

        Args:
            kind: such as ``prompt``, ``accept`` or ``delete``.
            about: the fields of that kind, such as ``object``, ``base_version`` and ``prompt``.

        Raises:
            ConflictError: Another program has changed the mask.
            PromptError, DataError: The action is invalid.
        """
        body = {"key": str(uuid.uuid4()), "kind": kind, "frame": frame, **about}
        return self._json("POST", f"images/{id}/strokes", body)

    def undo(self, id: int, *, object: str | None = None) -> Json:
        """Undo the latest action in an image, or of one object.

        Raises:
            DataError: There is nothing to undo.
        """
        return self._json("POST", f"images/{id}/undo", {"object": object, "key": str(uuid.uuid4())})

    def redo(self, id: int, *, object: str | None = None) -> Json:
        """Do again what was undone last.

        Raises:
            DataError: There is nothing to redo.
        """
        return self._json("POST", f"images/{id}/redo", {"object": object, "key": str(uuid.uuid4())})

    def _json(self, method: str, path: str, body: Any = None) -> Json:
        return self._connection.json(method, path, body)
