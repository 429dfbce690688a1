"""Embeddings on disk: they are found by content, equal to those that are made anew, and limited."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.annotate.conftest import Page, page_over
from tests.conftest import SMALL_NANO, randomized
from ultrasam.annotate.annotator import Annotator
from ultrasam.runtimes.torch_backend import TorchBackend
from ultrasam.serve.embedding_files import EmbeddingFiles

DIGEST = "0" * 64


@pytest.fixture(scope="module")
def backend() -> TorchBackend:
    return TorchBackend(randomized(SMALL_NANO))


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the embeddings."""
    monkeypatch.setenv("ULTRASAM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "embeddings"


def embedded(backend: TorchBackend, seed: int) -> list:
    pixels = np.random.default_rng(seed).normal(size=(1, 3, 128, 128)).astype(np.float32)
    return backend.encode(pixels)


def arrays(backend: TorchBackend, embeddings: list) -> list[dict[str, np.ndarray]]:
    return [backend.embedding_to_arrays(one) for one in embeddings]


def test_what_is_written_is_read_exactly_and_only_for_its_content_frame_and_weights(
    backend: TorchBackend, kept: Path
) -> None:
    files = EmbeddingFiles(backend, "weights", "torch")
    made = [*embedded(backend, 0), *embedded(backend, 1)]
    files.write(DIGEST, 3, made)
    found = files.read(DIGEST, 3, 2)
    assert found is not None
    for one, other in zip(arrays(backend, found), arrays(backend, made), strict=True):
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[name], other[name]) for name in one)
    assert files.read(DIGEST, 4, 2) is None
    assert files.read(DIGEST, 3, 1) is None
    assert files.read("1" * 64, 3, 2) is None
    assert EmbeddingFiles(backend, "other weights", "torch").read(DIGEST, 3, 2) is None
    assert EmbeddingFiles(backend, "weights", "onnx").read(DIGEST, 3, 2) is None


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_a_damaged_file_counts_as_missing_and_goes(
    backend: TorchBackend, kept: Path, damage: str
) -> None:
    files = EmbeddingFiles(backend, "weights", "torch")
    files.write(DIGEST, 0, embedded(backend, 0))
    (path,) = kept.glob("*.npz")
    whole = path.read_bytes()
    path.write_bytes(
        {"cut": whole[: len(whole) // 2], "text": b"no embedding", "empty": b""}[damage]
    )
    assert files.read(DIGEST, 0, 1) is None
    assert not path.exists()


def test_those_that_were_not_used_for_the_longest_time_go_first(
    backend: TorchBackend, kept: Path
) -> None:
    files = EmbeddingFiles(backend, "weights", "torch")
    files.write(DIGEST, 0, embedded(backend, 0))
    size = next(kept.glob("*.npz")).stat().st_size
    for frame in range(1, 6):
        files.write(DIGEST, frame, embedded(backend, frame))
    for frame in range(6):
        os.utime(files._path(DIGEST, frame, 1), (1000 + frame, 1000 + frame))
    assert files.read(DIGEST, 0, 1) is not None  # the oldest is used now
    small = EmbeddingFiles(backend, "weights", "torch", limit=3 * size + size // 2)
    small.prune()
    there = [frame for frame in range(6) if small._path(DIGEST, frame, 1).exists()]
    assert there == [0, 4, 5]


def test_the_limit_holds_while_a_session_goes_on(backend: TorchBackend, kept: Path) -> None:
    files = EmbeddingFiles(backend, "weights", "torch", limit=400_000)
    made = embedded(backend, 0)
    for frame in range(30):
        files.write(DIGEST, frame, made)
    total = sum(path.stat().st_size for path in kept.glob("*.npz"))
    each = max(path.stat().st_size for path in kept.glob("*.npz"))
    assert 0 < total <= 400_000 * 1.1 + each


def test_a_disk_that_takes_no_embedding_hinders_no_click(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ultrasam.errors import DiskFullError
    from ultrasam.serve import embedding_files

    def full(*_: object) -> None:
        raise DiskFullError("No space left.")

    monkeypatch.setattr(embedding_files, "atomic_write", full)
    answer = page.stroke(page.id("a.png"), "prompt", prompt={"points": [[60, 60, 1]]})
    assert answer.status_code == 200


@pytest.fixture
def restarted(folder: Path, page: Page) -> Iterator[tuple[Page, list[str]]]:
    """A page of a new start after a click in a.png, which has another name now; and the click's masks."""
    answer = page.post(
        f"/images/{page.id('a.png')}/preview", {"frame": 0, "prompts": [{"points": [[60, 60, 1]]}]}
    )
    before = answer.json()
    page.annotator.close()
    shutil.copy(folder / "a.png", folder / "same content.png")
    opened = Annotator.open(folder, model="random:nano", device="cpu")
    try:
        yield page_over(opened), before
    finally:
        opened.close()


def test_after_a_restart_nothing_is_encoded_again_and_masks_are_the_same(
    restarted: tuple[Page, dict],
) -> None:
    page, before = restarted
    for name in ("a.png", "same content.png"):
        after = page.post(
            f"/images/{page.id(name)}/preview", {"frame": 0, "prompts": [{"points": [[60, 60, 1]]}]}
        ).json()
        assert after == before
    assert page.annotator.segmentation.encoding_s == 0


def test_memory_holds_the_latest_frames_up_to_its_limit(page: Page) -> None:
    segmentation = page.annotator.segmentation
    image = page.id("cine.avi")
    page.post(f"/images/{image}/open", {"frame": 0})
    (size,) = (size for _, size in segmentation._ready.values())
    segmentation._limit = 3 * size
    for frame in range(6):
        page.post(f"/images/{image}/open", {"frame": frame})
    assert [key[1] for key in segmentation._ready] == [3, 4, 5]
    assert segmentation._bytes == 3 * size
