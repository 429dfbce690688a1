"""What all fine-tuning tasks share: checkpointing, parameter groups, splits, and resumed runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.downstream.spots import bus_bra, pair
from tests.store.test_store import make_store
from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.downstream.backbone import load_backbone
from ultrasam.downstream.classification.task import train_classifier
from ultrasam.downstream.images import open_images
from ultrasam.downstream.instances.task import train_instance_segmenter
from ultrasam.downstream.regions.task import train_region_classifier
from ultrasam.downstream.settings import SETTINGS, ClassifierSettings
from ultrasam.downstream.targets import InstanceTarget, classes_of
from ultrasam.errors import DataError, RecipeError
from ultrasam.settings import deep_merge
from ultrasam.store.store import Store
from ultrasam.training.augmentation import NO_AUGMENTATION, Augmentation, augment
from ultrasam.training.optimization import parameter_groups
from ultrasam.training.run_folder import LAST
from ultrasam.training.run_settings import OptimizerSettings


def labeled(count: int) -> list[AnnotatedImage]:
    return [
        AnnotatedImage.in_memory(
            pair(i).pixels, name=str(i), subject=str(i), class_label="ab"[i % 2]
        )
        for i in range(count)
    ]


def classifier_settings(**changes: object) -> ClassifierSettings:
    content = {"mode": "full", "size": 64, "trainer": {"max_steps": 2, "batch": 4}}
    return ClassifierSettings.model_validate(deep_merge(content, changes))


def test_activation_checkpointing_changes_no_weights() -> None:
    def weights(**changes: object) -> list[torch.Tensor]:
        settings = classifier_settings(**changes)
        model = load_backbone("nano")
        return list(train_classifier(model, labeled(6), ("a", "b"), settings).parameters())

    whole, again = weights(), weights(trainer={"checkpointing": True})
    assert all(torch.allclose(a, b, atol=2e-5) for a, b in zip(whole, again, strict=True))
    other = weights(seed=1)
    assert not all(torch.allclose(a, b, atol=2e-5) for a, b in zip(whole, other, strict=True))


SMALL = {"size": 64, "width": 32, "queries": 5, "layers": 1, "pixel_layers": 1, "points": 64}


def train_task(task: str, folder: Path | None, *, steps: int, resume: bool = False) -> nn.Module:
    """A short run of a task on made images."""
    run = {"trainer": {"max_steps": steps, "batch": 2, "checkpoint_every": 1}}
    run["optimizer"] = {
        "schedule": "linear",
        "decay_fraction": 0.0,
    }  # the same at each step, however many
    extra = {"classify": {"mode": "full", "size": 64}, "instances": SMALL}.get(task, {})
    settings = SETTINGS[task].model_validate({**extra, **run})
    options = {"folder": folder, "resume": resume}
    if task == "classify":
        model = load_backbone("nano")
        return train_classifier(model, labeled(6), ("a", "b"), settings, **options)  # type: ignore[arg-type]
    targets = [pair(i) for i in range(4)]
    if task == "regions":
        return train_region_classifier(load_backbone("nano"), targets, settings, **options)  # type: ignore[arg-type]
    names = ("bright", "dark")
    return train_instance_segmenter(load_backbone("nano"), targets, names, settings, **options)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("task", ["classify", "regions", "instances"])
def test_an_interrupted_task_is_resumed_exactly(task: str, tmp_path: Path) -> None:
    whole = train_task(task, None, steps=4)
    train_task(task, tmp_path / "run", steps=2)
    assert (tmp_path / "run" / LAST).exists()
    with pytest.raises(RecipeError, match="already contains a run"):
        train_task(task, tmp_path / "run", steps=4)
    resumed = train_task(task, tmp_path / "run", steps=4, resume=True)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name


@pytest.mark.slow
@pytest.mark.parametrize("task", ["classify", "regions", "instances"])
def test_a_task_keeps_the_best_weights_and_stops_early(
    task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ultrasam.downstream.classification.task import ClassificationTask
    from ultrasam.downstream.instances.task import InstanceTask
    from ultrasam.downstream.regions.task import RegionTask

    kind = {"classify": ClassificationTask, "regions": RegionTask, "instances": InstanceTask}[task]
    seen: list[dict[str, torch.Tensor]] = []

    def validate(self, image, index):  # type: ignore[no-untyped-def]
        if index == 0:
            seen.append({k: v.clone() for k, v in self.model.state_dict().items()})
        return {self.monitor: [0.1, 0.9, 0.5, 0.4, 0.3][len(seen) - 1]}

    monkeypatch.setattr(kind, "validate", validate)
    run = {
        "trainer": {"max_steps": 20, "batch": 2},
        "validation": {"every": 1, "fraction": 0.3, "patience": 2},
    }
    extra = {"classify": {"mode": "full", "size": 64}, "instances": SMALL}.get(task, {})
    settings = SETTINGS[task].model_validate({**extra, **run})
    targets = [pair(i) for i in range(6)]
    model = load_backbone("nano")
    trained: nn.Module
    if task == "classify":
        trained = train_classifier(model, labeled(6), ("a", "b"), settings)  # type: ignore[arg-type]
    elif task == "regions":
        trained = train_region_classifier(model, targets, settings)  # type: ignore[arg-type]
    else:
        trained = train_instance_segmenter(model, targets, ("bright", "dark"), settings)  # type: ignore[arg-type]
    assert len(seen) == 4  # two validations without gain end it
    for name, tensor in trained.state_dict().items():
        assert torch.equal(seen[1][name], tensor), name


def test_the_encoder_learns_slower_and_norms_and_embeddings_have_no_weight_decay() -> None:
    net = nn.ModuleDict(
        {
            "encoder": nn.Linear(3, 3),
            "head": nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2), nn.Embedding(4, 2)),
        }
    )
    net["encoder"].bias.requires_grad_(False)
    settings = OptimizerSettings(lr=0.1, encoder_lr=0.5, weight_decay=0.01, decay_vectors=False)
    found = {
        (group["lr"], group["weight_decay"]): {tuple(p.shape) for p in group["params"]}
        for group in parameter_groups(net, settings, encoder="encoder.")
    }
    assert found == {
        (0.05, 0.01): {(3, 3)},
        (0.1, 0.01): {(2, 3)},
        (0.1, 0.0): {(2,), (4, 2)},
    }
    all_decayed = OptimizerSettings(lr=0.1, weight_decay=0.01, decay_vectors=True)
    everything = parameter_groups(net, all_decayed, encoder="encoder.")
    assert [g["weight_decay"] for g in everything] == [0.01]


def test_masks_move_with_their_objects() -> None:
    mask = np.zeros((2, 90, 120), bool)
    mask[0, 20:50, 15:45] = True
    mask[1, 40:80, 80:110] = True
    frame = (200 * mask.any(axis=0)).astype(np.uint8)
    rng = np.random.default_rng(0)
    moved = 0
    for _ in range(20):
        changed = Augmentation(rotation=10, scale=0.1)
        seen, masks = augment(rng, frame, mask, changed)
        drawn = masks.any(axis=0)
        assert (drawn == (seen > 90)).mean() > 0.98
        assert masks.shape == mask.shape
        moved += bool((drawn != mask.any(axis=0)).any())
    assert moved >= 18  # now and then all three changes are next to nothing
    same, kept = augment(rng, frame, mask, NO_AUGMENTATION)
    assert np.array_equal(same, frame)
    assert np.array_equal(kept, mask)


def test_all_splits_of_a_store_are_opened_but_the_excluded(tmp_path: Path) -> None:
    bus_bra(tmp_path / "raw", 12)
    make_store(tmp_path / "raw", tmp_path / "store")
    store = Store.open(tmp_path / "store")
    splits = store.images["split"].cast("string").to_pylist()
    assert {"train", "test"} <= set(splits)
    images = open_images([str(tmp_path / "store")])
    assert sorted(str(i.split) for i in images) == sorted(s for s in splits if s != "excluded")
    assert open_images([str(tmp_path / "store")], datasets=["busi"]) == []


def test_fine_tuning_on_a_store_is_tested_on_its_test_side(
    tmp_path: Path, ultrasam: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    bus_bra(tmp_path / "raw", 12)
    make_store(tmp_path / "raw", tmp_path / "store")
    splits = Store.open(tmp_path / "store").images["split"].cast("string").to_pylist()
    asked = [
        "--data",
        tmp_path / "store",
        "trainer.max_steps=1",
        "trainer.batch=1",
        "-o",
        tmp_path / "out",
    ]
    assert ultrasam("finetune", "regions", *asked) == 0
    assert f"on {splits.count('test')} images of other subjects" in capsys.readouterr().out


def test_a_subject_in_two_splits_is_refused_for_every_task() -> None:
    first, second = pair(0), pair(1)
    again = InstanceTarget.of(
        second.pixels, second.masks, second.labels, name="other", subject=first.subject
    )
    assert classes_of([first], [second]) == ["bright", "dark"]
    with pytest.raises(DataError, match="Subject 's0' is in both training and test data"):
        classes_of([first], [again])
