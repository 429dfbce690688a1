"""Client: a Python program's way to an annotator's server, without PyTorch.

It is a `Segmenter`: code that works with a `Predictor` works with it, while the network runs elsewhere.
"""

from __future__ import annotations

import base64
import io
import uuid
import warnings
import zlib
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image

from ultrasam.annotate.wire import mask_from_json
from ultrasam.errors import DataError, PromptError, UltraSamError, UltraSamWarning, one_line
from ultrasam.extras import needs
from ultrasam.images.masks import BoolMask
from ultrasam.images.pixels import Frame
from ultrasam.images.rle import decode
from ultrasam.inference.segmenter import ScanLike, one_frame
from ultrasam.prompts import Float32, Prediction, Prompt

Json = dict[str, Any]
_PAGE = 500  # images of one request


class ConflictError(DataError):
    """Someone else has changed an object in the meantime.

    Attributes:
        object: as it is now.
    """

    def __init__(self, message: str, object: Json) -> None:
        super().__init__(message)
        self.object = object


class Client:
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
        with needs("The client", extra="client"):
            import httpx
        self.address = address.partition("#")[0].rstrip("/")
        token = token or _token_in(address)
        self._http = httpx.Client(
            base_url=f"{self.address}/v1/", timeout=timeout, headers={"X-UltraSam": "1"},
            trust_env=False,
        )  # fmt: skip
        self._errors = (httpx.HTTPError, httpx.InvalidURL)
        self._image: tuple[str, int] | None = None  # its address below /v1, and the frame
        self._shape = (0, 0)
        try:
            if token is not None or reader is not None:
                self._json("POST", "session", {"token": token, "reader": reader})
            self._json("GET", "project")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

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
            self._image, self._shape = (f"images/{scan}", frame or 0), (row["height"], row["width"])
            return
        pixels = one_frame(scan, frame)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
        sent = self._json("POST", "uploads?name=image.png", content=buffer.getvalue())
        self._image = f"uploads/{sent['id']}", 0
        self._shape = pixels.shape[0], pixels.shape[1]

    def predict(
        self, prompts: Prompt | Sequence[Prompt], *, multimask: bool | None = None
    ) -> Prediction:
        """Segment one object per prompt, as `Predictor.predict`; the logits are rounded to float16.

        Raises:
            PromptError: No image is set, or a prompt is invalid.
            UltraSamError: The server does not answer.
        """
        if self._image is None:
            raise PromptError("No image is set; call set_image first.")
        path, frame = self._image
        given = [prompts] if isinstance(prompts, Prompt) else list(prompts)
        if not given:
            raise PromptError("There is no prompt; give at least one.")
        answer = self._json(
            "POST", f"{path}/predict",
            {
                "frame": frame, "prompts": [_prompt_json(prompt) for prompt in given],
                "multimask": multimask, "logits": True,
            },
        )  # fmt: skip
        found = answer["predictions"]
        return Prediction(
            np.stack([[self._mask(one["mask"]) for one in candidates] for candidates in found]),
            _floats(found, "predicted_iou"),
            _floats(found, "stability_score"),
            np.stack([[_logits(one["logits"]) for one in candidates] for candidates in found]),
        )

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
        content = self._request("GET", f"images/{id}/frames/{frame}.png").content
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

    def _mask(self, wire: Json) -> BoolMask:
        return decode(wire["counts"], self._shape)

    def _json(
        self, method: str, path: str, body: Any = None, *, content: bytes | None = None
    ) -> Json:
        found: Json = self._request(method, path, body, content=content).json()
        return found

    def _request(
        self, method: str, path: str, body: Any = None, *, content: bytes | None = None
    ) -> Any:
        try:
            answer = self._http.request(method, path, json=body, content=content)
        except self._errors as error:
            raise UltraSamError(
                f"No annotator answers at {self.address} ({one_line(error)}); start it with 'ultrasam "
                "annotate FOLDER', or check the address."
            ) from error
        if answer.is_success:
            return answer
        raise _error(answer, self.address)


def _error(answer: Any, address: str) -> UltraSamError:
    try:
        content = answer.json()
        detail = str(content["detail"])
    except (ValueError, LookupError, TypeError):
        return UltraSamError(
            f"{address} answers {answer.status_code}, and is no annotator's server."
        )
    if answer.status_code == 409 and content.get("object"):
        return ConflictError(detail, content["object"])
    if answer.status_code in (404, 409):
        return DataError(detail)
    return PromptError(detail) if answer.status_code == 422 else UltraSamError(detail)


def _token_in(address: str) -> str | None:
    """The token of an address as ``ultrasam annotate`` prints it."""
    fragment = address.partition("#")[2]
    return fragment.removeprefix("token=") if fragment.startswith("token=") else None


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
