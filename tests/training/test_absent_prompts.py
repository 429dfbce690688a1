from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests.training.test_promptable_data import PLAIN, disc_image
from ultrasam.datasets.annotated_image import AnnotatedImage, Instance
from ultrasam.images.masks import bounding_box
from ultrasam.prompts import BOTTOM_RIGHT, FOREGROUND, NOT_A_POINT, TOP_LEFT
from ultrasam.training.absent_prompts import absent_prompt, draw_absent_box
from ultrasam.training.augmentation import Augmentation
from ultrasam.training.prompt_sampling import PromptSampling, sample_prompt
from ultrasam.training.promptable_data import PromptableViews, Source, collate


def disc(x: int, y: int, radius: int, side: int = 100) -> npt.NDArray[np.bool_]:
    rows, columns = np.mgrid[0:side, 0:side]
    return np.asarray((columns - x) ** 2 + (rows - y) ** 2 < radius**2)


def empty_image(height: int = 150, width: int = 300) -> AnnotatedImage:
    return AnnotatedImage.in_memory(np.full((height, width), 90, np.uint8))


def views(
    images: list[AnnotatedImage],
    name: str = "discs",
    augmentation: Augmentation = PLAIN,
    **prompts: object,
) -> PromptableViews:
    sampling = PromptSampling.model_validate({"absent": 1.0, "complete": ["Discs"], **prompts})
    return PromptableViews(
        [Source(name, images, 1.0)],
        image_size=128, mask_size=32, augmentation=augmentation, prompts=sampling, seed=3,
    )  # fmt: skip


def test_an_image_without_an_object_gets_the_place_of_another_ones() -> None:
    other, image = disc_image(200), empty_image()
    boxes = [bounding_box(other.mask(i)) * (1.5, 0.75, 1.5, 0.75) for i in range(2)]
    for seed in range(8):
        drawn = draw_absent_box(np.random.default_rng(seed), image, [other], shape=(150, 300))
        assert drawn is not None
        assert min(np.abs(drawn - box).max() for box in boxes) < 1e-6


def test_an_absent_box_is_away_from_every_object() -> None:
    image, found = disc_image(), 0
    known = [bounding_box(image.mask(i)) for i in range(2)]
    for seed in range(60):
        box = draw_absent_box(np.random.default_rng(seed), image, [image], shape=(200, 200))
        if box is None:
            continue
        found += 1
        center = (box[:2] + box[2:]) / 2
        for other in known:
            middle = (other[:2] + other[2:]) / 2
            low, high = np.maximum(box[:2], other[:2]), np.minimum(box[2:], other[2:])
            shared = np.prod(np.maximum(0, high - low))
            sizes = np.prod(box[2:] - box[:2]) + np.prod(other[2:] - other[:2])
            assert shared <= 0.15 * (sizes - shared) + 1e-9
            assert not ((middle > box[:2]) & (middle < box[2:])).all()
            assert not ((center > other[:2]) & (center < other[2:])).all()
    assert found > 10


def test_an_image_full_of_an_object_has_no_absent_box() -> None:
    full = disc(50, 50, 48)
    image = AnnotatedImage.in_memory(np.zeros((100, 100), np.uint8), [Instance("a", full)])
    assert draw_absent_box(np.random.default_rng(0), image, [image], shape=(100, 100)) is None


def test_an_absent_prompt_is_the_box_or_a_click_near_its_center() -> None:
    box = np.array([10.0, 20.0, 50.0, 40.0])
    corners, labels = absent_prompt(np.random.default_rng(0), box, as_box=True)
    assert corners.ravel().tolist() == box.tolist()
    assert labels.tolist() == [TOP_LEFT, BOTTOM_RIGHT]
    clicks = [absent_prompt(np.random.default_rng(s), box, as_box=False) for s in range(200)]
    assert all(labels.tolist() == [FOREGROUND, NOT_A_POINT] for _, labels in clicks)
    xy = np.array([coords[0] for coords, _ in clicks])
    assert xy.mean(axis=0) == pytest.approx((30, 30), abs=1)
    assert xy.std(axis=0) == pytest.approx((4, 2), rel=0.2)


def test_only_complete_sources_have_absent_prompts() -> None:
    images = [disc_image()]
    assert all(view.present.all() for view in (views(images, "others")[i] for i in range(20)))
    drawn = [views(images)[i] for i in range(40)]
    assert 5 < sum((~view.present).sum() for view in drawn) <= 40
    for view in drawn:
        assert (view.present == (view.targets.max(axis=(1, 2)) > 0)).all()


def test_images_without_an_object_give_only_absent_prompts() -> None:
    data = views([disc_image(), empty_image()])
    kinds = {tuple(data[i].present.tolist()) for i in range(60)}
    assert (False,) in kinds
    with_objects = {kind for kind in kinds if any(kind)}
    assert with_objects
    assert all(sum(kind) >= len(kind) - 1 for kind in with_objects)
    batch = collate([data[i] for i in range(12)])
    assert batch.present.dtype == torch.bool
    assert len(batch.present) == len(batch.labels)


def test_a_view_may_zoom_in_on_an_absent_box() -> None:
    zoomed = Augmentation(zoomed=1.0, zoom=(1.3, 1.3), flip=0)
    data = views([empty_image(), disc_image()], augmentation=zoomed, box=1.0)
    sides = [
        float(np.ptp(view.coords[~view.present][0], axis=0).max())
        for view in (data[i] for i in range(80))
        if (~view.present).any() and view.present.sum() == 0
    ]
    assert sides
    assert np.median(sides) == pytest.approx(128 / 1.3, rel=0.05)


def test_few_objects_get_several_prompts() -> None:
    one = disc_image()
    data = views([one], "others", per_image=6, per_object=2, box=0.5)
    counts = [len(data[i].targets) for i in range(10)]
    assert set(counts) == {4}
    assert len({int(t.sum()) for t in data[0].targets}) == 2
    assert {
        len(views([one], "others", per_image=3, per_object=2)[i].targets) for i in range(5)
    } == {3}


def test_a_box_may_come_with_a_click() -> None:
    mask = disc(40, 60, 20)
    style = PromptSampling(box=1.0, jitters=(0.0,), with_click=1.0)
    for seed in range(20):
        xy, labels = sample_prompt(np.random.default_rng(seed), mask, style)
        assert labels.tolist() == [FOREGROUND, TOP_LEFT, BOTTOM_RIGHT]
        x, y = np.floor(xy[0]).astype(int)
        assert mask[y, x]
        assert xy[1:].ravel().tolist() == bounding_box(mask).tolist()
