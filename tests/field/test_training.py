"""Training on people's own data: it starts, says what it does, keeps what it did, and ends when told to."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import SMALL_NANO
from tests.datasets.layouts.truth import disc, gray, picture, save
from ultrasam import hardware
from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.datasets.catalogue import dataset
from ultrasam.downstream import suite as suites
from ultrasam.downstream.classification import task as classification
from ultrasam.downstream.settings import ClassifierSettings
from ultrasam.downstream.suite_recipe import BenchmarkSuite
from ultrasam.errors import (
    CheckpointError,
    DataError,
    DiskFullError,
    InterruptedRunError,
    RecipeError,
)
from ultrasam.files import atomic_file
from ultrasam.model.ultrasam import UltraSam
from ultrasam.store.build import build_store
from ultrasam.store.cache import cached_store
from ultrasam.store.index import BuildSettings
from ultrasam.store.splits import SplitFractions
from ultrasam.store.store import StoredImages
from ultrasam.text import duration
from ultrasam.training import checkpoints, dry_run
from ultrasam.training import train as training
from ultrasam.training.augmentation import Augmentation
from ultrasam.training.custom import recipe_for
from ultrasam.training.engine import FitResult, make_trainer
from ultrasam.training.interaction import Noise, _next_prompts
from ultrasam.training.promptable import PromptableTask
from ultrasam.training.promptable_data import Source
from ultrasam.training.recipe import Interaction, Recipe, change, load_recipe
from ultrasam.training.run_folder import keep_settings
from ultrasam.training.run_settings import TrainerSettings
from ultrasam.training.shipped import find_recipe
from ultrasam.training.sources import open_data
from ultrasam.training.train import report_scores, train
from ultrasam.training.visible import with_visible_objects

Command = Callable[..., int]
ALL = [  # how people name their files
    "{:03d}", "img{}", "scan_{:02d}", "patient{}", "IMG_{:04d}", "検査 {}",
]  # fmt: skip


def folder_of(
    path: Path, names: list[str], *, height: int = 96, width: int = 128, radius: int = 20
) -> Path:
    """images/ and masks/ with one disc each."""
    rng = np.random.default_rng(0)
    for i, name in enumerate(names):
        mask = disc(width // 2 + i % 5, height // 2, radius, height, width)
        pixels = rng.integers(1, 120, (height, width), dtype=np.uint8) + gray(mask, 100)
        save(path / "images" / f"{name}.png", pixels)
        save(path / "masks" / f"{name}.png", gray(mask))
    return path


def numbered(count: int) -> list[str]:
    return [f"p{i}" for i in range(count)]


def store_of(folder: Path, out: Path, *, val: float = 0, test: float = 0) -> Path:
    settings = BuildSettings(split_fractions=SplitFractions(val=val, test=test))
    build_store([(dataset("image_mask_folder"), folder)], out, settings=settings)
    return out


QUICK = ["trainer.max_steps=2", "trainer.batch=1", "trainer.workers=0", "trainer.accelerator=cpu",
         "trainer.log_every=1", "trainer.checkpoint_every=1", "validation.every=1"]  # fmt: skip


def quick(recipe: Recipe, tmp_path: Path, *more: str) -> Recipe:
    return change(recipe, [f"output={tmp_path / 'runs'}", *QUICK, *more])


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs train a model of nano's design that is much smaller."""

    def load(*_: Any, **__: Any) -> UltraSam:
        torch.manual_seed(0)
        return UltraSam(SMALL_NANO)

    monkeypatch.setattr(training, "load_model", load)


# A few images are enough.


@pytest.mark.parametrize("naming", ALL)
@pytest.mark.parametrize("count", [4, 9])
def test_a_few_images_of_any_names_are_trained_on_and_validated(
    naming: str, count: int, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / "mine", [naming.format(i + 1) for i in range(count)])
    data = open_data(quick(recipe_for(folder, init="nano"), tmp_path))
    assert len(data.validation) == 1
    assert [len(source.images) for source in data.sources] == [count - 1]


