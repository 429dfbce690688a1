from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from tests.datasets.layouts.truth import disc, grey, picture, save
from tests.store.test_store import busi_like
from ultrasam.datasets.catalogue import dataset
from ultrasam.datasets.discover import find_datasets
from ultrasam.errors import DataError
from ultrasam.prompt_simulation import ClickStyle
from ultrasam.store.build import build
from ultrasam.store.index import Settings
from ultrasam.store.splits import Shares
from ultrasam.store.store import Store
from ultrasam.training.augmentation import ViewStyle, random_sector
from ultrasam.training.engine import train
from ultrasam.training.loader import (
    AnnotatedImage,
    PromptStyle,
    Source,
    TrainingViews,
    collate,
    make_phantoms,
    read_images,
    store_sources,
)
from ultrasam.training.recipe import Recipe

PLAIN = ViewStyle(zoomed=0, flip=0, rotation=0, stretch=0, brightness=0, degradation=0)


def disc_image(side: int = 200) -> AnnotatedImage:
    y, x = np.mgrid[0:side, 0:side]
    first = (x - 60) ** 2 + (y - 80) ** 2 < 30**2
    second = (x - 140) ** 2 + (y - 120) ** 2 < 25**2
    return AnnotatedImage.of(
        (first * 200 + second * 90).astype(np.uint8), np.stack([first, second])
    )


def views(style: ViewStyle, prompts: PromptStyle, length: int = 50, seed: int = 0) -> TrainingViews:
    return TrainingViews(
        [Source([disc_image()], 1.0)],
        length=length,
        image_size=128,
        mask_size=32,
        views=style,
        prompts=prompts,
        seed=seed,
    )


def test_masks_are_packed_without_loss() -> None:
    image = disc_image(77)
    y, x = np.mgrid[0:77, 0:77]
    assert np.array_equal(image.mask(0), ((x - 60) ** 2 + (y - 80) ** 2 < 900).astype(np.uint8))


def test_a_view_hangs_on_its_index_and_seed_alone() -> None:
    a, b = views(ViewStyle(), PromptStyle()), views(ViewStyle(), PromptStyle())
    for left, right in zip(a[7], b[7], strict=True):
        assert np.array_equal(left, right)
    other = views(ViewStyle(), PromptStyle(), seed=1)[7]
    assert not np.array_equal(a[7][0], other[0])


@pytest.mark.parametrize("style", [PLAIN, ViewStyle(brightness=0, degradation=0)])
def test_pixels_targets_and_prompts_agree(style: ViewStyle) -> None:
    data = views(style, PromptStyle(box=0.5, jitters=(0.0,)))
    for index in range(25):
        pixels, targets, coords, labels, _ = data[index]
        for target, xy, kinds in zip(targets, coords, labels, strict=True):
            level = 200 if _level(pixels, target) > 150 else 90
            inside = cv2.resize(
                (np.abs(pixels.astype(int) - level) < 25).astype(np.uint8),
                (32, 32),
                interpolation=cv2.INTER_AREA,
            )
            agree = ((target > 127) == (inside > 0)).mean()
            assert agree > 0.93
            if kinds[0] == 2:
                rows, columns = np.nonzero(target > 127)
                box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) * 4
                assert np.abs(xy.ravel() - box).max() <= 4.5
            else:
                assert kinds.tolist() == [1, -1]
                x, y = xy[0]
                assert target[int(y / 4), int(x / 4)] > 60


def _level(pixels: np.ndarray, target: np.ndarray) -> float:
    big = cv2.resize(target, (128, 128), interpolation=cv2.INTER_NEAREST)
    return float(np.median(pixels[big > 200]))


def test_a_zoomed_view_enlarges_its_object() -> None:
    zoomed = views(ViewStyle(zoomed=1.0, zoom=(1.3, 1.3), rotation=0), PromptStyle(per_image=1))
    shares = [zoomed[i][1][0].mean() / 255 for i in range(20)]
    assert np.mean(shares) > 0.25


def test_no_view_shows_less_than_most_of_a_prompted_object() -> None:
    data = views(ViewStyle(zoomed=0.7, zoom=(1.0, 1.2)), PromptStyle())
    assert all(len(data[i][1]) >= 1 for i in range(30))


def test_a_batch_keeps_track_of_whose_prompts_are_whose() -> None:
    data = views(PLAIN, PromptStyle())
    batch = collate([data[0], data[1], data[2]])
    assert batch.pixels.shape == (3, 1, 128, 128)
    count = len(batch.image_index)
    assert batch.targets.shape == (count, 1, 32, 32)
    assert batch.coords.shape == (count, 2, 2)
    assert batch.image_index.tolist() == sorted(batch.image_index.tolist())
    assert 0 <= float(batch.targets.min()) <= float(batch.targets.max()) <= 1
    assert batch.labels.dtype == torch.long


def test_phantoms_are_the_same_whatever_the_number_of_workers() -> None:
    one, two = make_phantoms(6, seed=3, workers=1), make_phantoms(6, seed=3, workers=2)
    assert len(one) == len(two) > 0
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(one, two, strict=True))


def test_nothing_to_train_on_is_told() -> None:
    with pytest.raises(DataError, match="nothing to train on"):
        TrainingViews(
            [], length=1, image_size=64, mask_size=16, views=PLAIN, prompts=PromptStyle(), seed=0
        )


