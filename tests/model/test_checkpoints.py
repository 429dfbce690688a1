"""Weights through every naming and back, and files that are not to be trusted."""

from __future__ import annotations

import collections
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.conftest import TINY, randomised
from ultrasam.errors import CheckpointError
from ultrasam.model.checkpoints import load_state, read_checkpoint, write_checkpoint
from ultrasam.model.config import CONFIGS, ModelConfig
from ultrasam.model.naming import Naming, from_ours, recognise, to_ours
from ultrasam.model.ultrasam import UltraSam

State = dict[str, torch.Tensor]


def assert_equal(a: State, b: State) -> None:
    assert set(a) == set(b)
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("naming", ["meta", "transformers", "mmdet"])
def test_weights_pass_through_a_naming_and_back(tiny: UltraSam, naming: Naming) -> None:
    state = tiny.state_dict()
    theirs = from_ours(state, naming)
    assert recognise(list(theirs)) == naming
    assert_equal(to_ours(theirs, naming), state)


def test_the_published_names_are_those_of_the_published_checkpoint(tiny: UltraSam) -> None:
    names = from_ours(tiny.state_dict(), "mmdet")
    for name in (
        "backbone.patch_embed.projection.weight",
        "backbone.layers.0.ln1.weight",
        "backbone.layers.2.ffn.layers.0.0.weight",
        "backbone.layers.2.ffn.layers.1.bias",
        "backbone.layers.1.attn.rel_pos_h",
        "backbone.channel_reduction.3.bias",
        "backbone.pos_embed",
        "decoder.layers.0.self_attn.attn.q_proj_weight",
        "decoder.layers.1.cross_attn_image_to_token.attn.in_proj_bias",
        "decoder.layers.1.cross_attn_token_to_image.attn.out_proj.weight",
        "decoder.layers.0.mlp.layers.0.0.weight",
        "decoder.layers.0.norm4.weight",
        "decoder.final_attn_token_to_image.attn.k_proj_weight",
        "decoder.post_norm.weight",
        "bbox_head.output_upscaling.0.weight",
        "bbox_head.output_hypernetworks_mlps.3.layers.2.bias",
        "bbox_head.iou_prediction_head.layers.0.weight",
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
        "prompt_encoder.mask_downscaling.6.weight",
    ):
        assert name in names, name
    table = names["prompt_encoder.label_encoder.label_embedding.weight"]
    assert table.shape == (11, TINY.decoder_width)
    state = tiny.state_dict()
    assert torch.equal(table[0], state["prompt_encoder.no_mask_embed.weight"][0])
    assert torch.equal(table[2], state["prompt_encoder.point_embeddings.1.weight"][0])
    assert torch.equal(table[5], state["prompt_encoder.not_a_point_embed.weight"][0])
    assert torch.equal(table[6:10], state["mask_decoder.mask_tokens.weight"])
    assert torch.equal(table[10], state["mask_decoder.iou_token.weight"][0])


@pytest.mark.parametrize("nest", [None, "model", "state_dict"])
@pytest.mark.parametrize("naming", ["meta", "transformers", "mmdet"])
def test_files_of_every_naming_are_recognised(
    tmp_path: Path, tiny: UltraSam, naming: Naming, nest: str | None
) -> None:
    theirs: object = from_ours(tiny.state_dict(), naming)
    path = tmp_path / "weights.pth"
    torch.save({nest: theirs, "epoch": 3} if nest else theirs, path)
    config, state = read_checkpoint(path)
    assert config.width == TINY.width
    assert (config.window, config.global_blocks) == (TINY.window, TINY.global_blocks)
    assert_equal(state, tiny.state_dict())
    save_file(
        {k: v.contiguous() for k, v in from_ours(tiny.state_dict(), naming).items()},
        tmp_path / "w.safetensors",
    )
    assert_equal(read_checkpoint(tmp_path / "w.safetensors")[1], tiny.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("naming", ["meta", "transformers", "mmdet"])
def test_a_vit_b_of_every_naming_is_the_base_configuration(tmp_path: Path, naming: Naming) -> None:
    model = randomised(CONFIGS["base"])
    torch.save({"state_dict": from_ours(model.state_dict(), naming)}, tmp_path / "w.pth")
    loaded = UltraSam.from_pretrained(tmp_path / "w.pth")
    assert loaded.config == CONFIGS["base"]
    assert_equal(loaded.state_dict(), model.state_dict())


class _Log:
    """Stands for the message hub and NumPy values of a training framework's checkpoint."""

    def __init__(self) -> None:
        self.lines = collections.deque([1, 2, 3])
        self.levels = {3, 4}


def test_objects_beside_the_weights_are_made_inert(tmp_path: Path, tiny: UltraSam) -> None:
    content = {
        "meta": {"time": "now", "where": Path("somewhere")},
        "message_hub": _Log(),
        "state_dict": collections.OrderedDict(from_ours(tiny.state_dict(), "mmdet")),
    }
    path = tmp_path / "ultrasam.pth"
    torch.save(content, path)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    assert_equal(read_checkpoint(path)[1], tiny.state_dict())


class _Attack:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickles_code_never_runs(tmp_path: Path, tiny: UltraSam, legacy: bool) -> None:
    canary = tmp_path / "ran"
    content = {"evil": _Attack(canary), "state_dict": tiny.state_dict()}
    path = tmp_path / "evil.pth"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    try:
        assert_equal(read_checkpoint(path)[1], tiny.state_dict())
    except CheckpointError:
        assert legacy
    assert not canary.exists()
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(_Attack(canary)))
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path / "plain.pkl")
    assert not canary.exists()