def test_images_without_an_object_to_score_are_not_held_out_and_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = folder_of(tmp_path / "mine", numbered(3))
    folder_of(folder, [f"tiny{i}" for i in range(20)], radius=3)  # 25 pixels
    folder_of(folder, ["none0", "none1"], radius=0)
    recipe = quick(recipe_for(folder, init="nano"), tmp_path, "validation.fraction=0.01")
    with caplog.at_level(logging.INFO, "ultrasam"):
        data = open_data(recipe)
    assert [image.name for image in data.validation] in (["p0"], ["p1"], ["p2"])
    assert "22 images, 22 objects (images left out: 2 without an object)" in caplog.text
    for i in range(3):
        save(folder / "masks" / f"p{i}.png", gray(disc(60, 40, 3, 96, 128)))
    with pytest.raises(DataError, match="no validation image with an object of at least 64 pixels"):
        open_data(recipe)


# Objects that the model cannot see.


def sources_of(folder: Path) -> list[Source]:
    store = cached_store(dataset("image_mask_folder"), folder)
    return [Source("mine", StoredImages(store, store.select(with_instances=True)), 1.0)]


def test_objects_too_small_for_the_model_end_a_run_before_an_image_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path / "mine", numbered(5), height=600, width=800, radius=6)  # 109 px
    sources = sources_of(folder)

    def read(*_: Any) -> None:
        raise AssertionError("read")

    monkeypatch.setattr(StoredImages, "__getitem__", read)
    with pytest.raises(
        DataError,
        match=r"nothing to train on\. mine: all 5 images, in which no object covers 64 pixels of the "
        r"model's 256 × 256 \(at most 11\)\. Set augmentation\.zoomed=0\.5",
    ):
        with_visible_objects(sources, Augmentation(), 256)
    for enlarged, size in ((Augmentation(zoomed=0.5), 256), (Augmentation(), 1024)):
        (kept,) = with_visible_objects(sources, enlarged, size)
        assert len(kept.images) == 5


def test_images_that_are_not_trained_on_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = folder_of(tmp_path / "mine", numbered(5), height=300, width=400, radius=40)
    folder_of(folder, ["far1", "far2", "far3"], height=300, width=400, radius=5)
    (kept,) = with_visible_objects(sources_of(folder), Augmentation(), 256)
    assert sorted(image.name for image in kept.images) == numbered(5)
    assert "Not trained on: mine: 3 of 8 images" in caplog.text
    caplog.clear()
    (everything,) = with_visible_objects(sources_of(folder), Augmentation(scale=0.5), 256)
    assert len(everything.images) == 8  # 69 pixels × (256 / 400)² × e is 77
    assert not caplog.text


# Checkpoints run no code.


class _Runs:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.file),)


@pytest.mark.parametrize("key", ["state_dict", "callbacks", "hyper_parameters"])
def test_a_checkpoint_that_would_run_code_is_refused(key: str, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"global_step": 3, "state_dict": {}, key: {"a": _Runs(tmp_path / "made")}}, path)
    for read in (checkpoints.steps_done, checkpoints.read_checkpoint,
                 checkpoints.RunCheckpoints().load_checkpoint):  # fmt: skip
        with pytest.raises(CheckpointError, match="could run code when loaded"):
            read(path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"<!DOCTYPE html>", bytes(500)])
def test_a_damaged_checkpoint_is_one_sentence(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"last\.ckpt is damaged") as caught:
        checkpoints.steps_done(path)
    assert "\n" not in str(caught.value)


# A run is resumed as it began.


