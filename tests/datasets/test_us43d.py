"""Each data set that has a reader, laid out as published, is read pixel for pixel."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from tests.datasets.layouts import MAKERS
from tests.datasets.layouts.truth import Truth
from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.datasets.catalogue import catalogue, dataset
from ultrasam.datasets.file_tree import Skip

PAPER = {i for i, raw in catalogue().items() if raw.info.part_of_paper}


def test_the_catalogue_has_the_43_and_each_data_set_has_a_layout_to_test() -> None:
    assert len(PAPER) == 43
    assert set(MAKERS) == set(catalogue())


def matching(truth: Truth, samples: list[AnnotatedImage]) -> AnnotatedImage:
    found = [
        s for s in samples if s.source.endswith(truth.source) and s.frame == truth.frame
        and (truth.subject is None or s.subject == truth.subject)
    ]  # fmt: skip
    assert len(found) == 1, (
        truth.source,
        truth.frame,
        [(s.source, s.frame, s.subject) for s in samples],
    )
    return found[0]


def check(truths: list[Truth], samples: list[AnnotatedImage]) -> None:
    assert len(samples) == len(truths)
    for truth in truths:
        sample = matching(truth, samples)
        assert sample.split == truth.split
        assert sample.class_label == truth.class_label
        assert sample.measurements == pytest.approx(truth.measurements)
        assert sample.pixels.shape == truth.shape
        assert sample.pixels.dtype == np.uint8
        if truth.pixels is not None:
            lossy = sample.source.endswith((".avi", ".mp4"))
            worst = np.abs(sample.pixels.astype(int) - np.asarray(truth.pixels).astype(int)).max()
            assert worst <= (6 if lossy else 0)
        if truth.spacing is None:
            assert sample.spacing is None
        else:
            assert sample.spacing == pytest.approx(truth.spacing, abs=1e-6)
        assert sorted(i.name for i in sample.instances) == sorted(n for n, _ in truth.masks)
        left = list(sample.instances)
        for name, mask in truth.masks:
            same = [i for i in left if i.name == name and np.array_equal(i.mask, np.asarray(mask))]
            assert same, f"{truth.source}: no mask of {name} is as annotated"
            left.remove(same[0])


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_a_data_set_is_read_pixel_for_pixel(name: str, tmp_path: Path) -> None:
    truths = MAKERS[name](tmp_path / "raw")
    skips: list[Skip] = []
    samples = list(dataset(name).images(tmp_path / "raw", skipped=skips.append))
    check(truths, samples)
    assert not [s for s in skips if "unreadable" in s.reason or "damaged" in s.reason]


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_what_people_have_on_disk_does_no_harm(name: str, tmp_path: Path) -> None:
    """An extra folder around it, litter, and names in the other Unicode form."""
    root = tmp_path / "raw"
    truths = MAKERS[name](root / "Téléchargé (1)" / "data")
    for folder in [p for p in root.rglob("*") if p.is_dir()]:
        (folder / ".DS_Store").write_bytes(b"\0")
        (folder / "Thumbs.db").write_bytes(b"\0")
        (folder / "._litter.png").write_bytes(b"\0")
    (root / "__MACOSX").mkdir()
    (root / "__MACOSX" / "1 x.png").write_bytes(b"\0")
    (root / "half.zip.part").write_bytes(b"PK")
    skips: list[Skip] = []
    samples = list(dataset(name).images(root, skipped=skips.append))
    check(truths, samples)
    reasons = [s.reason for s in skips]
    assert reasons.count("system file") >= 4
    assert "unfinished download" in reasons


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_cases_travel_between_processes(name: str, tmp_path: Path) -> None:
    MAKERS[name](tmp_path)
    cases, _ = dataset(name).list_cases(tmp_path)
    assert [c.key for c in pickle.loads(pickle.dumps(cases))] == [c.key for c in cases]
    assert all(c.dataset == name for c in cases)
