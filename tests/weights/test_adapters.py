"""Adaptations: what they train, and how they are saved and loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tests.conftest import TINY, randomized
from ultrasam.errors import CheckpointError
from ultrasam.model.config import CONFIGS
from ultrasam.model.preprocessing import TestTimeAugmentation
from ultrasam.model.prompt_encoder import PromptTensors
from ultrasam.model.ultrasam import UltraSam
from ultrasam.weights.adaptation import Adaptation, Kind
from ultrasam.weights.adapter_files import load_adaptation, save_adaptation
from ultrasam.weights.adapters import (
    adapt,
    count_parameters,
    layer_scales,
    merge,
)
from ultrasam.weights.hub import save_pretrained

PROMPT = PromptTensors(torch.tensor([[[20.0, 30.0], [90.0, 100.0]]]), torch.tensor([[2, 3]]))


def outcome(model: UltraSam) -> torch.Tensor:
    torch.manual_seed(1)
    with torch.no_grad():
        return model(torch.randn(1, 3, 128, 128), PROMPT).masks[:, :1]


def trained_a_little(model: UltraSam) -> None:
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize("kind", ["lora", "adapter"])
def test_a_fresh_adaptation_changes_nothing(kind: Kind) -> None:
    model = randomized(TINY)
    before = outcome(model)
    adapt(model, Adaptation(kind))
    assert torch.equal(outcome(model.eval()), before)


@pytest.mark.parametrize(
    ("kind", "in_encoder"),
    [
        ("full", 89_670_912),
        ("decoder", 0),
        ("lora", 12 * 16 * (768 + 3 * 768)),  # two factors a block
        ("adapter", 12 * 2 * (2 * 768 * 192 + 192 + 768)),  # two bottlenecks a block
    ],
)
def test_the_number_of_trained_parameters_of_a_vit_b_is_as_calculated(
    kind: Kind, in_encoder: int
) -> None:
    with torch.device("meta"):
        model = UltraSam(CONFIGS["vit-b"])
    adapt(model, Adaptation(kind))
    inside = [p for n, p in model.named_parameters() if n.startswith("image_encoder.")]
    assert sum(p.numel() for p in inside if p.requires_grad) == in_encoder
    trained, frozen = count_parameters(model)
    rest = 93_735_472 - 89_670_912  # SAM's ViT-B less its encoder
    assert trained == in_encoder + rest
    assert frozen == (0 if kind == "full" else 89_670_912)


def test_the_decoder_can_stay_frozen_too() -> None:
    model = UltraSam(CONFIGS["nano"])
    adapt(model, Adaptation("lora", decoder=False))
    trained, frozen = count_parameters(model)
    assert trained == 8 * 16 * (192 + 3 * 192)
    assert trained / (trained + frozen) < 0.05


@pytest.mark.parametrize("kind", ["lora", "adapter", "decoder"])
def test_only_trained_tensors_are_saved_in_a_small_file(kind: Kind, tmp_path: Path) -> None:
    model = randomized(TINY)
    adaptation = Adaptation(kind, rank=4)
    adapt(model, adaptation)
    trained_a_little(model)
    save_adaptation(model, adaptation, tmp_path / "a.safetensors", init="tiny")
    other = randomized(TINY)
    assert not torch.allclose(outcome(other), outcome(model.eval()))
    assert load_adaptation(other, tmp_path / "a.safetensors") == adaptation
    assert torch.equal(outcome(other.eval()), outcome(model))
    whole = sum(p.numel() for p in model.parameters()) * 4
    assert (tmp_path / "a.safetensors").stat().st_size < 0.9 * whole
    with pytest.raises(CheckpointError, match="was made for the model 'tiny'"):
        load_adaptation(UltraSam(CONFIGS["nano"]), tmp_path / "a.safetensors")
    (tmp_path / "b.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="is not an adapter file"):
        load_adaptation(randomized(TINY), tmp_path / "b.safetensors")


@pytest.mark.parametrize("kind", ["lora", "adapter", "decoder"])
def test_an_adaptation_fits_only_its_base_weights_in_any_precision(
    kind: Kind, tmp_path: Path
) -> None:
    model, file = randomized(TINY), tmp_path / "a.safetensors"
    adaptation = Adaptation(kind, rank=4)
    adapt(model, adaptation)
    trained_a_little(model)
    save_adaptation(model, adaptation, file, init="tiny")
    other = randomized(TINY)
    with torch.no_grad():
        other.image_encoder.pos_embed[0, 0, 0, 0] += 1
    before = outcome(other)
    with pytest.raises(CheckpointError, match="was made for other weights of the model 'tiny'"):
        load_adaptation(other, file)
    assert torch.equal(outcome(other), before)
    halved = randomized(TINY)
    halved.image_encoder.to(torch.bfloat16)
    assert load_adaptation(halved, file) == adaptation


def rewrite_note(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the JSON in an adapter file's metadata."""
    with safe_open(str(file), framework="pt") as opened:
        metadata = opened.metadata()
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    (key,) = set(metadata) - {"format"}
    note = json.loads(metadata[key])
    change(note)
    save_file(tensors, file, metadata={"format": "pt", key: json.dumps(note)})


