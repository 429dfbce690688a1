"""What all fine-tunings share: batches in parts, groups of parameters, changes of images, sides of data."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.downstream.spots import bus_bra, pair
from tests.store.test_store import make_store
from ultrasam.downstream.annotated import Annotated, classes_of
from ultrasam.downstream.backbone import load_backbone
from ultrasam.downstream.fitting import Settings, fit
from ultrasam.downstream.labelled import Labelled
from ultrasam.downstream.training import Schedule, changed, parameter_groups, parts, train
from ultrasam.errors import DataError
from ultrasam.evaluation.sources import open_collections, read_all
from ultrasam.store.store import Store


def test_parts_cover_a_batch_once() -> None:
    for count, at_once in ((7, 3), (7, None), (4, 4), (2, 5)):
        rows = list(range(count))
        assert [i for part in parts(count, at_once) for i in rows[part]] == rows
    assert [len(range(7)[part]) for part in parts(7, 3)] == [3, 3, 1]


def test_a_batch_in_parts_or_with_blocks_computed_twice_teaches_the_same() -> None:
    frames = [pair(i).pixels for i in range(6)]
    items = [
        Labelled(str(i), "ab"[i % 2], str(i), partial(np.array, f)) for i, f in enumerate(frames)
    ]

    def weights(**settings: object) -> list[torch.Tensor]:
        chosen = Settings.model_validate(
            {"mode": "full", "size": 64, "steps": 2, "batch": 5, **settings}
        )
        return list(fit(load_backbone("nano"), items, ("a", "b"), chosen).parameters())

    whole = weights()
    for other in (weights(at_once=2), weights(checkpointing=True)):
        assert all(torch.allclose(a, b, atol=2e-5) for a, b in zip(whole, other, strict=True))
    assert not all(
        torch.allclose(a, b, atol=2e-5) for a, b in zip(whole, weights(seed=1), strict=True)
    )


def test_the_encoder_is_slower_and_norms_and_embeddings_may_be_spared() -> None:
    net = nn.ModuleDict(
        {
            "encoder": nn.Linear(3, 3),
            "head": nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2), nn.Embedding(4, 2)),
        }
    )
    net["encoder"].bias.requires_grad_(False)
    schedule = Schedule(lr=0.1, encoder_lr=0.5, weight_decay=0.01, decay_all=False)
    found = {
        (group["lr"], group["weight_decay"]): {tuple(p.shape) for p in group["params"]}  # type: ignore[attr-defined]
        for group in parameter_groups(net, schedule, encoder="encoder.")
    }
    assert found == {
        (0.05, 0.01): {(3, 3)},
        (0.1, 0.01): {(2, 3)},
        (0.1, 0.0): {(2,), (4, 2)},
    }
    everything = parameter_groups(
        net, Schedule(lr=0.1, encoder_lr=1, weight_decay=0.01), encoder="encoder."
    )
    assert [g["weight_decay"] for g in everything] == [0.01]


def test_the_learning_rate_warms_up_and_falls_at_its_milestones() -> None:
    net = nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(net.weight)
    places = [0.0]

    def losses(_step: int):  # type: ignore[no-untyped-def]
        yield -net.weight.sum()

    def say(_step: int, _loss: float) -> None:
        places.append(float(net.weight.detach()))

    schedule = Schedule(
        steps=20, lr=0.1, warmup=4, milestones=(0.5, 0.75), weight_decay=0, clip=1e9
    )
    train(net, schedule, losses, encoder="encoder.", say=say)
    # Adam's steps under a gradient that never changes are the learning rate.
    rates = np.diff(places) / 0.1
    assert np.allclose(rates[:4], [0.25, 0.5, 0.75, 1], atol=1e-3)
    assert np.allclose(rates[4:10], 1, atol=1e-3)
    assert np.allclose(rates[10:15], 0.1, atol=1e-3)
    assert np.allclose(rates[15:], 0.01, atol=1e-3)


def test_masks_go_where_their_objects_go() -> None:
    mask = np.zeros((2, 90, 120), bool)
    mask[0, 20:50, 15:45] = True
    mask[1, 40:80, 80:110] = True
    frame = (200 * mask.any(axis=0)).astype(np.uint8)
    rng = np.random.default_rng(0)
    moved = 0
    for _ in range(20):
        seen, masks = changed(rng, frame, mask, Schedule())
        drawn = masks.any(axis=0)
        assert (drawn == (seen > 90)).mean() > 0.98
        assert masks.shape == mask.shape
        moved += bool((drawn != mask.any(axis=0)).any())
    assert moved == 20
    same, kept = changed(rng, frame, mask, Schedule(flip=0, shift=0))
    assert np.array_equal(same, frame)
    assert np.array_equal(kept, mask)


def test_of_a_store_with_a_test_side_both_sides_can_be_had(tmp_path: Path) -> None:
    bus_bra(tmp_path / "raw", 12)
    make_store(tmp_path / "raw", tmp_path / "store")
    store = Store.open(tmp_path / "store")
    sides = store.images["split"].cast("string").to_pylist()
    assert {"train", "test"} <= set(sides)
    path = [str(tmp_path / "store")]
    alone, _ = read_all(open_collections(path))
    assert [s.split for s in alone] == ["test"] * sides.count("test")
    every, _ = read_all(open_collections(path, split="all"))
    assert sorted(str(s.split) for s in every) == sorted(s for s in sides if s != "excluded")


@pytest.mark.slow
def test_fine_tuning_on_a_store_is_tested_on_its_test_side(
    tmp_path: Path, ultrasam: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    bus_bra(tmp_path / "raw", 12)
    make_store(tmp_path / "raw", tmp_path / "store")
    sides = Store.open(tmp_path / "store").images["split"].cast("string").to_pylist()
    asked = ["--data", tmp_path / "store", "steps=1", "batch=1", "-o", tmp_path / "out"]
    assert ultrasam("finetune", "prompted", *asked) == 0
    assert f"on {sides.count('test')} images of other subjects" in capsys.readouterr().out


def test_a_subject_on_two_sides_is_refused_whatever_the_task() -> None:
    first, second = pair(0), pair(1)
    again = Annotated(second.pixels, second.masks, second.labels, "other", first.subject)
    assert classes_of([first], [second]) == ["bright", "dark"]
    with pytest.raises(DataError, match="Subject 's0' and 0 more stand on both sides"):
        classes_of([first], [again])