def test_a_run_of_an_earlier_version_is_resumed_with_its_recipe_only(tmp_path: Path) -> None:
    """Its settings are in recipe.yaml alone."""
    recipe = quick(load_recipe(find_recipe("smoke")), tmp_path)
    recipe.folder.mkdir(parents=True)
    training.save_recipe(recipe, recipe.folder / "recipe.yaml")
    (recipe.folder / "last.ckpt").touch()
    with pytest.raises(RecipeError, match=r"started with optimizer\.lr=0\.001, not 0\.002"):
        training.keep_recipe(change(recipe, ["optimizer.lr=2e-3"]))
    training.keep_recipe(change(recipe, ["trainer.max_steps=50"]))
    with pytest.raises(RecipeError, match=r"trainer\.batch=1, not 3"):
        training.keep_recipe(change(recipe, ["trainer.batch=3"]))


def test_settings_that_cannot_be_read_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").touch()
    (tmp_path / "settings.json").write_text('{"seed": ')
    with pytest.raises(RecipeError, match=r"settings\.json is damaged"):
        keep_settings(tmp_path, {"seed": 1})


# Time.


def test_clicks_that_are_not_used_are_not_drawn(monkeypatch: pytest.MonkeyPatch, tiny: Any) -> None:
    def drawn(*_: Any, **__: Any) -> None:
        raise AssertionError("drawn")

    monkeypatch.setattr("ultrasam.training.interaction.error_clicks", drawn)
    from ultrasam.model.prompt_encoder import PromptTensors

    first = PromptTensors(torch.rand(3, 2, 2), torch.tensor([[2, 3]] * 3))
    logits = torch.rand(3, 1, 32, 32)
    noise = Noise(torch.arange(3), 0)
    found = _next_prompts(tiny, first, logits, logits, Interaction(corrective=0), noise)
    assert torch.equal(found.labels, first.labels)
    with pytest.raises(AssertionError):
        _next_prompts(tiny, first, logits, logits, Interaction(corrective=0.1), noise)


