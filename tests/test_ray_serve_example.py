"""The example of Ray Serve, called without a cluster: what it answers, and how much may wait."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ultrasam
from ultrasam.images.masks import decode_rle

pytest.importorskip("ray.serve", reason="ray[serve], which the example needs, is not installed")

ROOT = Path(__file__).parents[1]
PHANTOM = ROOT / "examples" / "phantom.png"
BOX = (192, 58, 534, 402)


@pytest.fixture(scope="module")
def example() -> Any:
    spec = importlib.util.spec_from_file_location("ray_serve", ROOT / "examples" / "ray_serve.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ask(example: Any, query: str, *chunks: bytes) -> tuple[int, Any]:
    """Status and JSON of the answer of a replica."""
    from starlette.requests import Request

    def messages() -> Iterator[dict[str, Any]]:
        for index, chunk in enumerate(chunks):
            more = index + 1 < len(chunks)
            yield {"type": "http.request", "body": chunk, "more_body": more}

    left = messages()

    async def receive() -> dict[str, Any]:
        return next(left)

    async def answer() -> Any:
        replica = example.Segmenter.func_or_class("nano")
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/",
            "query_string": query.encode(),
            "headers": [],
        }
        return await replica(Request(scope, receive))

    found = asyncio.run(answer())
    return found.status_code, json.loads(found.body)


def test_the_answer_holds_the_masks_of_the_predictor(example: Any) -> None:
    data = PHANTOM.read_bytes()
    status, found = ask(example, "box=192,58,534,402", data[:1000], data[1000:])
    assert status == 200
    wanted = ultrasam.segment(PHANTOM, box=BOX).best[0]
    assert np.array_equal(decode_rle(found[0]["segmentation"]), wanted)


@pytest.mark.parametrize(
    ("query", "body", "text"),
    [
        ("", b"", "at least one box"),
        ("box=1,2", b"", "is not a box"),
        ("box=1,1,9,9", b"nonsense", "The image is not in a supported format"),
        ("box=1,1,9,9&frame=7", PHANTOM.read_bytes(), "frame 7 does not exist"),
    ],
)
def test_mistakes_are_told_without_a_path_of_the_server(
    query: str, body: bytes, text: str, example: Any
) -> None:
    status, found = ask(example, query, body)
    assert status == 422
    assert text in found["detail"]
    assert "/" not in found["detail"].replace("MHA/MHD", "")


def test_a_body_that_is_too_large_is_not_read_on(
    example: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(example, "MAX_BYTES", 1000)
    status, _ = ask(example, "box=1,1,9,9", b"a" * 999, b"a" * 999, b"never read")
    assert status == 413


def test_the_queue_is_bounded_and_says_when_to_come_back(example: Any) -> None:
    assert example.Segmenter.max_queued_requests == 16
    assert example.Segmenter.backpressure_config.status_code == 429
    assert example.Segmenter.backpressure_config.retry_after_s == 1
