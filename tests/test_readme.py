"""The README's Python runs as it stands, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("code", BLOCKS, ids=lambda code: code.split("\n")[0][:40])
def test_the_readmes_python_runs(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    space: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), space)
    assert {"predictor", "found"} & set(space)


def test_links_to_files_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    broken = []
    for page in pages:
        prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        for link in re.findall(r"\]\(([^)#]+)", prose):
            if not link.startswith("http") and not (page.parent / link).exists():
                broken.append(f"{page.name}: {link}")
    assert not broken


def test_the_sample_picture_is_a_phantom() -> None:
    import cv2
    import numpy as np

    from ultrasam.phantom.acquisition import simulate

    picture = cv2.imread(str(ROOT / "examples" / "phantom.png"), cv2.IMREAD_GRAYSCALE)
    made = simulate(2018, size=(680, 840)).pixels
    assert np.abs(picture.astype(int) - made).mean() < 3
