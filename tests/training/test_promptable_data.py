from __future__ import annotations

import pickle
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from tests.datasets.layouts.truth import disc, gray, picture, save
from tests.store.test_store import busi_like
from ultrasam.datasets.annotated_image import AnnotatedImage, Instance
from ultrasam.datasets.catalogue import dataset
from ultrasam.datasets.discover import find_datasets
from ultrasam.errors import DataError, RecipeError
from ultrasam.images.masks import components
from ultrasam.prompt_simulation import ClickSampling
from ultrasam.settings import validate
from ultrasam.store.build import build_store
from ultrasam.store.cache import phantom_store
from ultrasam.store.index import BuildSettings
from ultrasam.store.splits import SplitFractions
from ultrasam.store.store import Store
from ultrasam.training.augmentation import Augmentation, random_sector
from ultrasam.training.datamodule import IndexedData
from ultrasam.training.prompt_sampling import PromptSampling
from ultrasam.training.promptable_data import PromptableViews, PromptedView, Source, collate
from ultrasam.training.recipe import Recipe, StoreSource
from ultrasam.training.run_settings import TrainerSettings
from ultrasam.training.sources import store_sources
from ultrasam.training.train import train

PLAIN = Augmentation(flip=0)
# All of it, at a strength that training uses.
STRONG = Augmentation(
    zoomed=0.5, rotation=15, stretch=0.15, brightness=1, degradation=0.2, scale=0.12
)


def changed(augmentation: Augmentation, **values: object) -> Augmentation:
    return augmentation.model_copy(update=values)


def disc_image(side: int = 200) -> AnnotatedImage:
    y, x = np.mgrid[0:side, 0:side]
    first = (x - 60) ** 2 + (y - 80) ** 2 < 30**2
    second = (x - 140) ** 2 + (y - 120) ** 2 < 25**2
    pixels = (first * 200 + second * 90).astype(np.uint8)
    return AnnotatedImage.in_memory(pixels, [Instance("a", first), Instance("b", second)])


def views(augmentation: Augmentation, prompts: PromptSampling, seed: int = 0) -> PromptableViews:
    return PromptableViews(
        [Source("discs", [disc_image()], 1.0)],
        image_size=128,
        mask_size=32,
        augmentation=augmentation,
        prompts=prompts,
        seed=seed,
    )


def arrays(view: PromptedView) -> list[np.ndarray]:  # type: ignore[type-arg]
    return [getattr(view, field.name) for field in fields(view)]


def test_a_view_depends_only_on_its_index_and_seed() -> None:
    a, b = views(STRONG, PromptSampling()), views(STRONG, PromptSampling())
    for left, right in zip(arrays(a[7]), arrays(b[7]), strict=True):
        assert np.array_equal(left, right)
    other = views(STRONG, PromptSampling(), seed=1)[7]
    assert not np.array_equal(a[7].pixels, other.pixels)


@pytest.mark.parametrize("style", [PLAIN, changed(STRONG, brightness=0, degradation=0)])
def test_pixels_targets_and_prompts_agree(style: Augmentation) -> None:
    data = views(style, PromptSampling(box=0.5, jitters=(0.0,)))
    for index in range(25):
        view = data[index]
        pixels = view.pixels
        for target, xy, kinds in zip(view.targets, view.coords, view.labels, strict=True):
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
                # One pixel of the 16 below a low-res one may be the object's only one.
                assert target[int(y / 4), int(x / 4)] > 255 / 16 / 2


def _level(pixels: np.ndarray, target: np.ndarray) -> float:
    big = cv2.resize(target, (128, 128), interpolation=cv2.INTER_NEAREST)
    return float(np.median(pixels[big > 200]))


def test_a_zoomed_view_enlarges_its_object() -> None:
    zoomed = views(Augmentation(zoomed=1.0, zoom=(1.3, 1.3)), PromptSampling(per_image=1))
    shares = [zoomed[i].targets[0].mean() / 255 for i in range(20)]
    assert np.mean(shares) > 0.25


def test_no_view_shows_less_than_most_of_a_prompted_object() -> None:
    data = views(changed(STRONG, zoomed=0.7, zoom=(1.0, 1.2)), PromptSampling())
    assert all(len(data[i].targets) >= 1 for i in range(30))


