"""RemoteSegmenter: a model on a server, used as a `Predictor`."""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from ultrasam.client.connection import Connection, GoneError, Json, token_in
from ultrasam.closing import Closing
from ultrasam.errors import ConfigError, PromptError
from ultrasam.images.rle import decode
from ultrasam.inference.segmenter import ScanLike, one_frame
from ultrasam.prompts import Float32, Prediction, Prompt


class RemoteSegmenter(Closing):
    """Segments on the server of ``ultrasam serve``; close it when done, or use it in a ``with`` block.

    Args:
        address: of the server, such as ``http://127.0.0.1:8418``.
        token: of the server, if it has one.
        timeout: seconds to wait for an answer.
        patience: seconds in which a busy server is asked again, as its Retry-After says.

    Raises:
        MissingDependencyError: The extra 'client' is not installed.
        UltraSamError: No server answers, or it refuses the token.

    Attributes:
        address: of the server.
        model: what the server says of its model: ``name``, ``weights``, ``prompts`` and more.

    Example:
        >>> with RemoteSegmenter("http://127.0.0.1:8418") as segmenter:  # doctest: +SKIP
        ...     segmenter.set_image("scan.dcm")
        ...     prediction = segmenter.predict(Prompt(box=(120, 80, 260, 190)))
    """

    def __init__(
        self,
        address: str = "http://127.0.0.1:8418",
        *,
        token: str | None = None,
        timeout: float = 60.0,
        patience: float = 60.0,
    ) -> None:
        self._connect(
            Connection(
                address, token=token or token_in(address), timeout=timeout, patience=patience,
                who=("UltraSam server", "ultrasam serve"),
            )
        )  # fmt: skip

    def _connect(self, connection: Connection) -> None:
        self._connection = connection
        self.address = connection.address
        self.model: Json = {}
        self._image: tuple[str, int] | None = None  # its address below /v1, and the frame
        self._sent: bytes | None = None
        self._shape = (0, 0)
        try:
            self._greet()
        except BaseException:
            self.close()
            raise

    def _greet(self) -> None:
        """Find out whether the server is one of ours, and lets us in."""
        self.model = self._connection.json("GET", "model")

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    def set_image(self, scan: ScanLike, *, frame: int | None = None) -> None:
        """Send the frame that later prompts refer to, without loss.

        Args:
            scan: a scan, a file of this machine or an array [H, W] or [H, W, 3].
            frame: of a cine or volume; None is frame 0, with an `UltraSamWarning` if there are others.

        Raises:
            ScanError: The file or array cannot be read.
            UltraSamError: The server does not answer.
        """
        pixels = one_frame(scan, frame)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
        self._sent = buffer.getvalue()
        self._shape = pixels.shape[0], pixels.shape[1]
        self._send()

    def predict(
        self, prompts: Prompt | Sequence[Prompt], *, multimask: bool | None = None
    ) -> Prediction:
        """Segment one object per prompt, as `Predictor.predict`; the logits are rounded to float16.

        Raises:
            PromptError: No image is set, or a prompt is invalid.
            UltraSamError: The server does not answer, or is busy for longer than the patience.
        """
        if self._image is None:
            raise PromptError("No image is set; call set_image first.")
        given = [prompts] if isinstance(prompts, Prompt) else list(prompts)
        if not given:
            raise PromptError("There is no prompt; give at least one.")
        body = {
            "frame": self._image[1], "prompts": [_prompt_json(prompt) for prompt in given],
            "multimask": multimask, "logits": True,
        }  # fmt: skip
        try:
            answer = self._connection.json("POST", f"{self._image[0]}/predict", body)
        except GoneError:
            if self._sent is None:
                raise
            self._send()
            answer = self._connection.json("POST", f"{self._image[0]}/predict", body)
        found = answer["predictions"]
        return Prediction(
            np.stack([[self._mask(one["mask"]) for one in candidates] for candidates in found]),
            _floats(found, "predicted_iou"),
            _floats(found, "stability_score"),
            np.stack([[_logits(one["logits"]) for one in candidates] for candidates in found]),
        )

    def _send(self) -> None:
        sent = self._connection.json("POST", "uploads?name=image.png", content=self._sent)
        self._image = f"uploads/{sent['id']}", 0

    def _mask(self, wire: Json) -> Any:
        return decode(wire["counts"], self._shape)


def open_server(address: str, **options: Any) -> RemoteSegmenter:
    """A server's model, for ``ultrasam.load("http://…")``.

    Args:
        options: of `ultrasam.load`, which are the server's.

    Raises:
        ConfigError: One is given.
        UltraSamError: As in `RemoteSegmenter`.
    """
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise ConfigError(f"{given[0]} is chosen where 'ultrasam serve' is started; leave it out.")
    return RemoteSegmenter(address)


def _prompt_json(prompt: Prompt) -> Json:
    mask = None
    if prompt.mask is not None:
        values = np.ascontiguousarray(np.clip(prompt.mask, -6e4, 6e4), np.float16)
        data = base64.b64encode(zlib.compress(values.tobytes(), 1)).decode()
        mask = {"shape": list(values.shape), "data": data}
    points = zip(prompt.points.tolist(), prompt.labels.tolist(), strict=True)
    return {
        "points": [[*point, label] for point, label in points],
        "box": None if prompt.box is None else prompt.box.tolist(), "mask": mask,
    }  # fmt: skip


def _floats(found: list[list[Json]], name: str) -> Float32:
    return np.array([[one[name] for one in candidates] for candidates in found], np.float32)


def _logits(wire: Json) -> Float32:
    raw = zlib.decompress(base64.b64decode(wire["data"]))
    return np.frombuffer(raw, np.float16).reshape(wire["shape"]).astype(np.float32)
