"""Prompt types: each draws what its name says, whatever the mask."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from ultrasam.datasets.annotated_image import AnnotatedImage, Instance
from ultrasam.errors import EvaluationError
from ultrasam.evaluation.metrics.masks import iou
from ultrasam.evaluation.prompt_types import PromptKind
from ultrasam.evaluation.protocol import first_prompts, segment_targets, targets_of
from ultrasam.images.masks import inscribed_ellipse
from ultrasam.inference.segmenter import ScanLike
from ultrasam.prompts import Prediction, Prompt

EXACT = [
    "box",
    "point",
    "interior",
    "points3",
    "interior20",
    "box+point",
    "box+interior",
    "box+clicks5",
]
DETERMINISTIC_HUMAN = ["box-scaled85", "box-scaled115", "box-scaled95+clicks2"]
RANDOM = [
    "box-noisy", "box5", "box20", "box-shifted5", "box-shifted15", "random", "random3", "offcenter", "human",
    "human5", "point-noise5", "point-noise50", "box-noisy+clicks3", "box10+interior",
]  # fmt: skip
BoolMask = npt.NDArray[np.bool_]


def mask_of(seed: int) -> BoolMask:
    """An ellipse with a bite, or a ring: concave ones too, also at the border of the image."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(40, 120, 2)
    x, y = rng.uniform(0, width), rng.uniform(0, height)
    rx, ry = rng.uniform(6, 40, 2)
    mask = inscribed_ellipse((x - rx, y - ry, x + rx, y + ry), (int(height), int(width)))
    bite = inscribed_ellipse((x - rx / 2, y - ry, x + rx, y + ry / 3), (int(height), int(width)))
    if (mask & ~bite).sum() >= 64:
        mask = mask & ~bite
    return mask


masks = st.integers(0, 10**6).map(mask_of).filter(lambda mask: mask.sum() >= 64)


def draw(name: str, mask: BoolMask, seed: int = 0) -> Prompt:
    return PromptKind.parse(name).draw(np.random.default_rng(seed), mask)


def tight(mask: BoolMask) -> npt.NDArray[np.float64]:
    ((rows, columns),) = ndimage.find_objects(mask.astype(int))
    return np.array([columns.start, rows.start, columns.stop, rows.stop], float)


@pytest.mark.parametrize("name", EXACT)
def test_exact_prompts_are_determined_by_the_mask(name: str) -> None:
    kind = PromptKind.parse(name)
    assert (kind.protocol, kind.is_random, kind.repeats(3)) == ("exact", False, 1)


@pytest.mark.parametrize("name", DETERMINISTIC_HUMAN + RANDOM)
def test_human_prompts_are_repeated_if_they_are_random(name: str) -> None:
    kind = PromptKind.parse(name)
    assert kind.protocol == "human"
    assert kind.repeats(3) == (3 if name in RANDOM else 1)


@pytest.mark.parametrize(
    "name",
    ["", "boxes", "point5", "points", "interior0", "box-scaled", "box-scaled00", "box-shifted0",
     "box10-noisy", "box+clicks", "box+clicks0", "box+random", "point-noise", "point-noise0", "noise5", "Box",
     "box ", "box123"],
)  # fmt: skip
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(EvaluationError, match=r"^Unknown prompt type '.*'\. Use box, interior"):
        PromptKind.parse(name)


@given(mask=masks)
def test_the_box_is_tight_and_the_interior_point_is_the_deepest(mask: BoolMask) -> None:
    np.testing.assert_array_equal(draw("box", mask).box, tight(mask))
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    x, y = np.floor(draw("interior", mask).points[0]).astype(int)
    # OpenCV's transform is exact to float32.
    assert depth[y, x] == pytest.approx(depth.max(), abs=1e-3)
    ys, xs = np.nonzero(mask)
    np.testing.assert_allclose(
        draw("point", mask).points[0], [xs.mean() + 0.5, ys.mean() + 0.5], atol=1e-6
    )
    both = draw("box+interior", mask)
    np.testing.assert_array_equal(both.box, tight(mask))
    np.testing.assert_array_equal(both.points, draw("interior", mask).points)
    assert both.labels.tolist() == [1]