def test_adapters_of_an_earlier_version_are_still_checked_against_their_base_weights(
    tmp_path: Path,
) -> None:
    """Earlier files called the hash of the base weights "frozen"; the first ones had none."""
    model, file = randomized(TINY), tmp_path / "a.safetensors"
    adaptation = Adaptation("lora", rank=4)
    adapt(model, adaptation)
    save_adaptation(model, adaptation, file, init="tiny")
    rewrite_note(file, lambda note: note.update(frozen=note.pop("base_weights_hash")))
    assert load_adaptation(randomized(TINY), file) == adaptation
    other = randomized(TINY)
    with torch.no_grad():
        other.image_encoder.pos_embed[0, 0, 0, 0] += 1
    with pytest.raises(CheckpointError, match="was made for other weights of the model 'tiny'"):
        load_adaptation(other, file)
    rewrite_note(file, lambda note: note.pop("frozen"))
    assert load_adaptation(other, file) == adaptation


def test_an_adaptation_of_an_earlier_version_keeps_its_preprocessing(tmp_path: Path) -> None:
    """Earlier files stored it in the model configuration."""
    model, file = randomized(TINY), tmp_path / "a.safetensors"
    adaptation = Adaptation("lora", rank=4)
    adapt(model, adaptation)
    save_adaptation(model, adaptation, file, init="tiny")

    def to_earlier(note: dict[str, Any]) -> None:
        del note["preprocessing"], note["tta"]
        config = json.loads(note["model"]) | {"zoom": 1.2, "pixel_mean": [1, 2, 3]}
        note["model"] = json.dumps(config)

    rewrite_note(file, to_earlier)
    other = randomized(TINY)
    assert load_adaptation(other, file) == adaptation
    assert other.tta == TestTimeAugmentation(zoom=1.2)
    assert other.preprocessor.mean == (1, 2, 3)


def test_low_rank_updates_merge_into_an_ordinary_model(tmp_path: Path) -> None:
    model = randomized(TINY)
    names = set(model.state_dict())
    adapt(model, Adaptation("lora", rank=4))
    trained_a_little(model)
    before = outcome(model.eval())
    merge(model)
    assert set(model.state_dict()) == names
    assert torch.allclose(outcome(model), before, atol=1e-4)
    bottlenecks = randomized(TINY)
    adapt(bottlenecks, Adaptation("adapter"))
    with pytest.raises(CheckpointError, match="cannot be merged"):
        merge(bottlenecks)
    with pytest.raises(CheckpointError, match="cannot be saved as a complete model"):
        save_pretrained(bottlenecks, tmp_path)


def test_learning_rates_fall_towards_the_input() -> None:
    scales = layer_scales(randomized(TINY), "image_encoder.", 0.5)
    assert scales["mask_decoder.iou_token.weight"] == 1
    assert scales["image_encoder.neck.0.weight"] == 1
    assert scales["image_encoder.blocks.2.norm1.weight"] == 0.5
    assert scales["image_encoder.blocks.0.norm1.weight"] == 0.125
    assert scales["image_encoder.pos_embed"] == 0.0625


def test_adapters_that_diverged_or_are_incomplete_are_refused(tmp_path: Path) -> None:
    adapted = randomized(TINY)
    adaptation = Adaptation("lora", rank=2)
    adapt(adapted, adaptation)
    path = tmp_path / "adaptation.safetensors"
    save_adaptation(adapted, adaptation, path, init="random:nano")
    load_adaptation(randomized(TINY), path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    first = next(name for name in tensors if "lora" in name)
    for changed, message in (
        ({n: t for n, t in tensors.items() if n != first}, "lacks 1 of the"),
        ({**tensors, first: tensors[first] * torch.nan}, f"NaN or infinite values in {first}"),
    ):
        save_file(changed, path, metadata=metadata)
        with pytest.raises(CheckpointError, match=message):
            load_adaptation(randomized(TINY), path)