@pytest.mark.parametrize(
    ("name", "part", "images", "objects"),
    [
        ("BUSI", "train", 346, 342),
        ("HC18", "train", 244, 244),
        ("USGRA-seg", "train", 110, 275),
        ("BUSI", "dev", 60, 63),
        ("HC18", "dev", 48, 48),
        ("USGRA-seg", "dev", 40, 101),
        ("STU-Hospital", "dev", 42, 42),
        ("US_nerve", "dev", 55, 18),
        ("MMOTU_2d_sample", "dev", 10, 10),
        ("CCAUI", "dev", 20, 20),
    ],
)
def test_real_data_have_the_counts_of_their_readme(
    shared_data: Path, name: str, part: str, images: int, objects: int
) -> None:
    samples = list(dataset(name).samples(shared_data / part / name))
    assert len(samples) == images
    assert sum(len(image.packed) for image in read_images(samples)) == objects
    assert all(s.spacing for s in samples) == (name == "HC18")


def test_an_unknown_data_set_is_told() -> None:
    with pytest.raises(DataError, match="busi"):
        dataset("nonsense")


@pytest.fixture(scope="module")
def small_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    base = tmp_path_factory.mktemp("loader")
    busi_like(base / "raw", 40)
    for i in range(4):
        save(base / "raw" / "bus_b" / "original" / f"{i}.png", picture(i))
        save(base / "raw" / "bus_b" / "GT" / f"{i}.png", grey(disc(40, 30, 15)))
    build(
        find_datasets([str(base / "raw")]), base / "store", settings=Settings(shares=Shares(0, 0))
    )
    return Store.open(base / "store")


def test_a_store_gives_the_images_and_masks_that_it_holds(small_store: Store) -> None:
    sources = store_sources(small_store)
    assert [len(s.images) for s in sources] == [4, 40]
    image = sources[0].images[2]
    assert len(image) == 1
    assert np.array_equal(image.mask(0).astype(bool), disc(40, 30, 15))
    assert np.array_equal(image.pixels, picture(2))


def test_temperature_levels_the_shares_of_data_sets(small_store: Store) -> None:
    def shares(temperature: float) -> list[float]:
        return [s.weight for s in store_sources(small_store, temperature=temperature)]

    assert shares(1) == pytest.approx([4 / 44, 40 / 44])
    assert shares(2)[0] == pytest.approx(2 / (2 + 40**0.5))
    assert shares(1e9) == pytest.approx([0.5, 0.5])
    with pytest.raises(DataError, match="no image with an object on side 'val'"):
        store_sources(small_store, split="val")


def test_workers_see_what_one_process_sees(small_store: Store) -> None:
    data = TrainingViews(
        store_sources(small_store), length=8, image_size=96, mask_size=24, views=ViewStyle(cone=0.5),
        prompts=PromptStyle(), seed=3,
    )  # fmt: skip
    for workers in (0, 2):
        batches = list(DataLoader(data, batch_size=4, num_workers=workers, collate_fn=collate))
        if workers == 0:
            alone = batches
    for a, b in zip(alone, batches, strict=True):
        assert torch.equal(a.pixels, b.pixels)
        assert torch.equal(a.targets, b.targets)


def test_a_store_travels_as_its_path_alone(small_store: Store) -> None:
    assert len(pickle.dumps(small_store)) < 1000
    assert pickle.loads(pickle.dumps(small_store)).images.equals(small_store.images)


def test_a_cone_hides_what_lies_outside_it_in_image_and_target_alike() -> None:
    shown = ViewStyle(zoomed=0, flip=0, rotation=0, stretch=0, brightness=0, degradation=0, cone=1)
    with_cone, without = views(shown, PromptStyle()), views(PLAIN, PromptStyle())
    hidden = [((with_cone[i][0] == 0) & (without[i][0] > 0)).sum() for i in range(10)]
    assert sum(hidden) > 0
    rng = np.random.default_rng(0)
    for _ in range(20):
        sector = random_sector(rng, 128)
        assert 0.4 < sector.mean() <= 1
        middle = np.flatnonzero(sector[64])
        assert middle[-1] - middle[0] > 0.5 * 128
        assert sector[:, 64].mean() > 0.85


def test_a_recipe_can_train_on_a_store(small_store: Store, tmp_path: Path) -> None:
    recipe = Recipe(
        name="toy", model="nano", output=tmp_path,
        data={"store": {"path": small_store.root}},  # type: ignore[arg-type]
        prompts={"rounds": 1, "per_image": 1},  # type: ignore[arg-type]
        trainer={"max_steps": 2, "batch": 2, "workers": 0, "precision": "32-true"},  # type: ignore[arg-type]
    )  # fmt: skip
    told: list[str] = []
    assert (train(recipe, say=told.append) / "model.safetensors").exists()
    assert told[0] == f"{small_store.root}: 44 images of 2 data sets"


def test_prompts_of_different_lengths_share_a_batch() -> None:
    style = PromptStyle(box=0.4, clicks=ClickStyle(scribble=0.5, several=0.5))
    data = views(PLAIN, style)
    batch = collate([data[i] for i in range(8)])
    count, slots = batch.labels.shape
    assert batch.coords.shape == (count, slots, 2)
    assert 4 <= slots <= 6
    boxes = (batch.labels == 2).any(dim=1)
    assert bool((batch.labels[boxes][:, 2:] == -2).all())  # absent
    clicks = batch.labels[~boxes]
    assert bool(((clicks == -1).sum(dim=1) == 1).all())  # one not-a-point each, as in SAM