@given(mask=masks, seed=st.integers(0, 10**6))
@settings(max_examples=60)
def test_moved_boxes_move_by_what_their_names_say(mask: BoolMask, seed: int) -> None:
    x0, y0, x1, y1 = box = tight(mask)
    side = np.array([x1 - x0, y1 - y0] * 2)
    limit = np.array([mask.shape[1], mask.shape[0]] * 2)
    for scale in (85, 95, 105, 115):
        grow = (scale / 100 - 1) / 2 * side * (-1, -1, 1, 1)
        expected = np.clip(box + grow, 0, limit)
        found = draw(f"box-scaled{scale}", mask, seed).box
        assert found is not None
        np.testing.assert_allclose(found, expected)
    for share in (5, 10, 15):
        found = draw(f"box-shifted{share}", mask, seed).box
        assert found is not None
        free = (found > 0) & (found < limit)  # an edge that met the border says nothing
        moved = (found - box) / side
        assert (np.abs(moved[free]) <= share / 100 + 1e-9).all()
        if free.all():
            np.testing.assert_allclose(moved[:2], moved[2:], atol=1e-9)
            assert np.hypot(*moved[:2]) == pytest.approx(share / 100)
    found = draw("box-noisy", mask, seed).box
    assert found is not None
    assert (found >= 0).all()
    assert (found <= limit).all()
    assert (np.abs(found - box) <= 20 + 1).all()


def test_the_noise_of_boxes_and_clicks_has_its_spread() -> None:
    mask = np.zeros((400, 600), bool)
    mask[100:300, 250:350] = True  # sides of 100 and 200 pixels: 10 and 20 pixels of spread
    seeds = range(600)
    boxes = np.array([draw("box-noisy", mask, seed).box for seed in seeds])
    np.testing.assert_allclose(boxes.mean(axis=0), [250, 100, 350, 300], atol=2.5)
    assert boxes[:, 0].std() == pytest.approx(10, rel=0.1)
    assert np.abs(boxes - tight(mask)).max() <= 20  # at most 20 pixels, however large the object
    for noise in (5, 50):
        points = np.array([draw(f"point-noise{noise}", mask, seed).points[0] for seed in seeds])
        np.testing.assert_allclose(points.std(axis=0), [noise, noise], rtol=0.1)
        np.testing.assert_allclose(points.mean(axis=0), [300, 200], atol=0.15 * noise)
    clicks = np.array([draw("random", mask, seed).points[0] for seed in seeds])
    np.testing.assert_allclose(clicks.mean(axis=0), [300, 200], atol=8)
    assert clicks[:, 0].std() == pytest.approx(100 / np.sqrt(12), rel=0.1)  # uniform


@given(mask=masks, seed=st.integers(0, 10**6), name=st.sampled_from(EXACT + RANDOM))
def test_a_prompt_lies_in_the_image_and_is_drawn_again_for_its_seed(
    mask: BoolMask, seed: int, name: str
) -> None:
    first, second = draw(name, mask, seed), draw(name, mask, seed)
    first.check_inside(*mask.shape)
    np.testing.assert_array_equal(first.points, second.points)
    if first.box is not None:
        np.testing.assert_array_equal(first.box, second.box)


@pytest.mark.parametrize("name", ["random", "human", "point-noise50"])
def test_a_click_in_the_corner_pixel_is_not_taken_for_fractions(name: str) -> None:
    mask = np.zeros((40, 40), bool)
    mask[:2, :2] = True
    for seed in range(60):
        draw(name, mask, seed).check_inside(*mask.shape)