def test_a_batch_keeps_track_of_whose_prompts_are_whose() -> None:
    data = views(PLAIN, PromptSampling())
    batch = collate([data[0], data[1], data[2]])
    assert batch.pixels.shape == (3, 1, 128, 128)
    count = len(batch.image_index)
    assert batch.targets.shape == (count, 1, 32, 32)
    assert batch.coords.shape == (count, 2, 2)
    assert batch.image_index.tolist() == sorted(batch.image_index.tolist())
    assert 0 <= float(batch.targets.min()) <= float(batch.targets.max()) <= 1
    assert batch.labels.dtype == torch.long


def test_phantoms_are_the_same_whatever_the_number_of_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = []
    for workers in (0, 2):
        monkeypatch.setenv("ULTRASAM_CACHE", str(tmp_path / str(workers)))
        store = phantom_store(6, seed=3, workers=workers)
        images.append([store.image(row).pixels for row in range(len(store.images))])
    assert len(images[0]) == len(images[1]) == 6
    assert all(np.array_equal(a, b) for a, b in zip(*images, strict=True))


def test_an_empty_recipe_is_refused() -> None:
    with pytest.raises(DataError, match="nothing to train on"):
        PromptableViews(
            [], image_size=64, mask_size=16, augmentation=PLAIN, prompts=PromptSampling(), seed=0
        )


def test_objects_too_small_for_the_input_stop_training_with_one_sentence() -> None:
    mask = np.zeros((800, 800), bool)
    mask[100:112, 100:112] = True
    image = AnnotatedImage.in_memory(np.zeros((800, 800), np.uint8), [Instance("speck", mask)])
    data = PromptableViews(
        [Source("specks", [image], 1.0)],
        image_size=256, mask_size=64, augmentation=PLAIN, prompts=PromptSampling(), seed=0,
    )  # fmt: skip
    with pytest.raises(DataError, match=r"No object in specks covers 64 pixels.*zoomed=1"):
        data[0]
    zoomed = PromptableViews(
        [Source("specks", [image], 1.0)],
        image_size=256, mask_size=64, augmentation=Augmentation(zoomed=1), prompts=PromptSampling(),
        seed=0,
    )  # fmt: skip
    assert len(zoomed[0].targets) == 1


@pytest.mark.parametrize(
    ("name", "part", "images", "objects"),
    [
        pytest.param("BUSI", "train", 346, 342, marks=pytest.mark.slow),
        pytest.param("HC18", "train", 244, 244, marks=pytest.mark.slow),
        pytest.param("USGRA-seg", "train", 110, 275, marks=pytest.mark.slow),
        ("BUSI", "dev", 60, 63),
        ("HC18", "dev", 48, 48),
        ("USGRA-seg", "dev", 40, 101),
        ("STU-Hospital", "dev", 42, 42),
        ("US_nerve", "dev", 55, 18),
        ("CCAUI", "dev", 20, 20),
    ],
)
def test_real_data_have_the_counts_of_their_readme(
    shared_data: Path, name: str, part: str, images: int, objects: int
) -> None:
    samples = list(dataset(name).images(shared_data / part / name))
    assert len(samples) == images
    found = [
        part
        for sample in samples
        for instance in sample.instances
        for part in components(instance.mask, min_area=64)
    ]
    assert len(found) == objects
    assert all(s.spacing for s in samples) == (name == "HC18")


def test_a_coco_file_of_ones_own_has_the_counts_of_its_readme(shared_data: Path) -> None:
    samples = list(dataset("coco").images(shared_data / "dev" / "MMOTU_2d_sample"))
    assert len(samples) == 10
    parts = [p for s in samples for i in s.instances for p in components(i.mask, min_area=64)]
    assert len(parts) == 10


def test_an_unknown_data_set_is_refused() -> None:
    with pytest.raises(DataError, match="Unknown data set 'nonsense'"):
        dataset("nonsense")


