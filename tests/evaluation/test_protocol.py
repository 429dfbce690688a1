"""Metrics and baselines against independent references."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from ultrasam.datasets.annotated_image import AnnotatedImage, Instance
from ultrasam.datasets.catalogue import dataset
from ultrasam.errors import PromptError
from ultrasam.evaluation.metrics.masks import dice, iou
from ultrasam.evaluation.metrics.statistics import bootstrap_interval
from ultrasam.evaluation.models.baselines import (
    DiscAtClick,
    EllipseInBox,
    FilledBox,
    GrabCut,
    RandomWalker,
)
from ultrasam.evaluation.prompt_types import PromptKind
from ultrasam.evaluation.protocol import evaluate_prompts, segment_targets, targets_of
from ultrasam.images.masks import components, decode_rle, encode_rle
from ultrasam.phantom.acquisition import simulate
from ultrasam.prompts import Prompt


@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_iou_and_dice_equal_pycocotools(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.random((2, 9, 13)) < share
    if a.any() or b.any():
        expected = float(coco_mask.iou([encode_rle(a)], [encode_rle(b)], [0])[0, 0])
        assert iou(a, b) == pytest.approx(expected)
        assert dice(a, b) == pytest.approx(2 * expected / (1 + expected))
    else:
        assert iou(a, b) == dice(a, b) == 1
    assert np.array_equal(decode_rle(encode_rle(a)), a)


def test_components_come_largest_first() -> None:
    mask = np.zeros((20, 20), bool)
    mask[1:3, 1:3], mask[10:18, 5:9] = True, True
    assert [int(part.sum()) for part in components(mask)] == [32, 4]
    assert len(components(mask, min_area=5)) == 1


def test_an_interval_contains_the_mean_and_widens_with_few_subjects() -> None:
    values = np.random.default_rng(0).normal(0.8, 0.1, 200).tolist()
    many = bootstrap_interval(values, [str(i) for i in range(200)])
    few = bootstrap_interval(values, [str(i % 4) for i in range(200)])
    assert many[0] < np.mean(values) < many[1]
    clustered = bootstrap_interval(
        [v + 0.3 * (i % 4) for i, v in enumerate(values)], [str(i % 4) for i in range(200)]
    )
    assert clustered[1] - clustered[0] > 2 * (many[1] - many[0])
    assert few[0] < few[1]


@pytest.mark.parametrize(
    ("name", "ellipse"), [("BUSI", 0.892), ("HC18", 0.981), ("STU-Hospital", 0.858)]
)
def test_the_ellipse_baseline_has_its_known_scores(
    shared_data: Path, name: str, ellipse: float
) -> None:
    samples = list(dataset(name).images(shared_data / "dev" / name))
    scores = [s.dice for s in evaluate_prompts(EllipseInBox(), samples, ["box"])]
    assert np.mean(scores) == pytest.approx(ellipse, abs=0.001)


def phantom_samples(count: int) -> list[AnnotatedImage]:
    found = []
    for i in range(count):
        phantom = simulate(900 + i, size=(120, 160))
        instances = tuple(Instance("object", mask) for mask in phantom.masks)
        found.append(
            AnnotatedImage.in_memory(
                phantom.pixels, instances, dataset="made", name=f"p{i}", subject=f"s{i}"
            )
        )
    return found


def prompts_seen(
    segmenter: FilledBox, samples: list[AnnotatedImage], kind: str
) -> dict[str, list[bytes]]:
    """All that a segmenter is given, image by image."""
    seen: dict[str, list[bytes]] = {}
    accepted = segmenter.segment

    def segment(prompt: Prompt) -> np.ndarray:  # type: ignore[type-arg]
        box = b"" if prompt.box is None else prompt.box.tobytes()
        seen[sample.name].append(prompt.points.tobytes() + prompt.labels.tobytes() + box)
        return accepted(prompt)

    segmenter.segment = segment  # type: ignore[method-assign]
    for sample in samples:
        seen[sample.name] = []
        list(evaluate_prompts(segmenter, [sample], [kind]))
    return seen


@pytest.mark.parametrize("kind", ["box", "box10", "point", "random", "human", "offcenter"])
def test_every_segmenter_gets_the_same_prompts_in_whatever_order(kind: str) -> None:
    samples, box = phantom_samples(6), kind.startswith("box")
    first = prompts_seen(FilledBox() if box else DiscAtClick(), samples, kind)
    second = prompts_seen(EllipseInBox() if box else RandomWalker(), samples[::-1], kind)
    assert first == second
    assert sum(map(len, first.values())) == sum(len(targets_of(sample)) for sample in samples) > 6


def test_prompts_are_drawn_anew_for_every_object_and_seed() -> None:
    """The same mask in two images and twice in one, which differ in their names alone."""
    mask = np.zeros((100, 120), bool)
    mask[20:70, 30:90] = True
    one = AnnotatedImage.in_memory(
        np.zeros(mask.shape, np.uint8),
        (Instance("x", mask),) * 2,
        dataset="d",
        name="a",
        subject="s",
    )
    other = replace(one, name="b")
    targets = [*targets_of(one), *targets_of(other), *targets_of(one, seed=1)]
    segmenter = FilledBox()
    segmenter.set_image(one.pixels)
    drawn = {
        found.mask.tobytes()
        for found in segment_targets(segmenter, targets, PromptKind.parse("box10"))
    }
    assert len(targets) == len(drawn) == 6


def test_baselines_do_what_their_names_say() -> None:
    pixels = np.full((60, 80), 30, np.uint8)
    pixels[20:40, 30:50] = 220
    box = Prompt(box=(25, 15, 55, 45))
    for segmenter, prompt in ((FilledBox(), box), (EllipseInBox(), box), (GrabCut(), box)):
        segmenter.set_image(pixels)
        assert segmenter.predict([prompt, prompt]).masks.shape == (2, 1, 60, 80)
    cut = GrabCut()
    cut.set_image(pixels)
    assert iou(cut.predict(box).masks[0, 0], pixels > 100) > 0.9
    disc = DiscAtClick()
    disc.set_image(pixels)
    mask = disc.predict(Prompt(points=[(40, 30)])).masks[0, 0]
    assert mask.sum() == pytest.approx(np.pi * (0.12 * 80) ** 2, rel=0.05)
    with pytest.raises(PromptError, match="needs a box"):
        cut.predict(Prompt(points=[(1, 1)]))
    with pytest.raises(PromptError, match="needs a click"):
        disc.predict(box)