@pytest.mark.parametrize("command", ["finetune promptable", "train nano"])
@pytest.mark.parametrize("places", ["images and masks", "side by side", "several"])
def test_a_dry_run_decodes_neither_image_nor_mask_and_simulates_none(
    command: str,
    places: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ultrasam: Command,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "mine"
    for path in [folder / "first", folder / "second"] if places == "several" else [folder]:
        folder_of(path, numbered(5))
    if places == "side by side":
        for mask in (folder / "masks").iterdir():
            mask.rename(folder / "images" / f"{mask.stem}_mask.png")
        (folder / "masks").rmdir()
    for file in folder.rglob("*.png"):
        file.write_bytes(b"not an image")

    def used(*_: Any, **__: Any) -> None:
        raise AssertionError("used")

    for name in (
        "store.cache.build_store", "store.phantoms.simulate", "images.raster.decode_image",
        "datasets.image_mask_folder.decode_mask", "datasets.image_mask_folder.decode_frame",
        "datasets.readers.mask_survey.decode_mask",
    ):  # fmt: skip
        monkeypatch.setattr(f"ultrasam.{name}", used)
    monkeypatch.setattr(dry_run, "seconds_per_batch", lambda *_: (1.0, 1.0))
    assert ultrasam(*command.split(), "--data", folder, "--dry-run", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    images = 10 if places == "several" else 5
    assert found["estimate"]["images"] == images + found["recipe"]["data"]["phantoms"]["count"]


def test_images_are_counted_as_they_are_listed(tmp_path: Path) -> None:
    spec, folder = dataset("image_mask_folder"), folder_of(tmp_path / "mine", numbered(5))
    (folder / "masks" / "p3.png").unlink()
    assert spec.count(folder) == len(spec.list_cases(folder)[0]) == 4
    for mask in (folder / "masks").iterdir():
        mask.unlink()
    with pytest.raises(DataError, match="No annotated image") as listed:
        spec.list_cases(folder)
    with pytest.raises(DataError, match=re.escape(str(listed.value))):
        spec.count(folder)


def test_a_runs_time_is_that_of_its_steps_and_validations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path / "mine", numbered(30))
    recipe = change(recipe_for(folder, init="nano"), ["trainer.accelerator=cpu"])
    assert (recipe.trainer.max_steps, recipe.trainer.batch, recipe.validation.every) == (
        200,
        16,
        10,
    )
    monkeypatch.setattr(dry_run, "_training_step", lambda *_: (0.3, 0.1))  # of four images
    monkeypatch.setattr(dry_run, "_validation", lambda *_: 0.5)
    monkeypatch.setattr(dry_run, "_fastest", lambda *_, **__: 0.04)  # to draw four views
    found = dry_run.estimate(recipe)
    assert found.validation_seconds == pytest.approx(21 * 3 * 0.5)
    assert found.seconds == pytest.approx(200 * (4 * 0.4 + 16 * 0.01 / 2) + 21 * 3 * 0.5)
    text = dry_run.describe(recipe, found)
    assert "time        about 6 minutes on this machine, 32 seconds of it validation\n" in text
    assert duration(20 * 3600) == "20.0 hours"


@pytest.mark.slow
def test_the_estimate_is_within_a_factor_of_two(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "mine", numbered(10))
    recipe = quick(
        recipe_for(folder, init="nano"), tmp_path, "trainer.max_steps=6", "trainer.batch=4",
        "validation.every=0", "trainer.checkpoint_every=100",
    )  # fmt: skip
    expected = dry_run.estimate(recipe).seconds / 6
    times = list[float]()
    train(recipe, on_progress=lambda *_, **__: times.append(time.perf_counter()))
    measured = float(np.median(np.diff(times)))
    assert 0.5 < expected / measured < 2


@pytest.mark.parametrize(
    ("flags", "precision"),
    [((), "32-true"), (("avx2", "avx512f"), "32-true"), (("avx512_bf16",), "bf16-mixed"),
     (("amx_bf16",), "bf16-mixed"), (("asimd", "bf16"), "bf16-mixed")],
)  # fmt: skip
def test_the_default_precision_follows_from_the_processor(
    flags: tuple[str, ...], precision: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(hardware, "processor_flags", lambda: frozenset(flags))
    assert TrainerSettings(max_steps=1, accelerator="cpu").number_format == precision
    for name in ("nano", "smoke", "nano-lora", "base-mixed"):
        recipe = load_recipe(find_recipe(name), ["trainer.accelerator=cpu", "trainer.devices=1"])
        assert recipe.trainer.number_format == precision, name
        trainer = make_trainer(recipe, "val_dice")
        assert trainer.precision == precision
    asked = change(recipe, ["trainer.precision=bf16-mixed"])
    assert not caplog.text
    assert make_trainer(asked, "val_dice").precision == "bf16-mixed"
    slow = "slower than 32-true here, because the processor has no bfloat16 units"
    assert (slow in caplog.text) == (precision == "32-true")


def test_apples_gpu_is_used_only_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert TrainerSettings(max_steps=1).device == "cpu"
    assert TrainerSettings(max_steps=1, accelerator="gpu").device == "mps"
    assert TrainerSettings(max_steps=1).number_format in ("32-true", "bf16-mixed")
    assert TrainerSettings(max_steps=1, accelerator="gpu").number_format == "32-true"


# Recipes and data.


def test_every_recipe_takes_data_as_an_argument(
    tmp_path: Path, ultrasam: Command, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder = folder_of(tmp_path / "mine", numbered(6))
    monkeypatch.setattr(dry_run, "seconds_per_batch", lambda *_: (0.1, 0.1))
    for name in ("nano", "base-mixed"):
        status = ultrasam("train", name, "--data", folder, "init=null", "--dry-run", "--json")
        out, err = capsys.readouterr()
        assert status == 0, err
        found = json.loads(out)
        data = found["recipe"]["data"]
        assert data["store"] is None
        assert [s["path"] for s in data["sources"]] == [str(folder)]
        assert data["sources"][0]["weight"] == pytest.approx(0.58 if name == "nano" else 1.0)
        assert found["estimate"]["images"] == 6 + data["phantoms"]["count"]


def test_a_store_given_as_data_keeps_the_recipes_sampling(tmp_path: Path) -> None:
    from ultrasam.training.custom import with_data

    root = store_of(folder_of(tmp_path / "mine", numbered(6)), tmp_path / "store")
    recipe = with_data(
        load_recipe(find_recipe("base-mixed"), ["data.store.temperature=5"]), [str(root)]
    )
    assert recipe.data.store is not None
    assert (recipe.data.store.path, recipe.data.store.temperature) == (root, 5)
    assert recipe.data.sources == ()


def test_the_smoke_recipe_runs_anywhere(
    tmp_path: Path, ultrasam: Command, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], small: None,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    arguments = ["trainer.max_steps=1", "trainer.batch=1", "data.phantoms.count=1"]
    status = ultrasam("train", "smoke", *arguments, "--device", "cpu")
    out, err = capsys.readouterr()
    assert status == 0, err
    assert (tmp_path / out.strip() / "model.safetensors").exists()


def coco_of(folder: Path, count: int) -> Path:
    annotations = [
        {
            "id": i,
            "image_id": i,
            "category_id": 1,
            "segmentation": [[30, 30, 80, 30, 80, 70, 30, 70]],
        }
        for i in range(count)
    ]
    images = [{"id": i, "file_name": f"p{i}.png", "width": 128, "height": 96} for i in range(count)]
    for i in range(count):
        save(folder / f"p{i}.png", picture(i, 96, 128))
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "cyst"}],
    }
    (folder / "mine.json").write_text(json.dumps(content))
    return folder / "mine.json"