@pytest.fixture(scope="module")
def small_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    base = tmp_path_factory.mktemp("loader")
    busi_like(base / "raw", 40)
    for i in range(4):
        save(base / "raw" / "bus_b" / "original" / f"{i}.png", picture(i))
        save(base / "raw" / "bus_b" / "GT" / f"{i}.png", gray(disc(40, 30, 15)))
    build_store(
        find_datasets([str(base / "raw")]),
        base / "store",
        settings=BuildSettings(split_fractions=SplitFractions(0, 0)),
    )
    return Store.open(base / "store")


def test_a_store_gives_the_images_and_masks_that_it_holds(small_store: Store) -> None:
    sources = store_sources(small_store)
    assert [len(s.images) for s in sources] == [4, 40]
    image = sources[0].images[2]
    assert image.structures == ("breast_nodule",)
    assert image.areas == (int(disc(40, 30, 15).sum()),)
    assert np.array_equal(image.mask(0), disc(40, 30, 15))
    assert np.array_equal(image.pixels, picture(2))


def test_temperature_levels_the_weights_of_data_sets(small_store: Store) -> None:
    def shares(temperature: float) -> list[float]:
        return [s.weight for s in store_sources(small_store, temperature=temperature)]

    assert shares(1) == pytest.approx([4 / 44, 40 / 44])
    assert shares(2)[0] == pytest.approx(2 / (2 + 40**0.5))
    assert shares(1e9) == pytest.approx([0.5, 0.5])
    with pytest.raises(DataError, match=r"has no image with an object in split 'val'"):
        store_sources(small_store, split="val")


def test_shares_give_how_often_each_data_set_of_a_store_is_drawn(small_store: Store) -> None:
    bus_b, busi = store_sources(small_store)
    found = store_sources(small_store, shares={"busi": 3, "bus_b": 1}, weight=0.5)
    assert [s.name for s in found] == ["busi", "bus_b"]
    assert [len(s.images) for s in found] == [len(busi.images), len(bus_b.images)]
    assert [s.weight for s in found] == pytest.approx([0.375, 0.125])


def test_a_data_set_without_a_share_is_not_drawn(small_store: Store) -> None:
    (only,) = store_sources(small_store, shares={"bus_b": 0.2})
    assert (only.name, len(only.images), only.weight) == ("bus_b", 4, 1.0)


@pytest.mark.parametrize(
    "names", [{"shares": {"bus_b": 1.0, "us_nerve": 1.0}}, {"datasets": ["us_nerve"]}]
)
def test_a_data_set_that_a_store_lacks_is_refused_with_those_that_it_has(
    small_store: Store, names: dict[str, Any]
) -> None:
    with pytest.raises(DataError, match=r"has no data set 'us_nerve'; it has bus_b, busi\."):
        store_sources(small_store, **names)


def test_a_share_of_a_data_set_without_images_in_the_split_is_refused(small_store: Store) -> None:
    with pytest.raises(DataError, match=r"no image with an object in split 'val' of busi\."):
        store_sources(small_store, split="val", shares={"busi": 1.0})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"datasets": ["busi"], "shares": {"busi": 1.0}}, "'datasets' or 'shares', not both"),
        ({"shares": {"busi": 0}}, "shares.busi: Input should be greater than 0"),
        ({"shares": {}}, "shares: Dictionary should have at least 1 item"),
    ],
)
def test_shares_in_a_recipe_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(message)):
        validate(StoreSource, {"path": "store", **settings}, source="toy.yaml")


def test_workers_see_what_one_process_sees(small_store: Store) -> None:
    data = PromptableViews(
        store_sources(small_store), image_size=96, mask_size=24, augmentation=changed(STRONG, cone=0.5),
        prompts=PromptSampling(), seed=3,
    )  # fmt: skip
    for workers in (0, 2):
        batches = list(
            DataLoader(
                data, batch_size=4, sampler=range(8), num_workers=workers, collate_fn=collate
            )
        )
        if workers == 0:
            alone = batches
    for a, b in zip(alone, batches, strict=True):
        assert torch.equal(a.pixels, b.pixels)
        assert torch.equal(a.targets, b.targets)


class Threads(Dataset[tuple[int, int]]):
    """The threads that OpenCV and PyTorch use where a view is made."""

    def __getitem__(self, index: int) -> tuple[int, int]:
        cv2.resize(np.zeros((900, 900), np.uint8), (1800, 1800))
        return cv2.getNumThreads(), torch.get_num_threads()


