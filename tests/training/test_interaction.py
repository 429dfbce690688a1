"""Rounds of clicks, the order of candidates, and prompts where nothing is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.model.test_model import TINY
from ultrasam.model.prompt_encoder import PromptTensors
from ultrasam.model.ultrasam import UltraSam
from ultrasam.training.interaction import RoundResult, _ranking_loss, interact
from ultrasam.training.recipe import Interaction, MaskLosses

RATED = replace(TINY, stem="conv", high_res_features=True, prompt_maps=True, mask_quality=True)
SIDE = RATED.image_size
TWO = Interaction(rounds=2, corrective=1.0)


def model() -> UltraSam:
    torch.manual_seed(0)
    return UltraSam(RATED)


def rounds(
    network: UltraSam,
    losses: MaskLosses,
    *,
    interaction: Interaction = TWO,
    present: Tensor | None = None,
    seeds: Tensor | None = None,
) -> list[RoundResult]:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(2, 3, SIDE, SIDE, generator=generator)
    coords = torch.rand(3, 2, 2, generator=generator) * SIDE
    labels = torch.tensor([[1, -1], [2, 3], [1, -1]])
    targets = torch.zeros(3, 1, RATED.mask_size, RATED.mask_size)
    targets[..., 2:6, 2:7] = 1
    return interact(
        network, network.encode(pixels), PromptTensors(coords, labels), targets,
        image_index=torch.tensor([0, 1, 1]), interaction=interaction, losses=losses,
        seeds=torch.arange(3) if seeds is None else seeds, present=present,
    )  # fmt: skip


def test_without_an_object_only_the_score_is_trained() -> None:
    network = model()
    found = rounds(network, MaskLosses(present=0.5), present=torch.zeros(3, dtype=torch.bool))
    torch.stack([r.loss for r in found]).sum().backward()
    quality = network.mask_decoder.mask_quality
    assert quality is not None
    assert float(quality.out.bias.grad[1]) > 0  # type: ignore[index]  # towards no object
    assert float(quality.out.bias.grad[0]) == 0  # type: ignore[index]
    for mlp in network.mask_decoder.output_hypernetworks_mlps:
        assert all(p.grad is None or not p.grad.any() for p in mlp.parameters())


def test_the_loss_of_an_absent_object_is_the_cross_entropy_of_its_score() -> None:
    network = model()
    found = rounds(network, MaskLosses(present=2.0), present=torch.tensor([False, False, True]))
    logits = found[0].output.object_logits
    assert logits is not None
    expected = 2 * torch.log1p(logits.exp()).mean(dim=1)  # -log(1 - sigmoid)
    torch.testing.assert_close(found[0].loss[:2], expected[:2])
    assert found[0].loss[2] > expected[2]


def test_absent_prompts_change_no_loss_of_the_others() -> None:
    network = model()
    all_there = rounds(network, MaskLosses(present=0.5))
    one_absent = rounds(network, MaskLosses(present=0.5), present=torch.tensor([True, False, True]))
    for a, b in zip(all_there, one_absent, strict=True):
        assert torch.equal(a.loss[[0, 2]], b.loss[[0, 2]])
        assert not torch.equal(a.loss[1], b.loss[1])


def test_a_batch_has_a_random_number_of_rounds_that_weigh_as_much() -> None:
    network, more = model(), Interaction(rounds=2, max_rounds=5, corrective=1.0)
    counts = {
        seed: rounds(network, MaskLosses(), interaction=more, seeds=torch.arange(3) + seed)
        for seed in range(8)
    }
    assert {len(found) for found in counts.values()} == {2, 3, 4, 5}
    two, five = counts[0], counts[3]
    assert (len(two), len(five)) == (2, 5)
    torch.testing.assert_close(five[0].loss, two[0].loss * 2 / 5)


def test_the_ranking_loss_is_least_for_the_true_order() -> None:
    true = torch.tensor([[0.9, 0.5, 0.1]])
    orders = torch.tensor([[0.9, 0.5, 0.1], [0.9, 0.1, 0.5], [0.5, 0.9, 0.1], [0.1, 0.5, 0.9]])
    losses = [float(_ranking_loss(order[None], true)) for order in orders]
    assert losses[0] == min(losses)
    assert losses[3] == max(losses)
    assert losses[1] < losses[2]  # which is best matters most


def test_masks_that_are_equally_good_need_no_order() -> None:
    true = torch.tensor([[0.6, 0.6, 0.6]])
    best = _ranking_loss(torch.tensor([[0.3, 0.3, 0.3]]), true)
    assert float(best) == pytest.approx(1.0986, abs=1e-3)  # log 3
    assert float(_ranking_loss(torch.tensor([[0.5, 0.3, 0.3]]), true)) > float(best)
