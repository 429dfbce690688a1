"""Images of other tools are kept for a while, the latest ones only, and never outlast the server."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ultrasam.annotate.uploads import SegmentedUploads
from ultrasam.errors import ScanError
from ultrasam.serve.http.problems import NotFoundError


def picture(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((20, 30), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def uploads() -> Iterator[SegmentedUploads]:
    nothing: Any = None
    kept = SegmentedUploads(nothing, most_bytes=3 * len(picture(1)) + 20)
    yield kept
    kept.close()


def test_the_same_image_is_kept_once(uploads: SegmentedUploads) -> None:
    first, again = uploads.add(picture(1), "a.png"), uploads.add(picture(1), "/x/b.png")
    assert first.id == again.id
    assert uploads.get(first.id).scan.width == 30
    assert uploads.add(picture(2), "a.png").id != first.id


def test_the_longest_unused_goes_first(uploads: SegmentedUploads) -> None:
    ids = [uploads.add(picture(value), "a.png").id for value in (1, 2, 3)]
    uploads.get(ids[0])
    uploads.add(picture(4), "a.png")
    uploads.get(ids[0])
    with pytest.raises(NotFoundError, match="send it again"):
        uploads.get(ids[1])


def test_what_is_not_used_goes(uploads: SegmentedUploads, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    upload = uploads.add(picture(1), "a.png")
    later = time.monotonic() + 3601
    monkeypatch.setattr(time, "monotonic", lambda: later)
    with pytest.raises(NotFoundError):
        uploads.get(upload.id)
    assert not upload.path.exists()


def test_nothing_is_left_behind(uploads: SegmentedUploads) -> None:
    path = uploads.add(picture(1), "a.png").path
    assert path.parent.stat().st_mode & 0o077 == 0 or path.parents[1].stat().st_mode & 0o077 == 0
    uploads.close()
    assert not path.parents[1].exists()


@pytest.mark.parametrize("name", ["../../etc/x.png", "a.png\0.exe", "", "x.sh"])
def test_names_choose_no_place(uploads: SegmentedUploads, name: str) -> None:
    path = uploads.add(picture(1), name).path
    assert path.parents[1].name.startswith("ultrasam-uploads-")
    assert path.name in ("image.png", "image")


def test_what_is_no_image_is_refused_without_a_trace(uploads: SegmentedUploads) -> None:
    folder = uploads.add(picture(1), "a.png").path.parents[1]
    with pytest.raises(ScanError) as error:
        uploads.add(b"nothing", "a.png")
    assert str(folder) not in str(error.value)
    assert len(list(Path(folder).iterdir())) == 1
