"""Addresses of servers and of what is on them."""

from __future__ import annotations

import pytest

from ultrasam.dicomweb.address import Address
from ultrasam.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("https://pacs/dicom-web", Address("https://pacs/dicom-web")),
        ("https://pacs:8443/a/b/", Address("https://pacs:8443/a/b")),
        ("http://[::1]:80/rs/studies/1.2", Address("http://[::1]:80/rs", "1.2")),
        ("https://pacs/studies/1.2/series/3.4", Address("https://pacs", "1.2", "3.4")),
        (
            "https://pacs/w/studies/1.2/series/3.4/instances/5.6",
            Address("https://pacs/w", "1.2", "3.4", "5.6"),
        ),
    ],
)
def test_addresses_are_taken_apart_and_put_together(text: str, found: Address) -> None:
    assert Address.parse(text) == found
    assert str(found) == text.rstrip("/")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pacs/dicom-web", "is not the address"),
        ("ftp://pacs/dicom-web", "is not the address"),
        ("https://", "is not the address"),
        ("https://pacs:port/x", "is not the address"),
        ("https://[::1/x", "is not the address"),
        ("https://reader:secret@pacs/dicom-web", "Leave user and password out"),
        ("https://pacs/dicom-web?token=secret", "Leave out what follows"),
        ("https://pacs/dicom-web/studies", "names no study"),
        ("https://pacs/dicom-web/studies/1.2/instances/3.4", "names no study"),
        ("https://pacs/dicom-web/studies/1.2/series/3/instances/4/frames/5", "names no study"),
        ("https://pacs/dicom-web/studies/Möller", "is not a UID"),
        ("https://pacs/dicom-web/studies/..", "is not a UID"),
    ],
)
def test_other_addresses_are_refused_without_repeating_a_password(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Address.parse(text)
    assert "secret" not in str(caught.value)
