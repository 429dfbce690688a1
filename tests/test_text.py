"""Text in any encoding, and names in any form."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultrasam.text import counted, decode_text, duration, name_key

TEXT = '{"Zürich": "naïve café", "b": [1, 2]}'


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1"],
)
def test_common_encodings_are_read(encoding: str) -> None:
    assert decode_text(TEXT.encode(encoding)) == TEXT


@given(st.binary(max_size=300))
def test_any_bytes_give_text(data: bytes) -> None:
    assert isinstance(decode_text(data), str)


@pytest.mark.parametrize(
    "path",
    ["a/Zürich.png", "./a/Zürich.png", "a\\Zürich.PNG", "a//Zürich.png", "A/./zürich.png"],
)
def test_a_name_has_one_key_in_every_form(path: str) -> None:
    for form in ("NFC", "NFD"):
        assert name_key(unicodedata.normalize(form, path)) == name_key("a/zürich.png")  # type: ignore[arg-type]


def test_numbers_have_the_right_form_of_their_noun() -> None:
    assert [counted(n, "image") for n in (0, 1, 2, 1200)] == [
        "0 images", "1 image", "2 images", "1,200 images",
    ]  # fmt: skip
    assert counted(2, "mask of one", "masks of one") == "2 masks of one"
    assert [duration(s) for s in (0.4, 1.2, 89, 600, 7200)] == [
        "0 seconds", "1 second", "89 seconds", "10 minutes", "2.0 hours",
    ]  # fmt: skip