def image(mask: BoolMask) -> AnnotatedImage:
    pixels = np.zeros(mask.shape, np.uint8)
    return AnnotatedImage.in_memory(
        pixels, (Instance("x", mask),), dataset="d", name="n", subject="s"
    )


def test_each_repeat_of_a_random_prompt_is_another() -> None:
    mask = inscribed_ellipse((20, 20, 70, 80), (100, 100))
    (target,) = targets_of(image(mask))
    boxes = [
        first_prompts([target], PromptKind.parse("box-noisy"), repeat=repeat)[0].box
        for repeat in range(3)
    ]
    assert len({box.tobytes() for box in boxes if box is not None}) == 3


class Painter:
    """Paints a disc of ten pixels at every click, and the left half of the box."""

    def __init__(self) -> None:
        self.shape, self.prompts = (0, 0), list[Prompt]()

    def set_image(self, scan: ScanLike, *, frame: int = 0) -> None:
        self.shape = np.asarray(scan).shape[:2]

    def predict(self, prompts: Prompt | list[Prompt]) -> Prediction:
        prompts = [prompts] if isinstance(prompts, Prompt) else list(prompts)
        self.prompts += prompts
        found = []
        for prompt in prompts:
            mask = np.zeros(self.shape, bool)
            if prompt.box is not None:
                x0, y0, x1, y1 = prompt.box.astype(int)
                mask[y0:y1, x0 : (x0 + x1) // 2] = True
            for (x, y), label in zip(prompt.points, prompt.labels, strict=True):
                disc = inscribed_ellipse((x - 10, y - 10, x + 10, y + 10), self.shape)
                mask = mask | disc if label else mask & ~disc
            found.append(mask)
        masks = np.stack(found)[:, None]
        ones = np.ones(masks.shape[:2], np.float32)
        return Prediction(masks, ones, ones, np.zeros((*masks.shape[:2], 0, 0), np.float32))


def test_clicks_after_a_box_keep_the_box_and_correct_its_mask() -> None:
    mask = np.zeros((100, 100), bool)
    mask[20:60, 20:80] = True
    painter = Painter()
    painter.set_image(np.zeros((100, 100), np.uint8))
    (found,) = segment_targets(painter, targets_of(image(mask)), PromptKind.parse("box+clicks5"))
    assert len(found.ious) == len(painter.prompts) == 6
    assert list(found.ious) == sorted(found.ious)
    for number, prompt in enumerate(painter.prompts):
        np.testing.assert_array_equal(prompt.box, [20, 20, 80, 60])
        assert len(prompt.points) == number
        assert (prompt.mask is not None) == (number > 0)
    # The right half is missing, 30 pixels wide: its most interior points are 15 pixels from its border.
    x, y = painter.prompts[1].points[0]
    assert x == pytest.approx(65, abs=1)
    assert 34 <= y <= 46
    assert found.ious[0] == pytest.approx(0.5)


def test_twenty_clicks_are_given_one_by_one_until_the_mask_is_perfect() -> None:
    mask = inscribed_ellipse((10, 30, 190, 70), (100, 200))
    painter = Painter()
    painter.set_image(np.zeros((100, 200), np.uint8))
    (found,) = segment_targets(painter, targets_of(image(mask)), PromptKind.parse("interior20"))
    assert [len(prompt.points) for prompt in painter.prompts] == list(range(1, 21))
    assert len(found.ious) == 20
    assert found.ious[-1] == pytest.approx(iou(found.mask, mask))
    # What the painter paints at the middle pixel: its first mask is perfect, and no click follows.
    disc = inscribed_ellipse((40.5, 40.5, 60.5, 60.5), (100, 200))
    painter.prompts.clear()
    (found,) = segment_targets(painter, targets_of(image(disc)), PromptKind.parse("interior20"))
    assert found.ious == (1.0,)
    (prompt,) = painter.prompts
    np.testing.assert_array_equal(prompt.points, [[50.5, 50.5]])