@pytest.mark.parametrize("config", [TINY, CONFIGS["nano"]])
def test_our_own_format_keeps_configuration_and_weights(
    tmp_path: Path, config: ModelConfig
) -> None:
    model = randomised(config)
    model.save_pretrained(tmp_path / "m")
    again = UltraSam.from_pretrained(tmp_path / "m")
    assert again.config == config
    assert_equal(again.state_dict(), model.state_dict())
    assert "UltraSam" in (tmp_path / "m" / "README.md").read_text()


def test_half_precision_files_load_in_single(tmp_path: Path, tiny: UltraSam) -> None:
    write_checkpoint(tiny, TINY, tmp_path / "m.safetensors", dtype=torch.float16)
    again = UltraSam.from_pretrained(tmp_path / "m.safetensors")
    assert all(p.dtype == torch.float32 for p in again.parameters())
    name = "image_encoder.pos_embed"
    assert torch.allclose(again.state_dict()[name], tiny.state_dict()[name], atol=1e-3)


def test_a_wrong_file_says_which_tensors_are_wrong(tiny: UltraSam) -> None:
    state = dict(tiny.state_dict())
    del state["mask_decoder.iou_token.weight"]
    state["mask_decoder.extra"] = torch.zeros(1)
    state["image_encoder.pos_embed"] = torch.zeros(1, 2, 3, 4)
    with pytest.raises(CheckpointError) as caught:
        load_state(UltraSam(TINY), state, source="w.pth")
    text = str(caught.value)
    assert "1 missing (mask_decoder.iou_token.weight)" in text
    assert "1 unexpected (mask_decoder.extra)" in text
    assert "image_encoder.pos_embed (1, 2, 3, 4), not (1, 8, 8, 48)" in text


def test_weights_trained_without_refinement_load_with_a_warning(
    tmp_path: Path, tiny: UltraSam
) -> None:
    state = {k: v for k, v in tiny.state_dict().items() if "mask_downscaling" not in k}
    torch.save(state, tmp_path / "w.pth")
    with pytest.warns(UserWarning, match="without refinement"):
        UltraSam.from_pretrained(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"PK\x03\x04 not really a zip", "not a checkpoint"),
        (b'\x10\0\0\0\0\0\0\0{"a":', "damaged"),
        (b"hello, this is text", "not a checkpoint"),
    ],
)
def test_damaged_files_give_one_clear_sentence(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_another_projects_model_is_refused(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(1), "fc.bias": torch.zeros(1)}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="no Segment-Anything model"):
        read_checkpoint(tmp_path / "w.pth")


def test_an_unknown_name_says_what_is_known() -> None:
    with pytest.raises(CheckpointError, match="nano, base"):
        UltraSam.from_pretrained("nonsense")


def test_a_configuration_from_the_future_is_refused() -> None:
    with pytest.raises(CheckpointError, match="unknown keys"):
        ModelConfig.from_json('{"name": "x", "telepathy": true}')
    with pytest.raises(CheckpointError, match="not valid JSON"):
        ModelConfig.from_json("{")
    with pytest.raises(CheckpointError, match="multiple"):
        ModelConfig.from_json('{"image_size": 100}')
