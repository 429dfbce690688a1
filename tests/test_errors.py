"""Error messages inside a sentence."""

from __future__ import annotations

import pytest

from ultrasam.errors import one_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("cut\n  off. "), "cut off"),
        (OSError(28, "No space left on device", "/data/x.png"), "No space left on device"),
        (OSError("no such repository"), "no such repository"),
        (KeyError(), "KeyError"),
        ("two\nlines", "two lines"),
    ],
)
def test_an_error_becomes_one_line_without_a_full_stop(error: Exception | str, line: str) -> None:
    assert one_line(error) == line


def test_a_long_text_is_cut_unless_the_limit_is_none() -> None:
    assert one_line("x" * 200) == "x" * 160 + " …"
    assert one_line("x" * 200, limit=None) == "x" * 200
