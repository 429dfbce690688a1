"""No test of DICOMweb goes through a proxy, or takes credentials of whoever runs it."""

from __future__ import annotations

import pytest

pytest.importorskip("httpx")
pytest.importorskip("python_multipart")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("TOKEN", "USER", "PASSWORD"):
        monkeypatch.delenv(f"ULTRASAM_DICOMWEB_{name}", raising=False)
