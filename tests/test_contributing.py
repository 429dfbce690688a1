"""The example of CONTRIBUTING.md is a data set that works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ultrasam.datasets.file_tree import FileTree, SkipReport

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_the_data_set_of_the_contributing_guide_is_read(tmp_path: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(block.splitlines()) <= 30
    names: dict[str, Any] = {}
    exec(block, names)
    for folder in ("scans", "truth"):
        (tmp_path / folder).mkdir()
    truth = np.zeros((40, 50), np.uint8)
    truth[10:20, 15:35] = 255
    for stem in ("p1_1", "p1_2", "p2_1", "p3_1"):
        Image.fromarray(np.full((40, 50), 90, np.uint8)).save(tmp_path / "scans" / f"{stem}.png")
        if stem != "p3_1":
            Image.fromarray(truth).save(tmp_path / "truth" / f"{stem}.png")
    report = SkipReport()
    cases = list(names["DATASET"].cases(FileTree(tmp_path, report), report))
    assert sorted(str(case.subject) for case in cases) == ["p1", "p1", "p2"]
    (picture,) = cases[0].read()
    (instance,) = picture.instances
    assert instance.name == "thyroid_nodule"
    assert np.array_equal(instance.mask, truth > 0)
    assert [skip.reason for skip in report.skips] == ["image without a mask"]


def test_files_that_the_guide_names_exist() -> None:
    root = Path(__file__).parents[1]
    for path in re.findall(r"`((?:tests|src)/[\w/.]+)`", TEXT):
        assert (root / path).exists(), path
