"""The cache in memory: found by content, kept by pixels, bounded by bytes."""

from __future__ import annotations

import numpy as np

from ultrasam.images.scan import Scan
from ultrasam.serve.cache import EmbeddedFrame, EmbeddingCache, pixels_key

FACTS = Scan.from_array(np.zeros((4, 5), np.uint8))


def embedded(value: int) -> EmbeddedFrame:
    """A frame of 20 bytes, whose embedding has 80."""
    return EmbeddedFrame(
        np.full((4, 5), value, np.uint8), [{"image": np.full(20, value, np.float32)}]
    )


def kept(cache: EmbeddingCache, value: int, *, digest: str | None = None, frame: int = 0) -> None:
    one = embedded(value)
    cache.put(digest or str(value), frame, pixels_key(one.pixels), FACTS, one)


def test_the_longest_unused_goes_first() -> None:
    cache = EmbeddingCache(300)
    for value in (1, 2, 3):
        kept(cache, value)
    assert cache.bytes == 300
    assert cache.find("1", 0) is not None
    kept(cache, 4)
    assert [cache.find(str(value), 0) is not None for value in (1, 2, 3, 4)] == [1, 0, 1, 1]
    assert (cache.bytes, len(cache)) == (300, 3)


def test_the_latest_is_kept_whatever_it_takes() -> None:
    cache = EmbeddingCache(0)
    for value in (1, 2):
        kept(cache, value)
        assert cache.find(str(value), 0) is not None
    assert len(cache) == 1


def test_equal_pixels_of_two_files_are_kept_once_with_the_facts_of_each() -> None:
    cache, one = EmbeddingCache(10**6), embedded(1)
    calibrated = Scan.from_array(one.pixels, spacing=(0.2, 0.3))
    cache.put("a", 0, pixels_key(one.pixels), FACTS, one)
    cache.put("b", 3, pixels_key(one.pixels), calibrated, one)
    assert (len(cache), cache.bytes) == (1, 100)
    for digest, frame, spacing in (("a", 0, None), ("b", 3, (0.2, 0.3))):
        found = cache.find(digest, frame)
        assert found is not None
        assert found[1].spacing == spacing
    assert cache.find("b", 0) is None
    assert cache.find_pixels(pixels_key(one.pixels)) is one


def test_pixels_of_another_shape_have_another_key() -> None:
    flat = np.zeros((4, 6), np.uint8)
    assert pixels_key(flat) != pixels_key(flat.reshape(6, 4))