def test_data_means_the_same_as_in_the_other_commands(tmp_path: Path) -> None:
    """A store, a folder of data sets, NAME=FOLDER, images and masks, a COCO file; several of them."""
    folder = folder_of(tmp_path / "both" / "first", numbered(6))
    folder_of(tmp_path / "both" / "second", [f"q{i}" for i in range(4)])
    coco = coco_of(tmp_path / "coco", 5)
    root = store_of(folder, tmp_path / "store", val=0.2, test=0.2)
    for data, name, trained, validated in (
        ([str(folder)], "first", [5], 1),
        ([str(tmp_path / "both")], "both", [5, 3], 2),
        ([f"coco={tmp_path / 'coco'}"], "coco", [4], 1),
        ([str(coco)], "mine", [4], 1),
        ([str(root)], "store", [4], 1),
        ([str(root), str(coco)], "store", [4, 4], 2),
    ):
        recipe = quick(recipe_for(*data, init="nano"), tmp_path)
        assert recipe.name == name
        found = open_data(recipe)
        assert [len(source.images) for source in found.sources] == trained, data
        assert len(found.validation) == validated, data
    with pytest.raises(DataError, match="are both stores"):
        recipe_for(str(root), str(root), init="nano")


def test_pictures_that_are_nearly_the_same_are_on_one_side(tmp_path: Path) -> None:
    """Frames of a cine, whose names do not say so."""
    folder = folder_of(tmp_path / "mine", numbered(12))
    for i in range(12):
        frame = picture(i // 4, 96, 128)
        frame[0, i] += 1
        save(folder / "images" / f"p{i}.png", frame)
    recipe = quick(recipe_for(folder, init="nano"), tmp_path)
    data = open_data(recipe)
    sides = [{int(image.name[1:]) // 4 for image in images}
             for images in (data.validation, data.sources[0].images)]  # fmt: skip
    assert [len(side) for side in sides] == [1, 2]
    assert not sides[0] & sides[1]
    for i in range(12):
        save(folder / "images" / f"p{i}.png", picture(0, 96, 128) + np.uint8(i % 2))
    with pytest.raises(DataError, match=r"only 1 subject.*nearly the same count as one"):
        open_data(recipe)


def test_a_val_split_of_the_data_is_validated_on_and_not_trained_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ultrasam")
    file = coco_of(tmp_path / "coco", 12)
    content = json.loads(file.read_text())
    for image in content["images"]:
        image["split"] = (
            "val" if image["id"] in (3, 5, 8) else "train" if image["id"] < 10 else "test"
        )
    file.write_text(json.dumps(content))
    data = open_data(quick(recipe_for(str(file), init="nano"), tmp_path))
    assert sorted(image.name for image in data.validation) == ["p3", "p5", "p8"]
    trained = sorted(image.name for image in data.sources[0].images)
    assert trained == ["p0", "p1", "p2", "p4", "p6", "p7", "p9"]
    assert "7 images, 7 objects (images left out: 2 of the test split)" in caplog.text
    without = quick(recipe_for(str(file), init="nano"), tmp_path, "validation.every=0")
    assert len(open_data(without).sources[0].images) == 10


def test_a_store_without_a_val_split_holds_subjects_out(tmp_path: Path) -> None:
    root = store_of(folder_of(tmp_path / "mine", numbered(12)), tmp_path / "store")
    data = open_data(quick(recipe_for(str(root), init="nano"), tmp_path))
    held = {image.name for image in data.validation}
    trained = {image.name for image in data.sources[0].images}
    assert len(held) == 1
    assert len(trained) == 11
    assert not held & trained


# Outputs.


@pytest.mark.parametrize(
    "command",
    ["predict picture.png --box 1,1,9,9 -o file", "predict picture.png --box 1,1,9,9 -o file/below",
     "embed picture.png -o folder", "evaluate nano --data mine -o file",
     "train smoke -o file", "finetune promptable --data mine -o file",
     "finetune classify --data mine -o file", "finetune regions --data mine -o file",
     "finetune instances --data mine -o file", "finetune suite downstream/paper --data mine -o file",
     "data build mine -o file", "data import mine --format masks --name mine -o file",
     "data export store --format coco -o file", "data show store -o folder", "data stats store -o file",
     "recipes copy nano file/below"],
)  # fmt: skip
def test_an_output_that_cannot_be_written_is_refused_before_any_work(
    command: str, tmp_path: Path, ultrasam: Command, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    save(tmp_path / "picture.png", np.full((20, 20), 9, np.uint8))
    folder_of(tmp_path / "mine", numbered(2))
    monkeypatch.chdir(tmp_path)

    def worked(*_: Any, **__: Any) -> None:
        raise AssertionError("began to work")

    for name in ("ultrasam.weights.load.load_model", "ultrasam.store.build.write_tables"):
        monkeypatch.setattr(name, worked)
    status = ultrasam(*command.split())
    err = capsys.readouterr().err
    assert status in (1, 2), err
    assert re.search(r"\b(file|folder)\b", err), err
    assert "Internal error" not in err
    assert "began to work" not in err
    assert err.count("\n") == 1
    assert (tmp_path / "file").read_text() == "kept"


# A full disk.


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_checkpoint_that_does_not_fit_costs_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    writer, state = checkpoints.RunCheckpoints(), {"a": torch.ones(1000)}
    content = {"state_dict": state, "global_step": 5}
    writer.save_checkpoint(content, tmp_path / "last.ckpt")
    before = (tmp_path / "last.ckpt").read_bytes()
    monkeypatch.setattr(torch, "save", full)
    writer.save_checkpoint(content, tmp_path / "last.ckpt")
    writer.save_checkpoint(content, tmp_path / "best.ckpt")
    assert (tmp_path / "last.ckpt").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
    assert "No space left on the disk for" in caplog.text
    assert "Training goes on; the checkpoint before it is kept." in caplog.text
    assert "Training goes on; the best weights are kept in memory." in caplog.text
    assert torch.equal(writer.unsaved[tmp_path / "best.ckpt"]["a"], state["a"])


def test_a_run_without_space_for_its_checkpoints_does_not_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None
) -> None:
    recipe = quick(load_recipe(find_recipe("smoke")), tmp_path, "validation.every=0")
    model = training.prepare_model(recipe)
    training.check_disk(recipe, model)
    monkeypatch.setattr("ultrasam.files._free", lambda _: 100_000)
    with pytest.raises(DiskFullError, match=r"No space left .* MB are needed, 0\.1 MB are free"):
        training.check_disk(recipe, model)


def test_a_model_that_does_not_fit_leaves_the_run_to_resume_and_the_earlier_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None
) -> None:
    recipe = quick(load_recipe(find_recipe("smoke")), tmp_path, "validation.every=0")
    out = recipe.folder / "model"
    out.mkdir(parents=True)
    (out / "model.safetensors").write_bytes(b"earlier")
    (recipe.folder / "last.ckpt").touch()
    task = PromptableTask(training.prepare_model(recipe), recipe)
    monkeypatch.setattr(training, "save_pretrained", full)
    with pytest.raises(DiskFullError, match=r"last\.ckpt; run the same command with --resume\.$"):
        training._save(task, out)
    assert (out / "model.safetensors").read_bytes() == b"earlier"
    assert sorted(path.name for path in recipe.folder.iterdir()) == ["last.ckpt", "model"]


# What a run says.


@pytest.mark.parametrize(
    ("result", "told", "warned"),
    [
        (FitResult(9, 1, True, 0.8, 0.5, 0.85, 7),
         "Dice on 3 validation images: 0.500 before training, 0.850 after; the weights of the best "
         "validation are kept (step 7); 0.800 at the last validation.", False),
        (FitResult(9, 1, True, 0.4, 0.5, 0.45, 7), "0.500 before training, 0.450 after", True),
        (FitResult(9, 1, True, 0.5, 0.5, 0.50001, 7), "0.500 before training, 0.500 after", True),
        (FitResult(9, 1, True, 0.5, None, 0.6, 7), "images: 0.600 after", False),
    ],
)  # fmt: skip
def test_a_run_says_whether_it_helped(
    result: FitResult, told: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "ultrasam"):
        report_scores(result, 3)
    assert told in caplog.text
    assert ("Training did not help" in caplog.text) == warned


@pytest.mark.usefixtures("undrawn")
def test_ctrl_c_says_how_to_go_on_and_the_run_goes_on(
    tmp_path: Path, ultrasam: Command, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], small: None,
) -> None:  # fmt: skip
    folder = folder_of(tmp_path / "mine", numbered(5))
    monkeypatch.chdir(tmp_path)
    command = ["finetune", "promptable", "--data", folder, *QUICK, "trainer.max_steps=3"]
    step = PromptableTask.training_step

    def stopped_at(count: int) -> Callable[..., Any]:
        def stopped(self: PromptableTask, batch: Any, batch_idx: int) -> torch.Tensor:
            if self.global_step == count:
                raise KeyboardInterrupt
            return step(self, batch, batch_idx)

        return stopped

    handler = signal.getsignal(signal.SIGINT)
    for count, more, told in (
        (0, [], "Interrupted after step 0 of 3, before the first checkpoint; run the same command again"),
        (2, [], "Interrupted after step 2 of 3; run the same command with --resume to continue from step 2"),
    ):  # fmt: skip
        monkeypatch.setattr(PromptableTask, "training_step", stopped_at(count))
        assert ultrasam(*command, *more) == 130
        err = capsys.readouterr().err
        assert told in err
        assert "Traceback" not in err
    assert signal.getsignal(signal.SIGINT) is handler
    start = json.loads((tmp_path / "runs/promptable/mine/start.json").read_text())["val_dice"]
    monkeypatch.setattr(PromptableTask, "training_step", step)
    assert ultrasam(*command, "--resume") == 0
    assert f"Dice on 1 validation image: {start:.3f} before training, " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("done", "told"),
    [(0, "after step 3 of 9, in fold 1 of 5."),
     (1, "in fold 2 of 5; the finished fold is kept: run the same command with --resume to continue."),
     (4, "in fold 5 of 5; the 4 finished folds are kept: run the same command with --resume")],
)  # fmt: skip
def test_ctrl_c_in_a_cross_validation_says_how_to_go_on(
    done: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(done):
        with atomic_file(tmp_path / f"fold-{number}.npy") as file:
            np.save(file, np.full((1, 2), 0.5))

    def stopped(*_: Any, **__: Any) -> None:
        raise InterruptedRunError("Interrupted after step 3 of 9.")

    monkeypatch.setattr(classification, "train_classifier", stopped)
    images = [
        AnnotatedImage.in_memory(
            np.zeros((4, 4), np.uint8), name=str(i), subject=str(i), class_label="ab"[i % 2]
        )
        for i in range(10)
    ]
    folds = [([j for j in range(10) if j not in (i, i + 1)], [i]) for i in range(5)]
    with pytest.raises(InterruptedRunError, match=re.escape(told)) as caught:
        classification.cross_validate(
            None, images, ["a", "b"], folds, ClassifierSettings(), folder=tmp_path  # type: ignore[arg-type]
        )  # fmt: skip
    assert caught.value.exit_status == 130


def test_ctrl_c_in_a_suite_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise InterruptedRunError("Interrupted after step 3 of 9.")

    monkeypatch.setitem(suites._RUN, "classify", stopped)
    content = {"title": "x", "datasets": [], "initializations": [{"title": "nano", "init": "nano"}],
               "classify": {}}  # fmt: skip
    images = [
        AnnotatedImage.in_memory(
            np.zeros((4, 4), np.uint8), dataset="mine", name=str(i), subject=str(i)
        )
        for i in range(4)
    ]
    with pytest.raises(InterruptedRunError, match="run the same command again to continue"):
        suites.run(BenchmarkSuite.model_validate(content), {"mine": images}, tmp_path)


# Worker processes.


POOL = """
import multiprocessing, sys, time, os
from concurrent.futures import ProcessPoolExecutor
from torch.utils.data import DataLoader
from ultrasam.processes import exit_with_parent

def number(_=0):
    return os.getpid()

if __name__ == "__main__":
    for method in ("spawn", "fork"):
        context = multiprocessing.get_context(method)
        pool = ProcessPoolExecutor(2, mp_context=context, initializer=exit_with_parent)
        for pid in {f.result() for f in [pool.submit(number) for _ in range(4)]}:
            print(pid, flush=True)
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked up in /proc")
def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "pool.py"
    file.write_text(POOL.replace("from torch.utils.data import DataLoader\n", ""))
    parent = subprocess.Popen([sys.executable, str(file)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    workers = [int(line) for line in iter(parent.stdout.readline, "ready\n")]
    assert len(workers) >= 2
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while any(running(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in workers if running(pid)]


def test_a_script_that_works_when_it_is_imported_is_told_so(tmp_path: Path) -> None:
    """Each of its workers would run it once more, and wait for it."""
    folder_of(tmp_path / "mine", numbered(2))
    file = tmp_path / "script.py"
    file.write_text(SCRIPT.format(folder=str(tmp_path / "mine")))
    done = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "DataError: The processes that read images cannot start" in done.stderr
    assert "put its work under: if __name__ == '__main__':" in done.stderr.splitlines()[-1]


SCRIPT = """
from pathlib import Path
from ultrasam.datasets.catalogue import dataset
from ultrasam.store.cache import cached_store
cached_store(dataset("image_mask_folder"), Path({folder!r}), workers=1)
"""


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_every_pool_of_the_package_ends_its_workers() -> None:
    source = Path(hardware.__file__).parent
    for file in source.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        for call in re.findall(
            r"(?:ProcessPoolExecutor|DataLoader)\((?:[^()]|\([^()]*\))*\)", text
        ):
            starts = "num_workers=0" not in call
            ends = "initializer=_start_worker" in call or "worker_init_fn=_start_worker" in call
            assert ends or not starts, (file, call)
        assert not re.search(r"multiprocessing\.Pool|\bmp\.spawn|(?<!psutil)\.Process\(", text), (
            file
        )