def test_a_worker_uses_one_thread_whatever_its_parent_used() -> None:
    before = cv2.getNumThreads()
    cv2.setNumThreads(4)
    try:
        cv2.resize(np.zeros((900, 900), np.uint8), (1800, 1800))  # starts the parent's threads
        settings = TrainerSettings(max_steps=1, batch=2, workers=1, accelerator="cpu")
        data = IndexedData(Threads(), settings, collate=list)  # type: ignore[arg-type]
        (batch,) = data.loader()
    finally:
        cv2.setNumThreads(before)
    assert batch == [(1, 1), (1, 1)]


def test_a_store_travels_as_its_path_alone(small_store: Store) -> None:
    assert len(pickle.dumps(small_store)) < 1000
    assert pickle.loads(pickle.dumps(small_store)).images.equals(small_store.images)


def test_a_cone_hides_what_lies_outside_it_in_image_and_target_alike() -> None:
    shown = changed(PLAIN, cone=1)
    with_cone, without = views(shown, PromptSampling()), views(PLAIN, PromptSampling())
    hidden = [((with_cone[i].pixels == 0) & (without[i].pixels > 0)).sum() for i in range(10)]
    assert sum(hidden) > 0
    rng = np.random.default_rng(0)
    for _ in range(20):
        sector = random_sector(rng, 128)
        assert 0.4 < sector.mean() <= 1
        middle = np.flatnonzero(sector[64])
        assert middle[-1] - middle[0] > 0.5 * 128
        assert sector[:, 64].mean() > 0.85


def test_a_recipe_can_train_on_a_store(
    small_store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = Recipe(
        name="toy", model="nano", output=tmp_path,
        data={"store": {"path": small_store.root}},  # type: ignore[arg-type]
        prompts={"per_image": 1},  # type: ignore[arg-type]
        interaction={"rounds": 1},  # type: ignore[arg-type]
        trainer={"max_steps": 2, "batch": 2, "workers": 0, "precision": "32-true"},  # type: ignore[arg-type]
    )  # fmt: skip
    caplog.set_level("INFO")
    assert (train(recipe) / "model.safetensors").exists()
    assert caplog.messages[0] == f"{small_store.root}: 44 images from 2 data sets"


def test_prompts_of_different_lengths_share_a_batch() -> None:
    style = PromptSampling(box=0.4, clicks=ClickSampling(scribble=0.5, multiple=0.5))
    data = views(PLAIN, style)
    batch = collate([data[i] for i in range(8)])
    count, slots = batch.labels.shape
    assert batch.coords.shape == (count, slots, 2)
    assert 4 <= slots <= 6
    boxes = (batch.labels == 2).any(dim=1)
    assert bool((batch.labels[boxes][:, 2:] == -2).all())  # absent
    clicks = batch.labels[~boxes]
    assert bool(((clicks == -1).sum(dim=1) == 1).all())  # one not-a-point each, as in SAM


def test_a_structure_pasted_into_the_background_is_prompted_too() -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros((200, 240), bool)
    mask[20:60, 20:60] = True
    pixels = np.where(mask, 40, rng.integers(80, 150, mask.shape)).astype(np.uint8)
    image = AnnotatedImage.in_memory(pixels, [Instance("known", mask)])

    def counts(pasted: float) -> list[int]:
        data = PromptableViews(
            [Source("one", [image], 1.0)], image_size=128, mask_size=32, seed=3,
            augmentation=changed(PLAIN, pasted=pasted), prompts=PromptSampling(per_image=3),
        )  # fmt: skip
        return [len(data[i].targets) for i in range(20)]

    assert counts(0.0) == [1] * 20
    assert counts(1.0).count(2) > 15
    assert 1 < np.mean(counts(0.5)) < np.mean(counts(1.0))


def test_nothing_is_pasted_where_objects_have_classes() -> None:
    data = PromptableViews(
        [Source("discs", [disc_image()], 1.0)], image_size=128, mask_size=32, seed=0,
        augmentation=changed(PLAIN, pasted=1.0), prompts=PromptSampling(per_image=5),
        classes=lambda image: [7] * len(image.areas),
    )  # fmt: skip
    assert all(data[i].classes.tolist() == [7, 7] for i in range(5))
