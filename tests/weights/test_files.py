"""Checkpoints in every format, and files that cannot be trusted."""

from __future__ import annotations

import collections
import json
import os
import pickle
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.conftest import TINY, randomized
from ultrasam.errors import CheckpointError, ConfigError, UltraSamWarning
from ultrasam.model.config import CONFIGS, ModelConfig
from ultrasam.model.preprocessing import TestTimeAugmentation
from ultrasam.model.ultrasam import UltraSam
from ultrasam.weights.files import build_model, load_state, read_checkpoint, write_checkpoint
from ultrasam.weights.formats import Format, from_our_keys, to_our_keys
from ultrasam.weights.hub import save_pretrained
from ultrasam.weights.load import load_model
from ultrasam.weights.registry import PREPROCESSING
from ultrasam.weights.search import find_model

State = dict[str, torch.Tensor]


def assert_equal(a: State, b: State) -> None:
    assert set(a) == set(b)
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("naming", ["meta", "transformers", "mmdet"])
def test_weights_convert_to_a_format_and_back(tiny: UltraSam, naming: Format) -> None:
    state = tiny.state_dict()
    theirs = from_our_keys(state, naming)
    found = find_model(theirs)
    assert found is not None
    assert found.format == naming
    assert_equal(found.state, state)
    assert_equal(to_our_keys(theirs, naming), state)


def test_the_published_names_are_those_of_the_published_checkpoint(tiny: UltraSam) -> None:
    names = from_our_keys(tiny.state_dict(), "mmdet")
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
def test_files_in_every_format_are_recognized(
    tmp_path: Path, tiny: UltraSam, naming: Format, nest: str | None
) -> None:
    theirs: object = from_our_keys(tiny.state_dict(), naming)
    path = tmp_path / "weights.pth"
    torch.save({nest: theirs, "epoch": 3} if nest else theirs, path)
    found = read_checkpoint(path)
    assert found.config.width == TINY.width
    assert (found.config.window, found.config.global_blocks) == (TINY.window, TINY.global_blocks)
    assert_equal(found.state, tiny.state_dict())
    save_file(
        {k: v.contiguous() for k, v in from_our_keys(tiny.state_dict(), naming).items()},
        tmp_path / "w.safetensors",
    )
    assert_equal(read_checkpoint(tmp_path / "w.safetensors").state, tiny.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("naming", ["meta", "transformers", "mmdet"])
def test_a_vit_b_in_every_format_has_the_base_configuration(tmp_path: Path, naming: Format) -> None:
    model = randomized(CONFIGS["vit-b"])
    torch.save({"state_dict": from_our_keys(model.state_dict(), naming)}, tmp_path / "w.pth")
    loaded = load_model(tmp_path / "w.pth", device="cpu")
    assert loaded.config == CONFIGS["vit-b"]
    assert_equal(loaded.state_dict(), model.state_dict())


class _Log:
    """Stands for the objects that a training framework puts into a checkpoint."""

    def __init__(self) -> None:
        self.lines = collections.deque([1, 2, 3])
        self.levels = {3, 4}


def test_other_objects_in_a_checkpoint_are_made_inert(tmp_path: Path, tiny: UltraSam) -> None:
    content = {
        "meta": {"time": "now", "where": Path("somewhere")},
        "message_hub": _Log(),
        "state_dict": collections.OrderedDict(from_our_keys(tiny.state_dict(), "mmdet")),
    }
    path = tmp_path / "ultrasam.pth"
    torch.save(content, path)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    assert_equal(read_checkpoint(path).state, tiny.state_dict())


class _Attack:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_pickle_never_runs(tmp_path: Path, tiny: UltraSam, legacy: bool) -> None:
    canary = tmp_path / "ran"
    content = {"evil": _Attack(canary), "state_dict": tiny.state_dict()}
    path = tmp_path / "evil.pth"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    try:
        assert_equal(read_checkpoint(path).state, tiny.state_dict())
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
    model = randomized(config)
    save_pretrained(model, tmp_path / "m")
    again = load_model(tmp_path / "m", device="cpu")
    assert again.config == config
    assert_equal(again.state_dict(), model.state_dict())
    assert "UltraSam" in (tmp_path / "m" / "README.md").read_text()


def test_half_precision_files_load_in_single(tmp_path: Path, tiny: UltraSam) -> None:
    write_checkpoint(tiny, tmp_path / "m.safetensors", dtype=torch.float16)
    again = load_model(tmp_path / "m.safetensors", device="cpu")
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
    assert "1 tensor missing (mask_decoder.iou_token.weight)" in text
    assert "1 tensor unexpected (mask_decoder.extra)" in text
    assert "image_encoder.pos_embed (1, 2, 3, 4), not (1, 8, 8, 48)" in text


def test_weights_trained_without_refinement_load_with_a_warning(
    tmp_path: Path, tiny: UltraSam
) -> None:
    state = {k: v for k, v in tiny.state_dict().items() if "mask_downscaling" not in k}
    torch.save(state, tmp_path / "w.pth")
    with pytest.warns(UltraSamWarning, match="without refinement"):
        model = load_model(tmp_path / "w.pth", device="cpu")
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"PK\x03\x04 not really a zip", "not a checkpoint"),
        (b'\x10\0\0\0\0\0\0\0{"a":', "damaged"),
        (b"hello, this is text", "a text file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"<!DOCTYPE html><html><body>Please log in</body></html>", "a web page"),
        (b"\xff\xfe\x00\x01", "not a checkpoint"),
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


def test_an_unknown_name_lists_the_known_names() -> None:
    with pytest.raises(CheckpointError, match="nano, ultrasam"):
        load_model("nonsense")


def test_a_configuration_from_the_future_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown keys"):
        ModelConfig.from_json('{"name": "x", "telepathy": true}')
    with pytest.raises(ConfigError, match="not valid JSON"):
        ModelConfig.from_json("{")
    with pytest.raises(ConfigError, match="multiple"):
        ModelConfig.from_json('{"image_size": 100}')


def loads(content: object, folder: Path, model: UltraSam) -> None:
    """A pickled file of this content holds the model's weights."""
    path = folder / "w.pth"
    torch.save(content, path)
    assert_equal(load_model(path, device="cpu").state_dict(), model.state_dict())


@pytest.mark.parametrize(
    "nest", ["model_state_dict", "model_state", "network_weights", "net", "ema"]
)
def test_weights_are_found_where_trainers_nest_them(
    tmp_path: Path, tiny: UltraSam, nest: str
) -> None:
    state = tiny.state_dict()
    loads({nest: state, "epoch": 1, "loss": torch.tensor(0.3)}, tmp_path, tiny)
    loads({"best_dice": torch.tensor(0.9), "outer": {nest: state}}, tmp_path, tiny)
    optimiser = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-4}]}
    loads({"optimizer": optimiser, nest: state}, tmp_path, tiny)


def test_the_model_is_preferred_to_an_average_of_it(tmp_path: Path, tiny: UltraSam) -> None:
    state = tiny.state_dict()
    average = {name: tensor + 1 for name, tensor in state.items()}
    nested = {"ema": average, "model": state}
    both = {f"ema_model.{n}": t for n, t in average.items()} | {
        f"model.{n}": t for n, t in state.items()
    }
    shorter = {f"ema.{n}": t for n, t in average.items()} | {
        f"model.{n}": t for n, t in state.items()
    }
    for content in (nested, both, shorter):
        with pytest.warns(UltraSamWarning, match="several models; the one under 'model' is loaded"):
            loads(content, tmp_path, tiny)


def test_arrays_are_weights_too(tmp_path: Path, tiny: UltraSam) -> None:
    loads({name: tensor.numpy() for name, tensor in tiny.state_dict().items()}, tmp_path, tiny)


@pytest.mark.parametrize(
    "prefix",
    [
        "module.",
        "model.",
        "_orig_mod.",
        "module._orig_mod.",
        "sam_model.",
        "base_model.model.",
        "x.y.",
    ],
)
@pytest.mark.parametrize("naming", ["meta", "transformers", "mmdet"])
def test_prefixes_of_wrappers_are_stripped(
    tmp_path: Path, tiny: UltraSam, naming: Format, prefix: str
) -> None:
    theirs = from_our_keys(tiny.state_dict(), naming)
    loads({prefix + name: tensor for name, tensor in theirs.items()}, tmp_path, tiny)


def test_a_compiled_encoder_alone_is_read(tmp_path: Path, tiny: UltraSam) -> None:
    names = tiny.state_dict().items()
    loads({n.replace("encoder.b", "encoder._orig_mod.b"): t for n, t in names}, tmp_path, tiny)


def test_extra_tensors_are_named_and_ignored_but_not_inside_the_model(
    tmp_path: Path, tiny: UltraSam
) -> None:
    state = tiny.state_dict()
    with pytest.warns(UltraSamWarning, match=r"ignored 2 tensors .*\(head.weight, loss_fn.w\)"):
        loads({**state, "loss_fn.w": torch.ones(1), "head.weight": torch.ones(2)}, tmp_path, tiny)
    inside = {**state, "image_encoder.blocks.0.adapter.weight": torch.ones(1)}
    torch.save(inside, tmp_path / "w.pth")
    with pytest.raises(
        CheckpointError, match=r"1 tensor unexpected \(image_encoder.blocks.0.adapter"
    ):
        load_model(tmp_path / "w.pth", device="cpu")


def test_a_checkpoints_own_mean_and_deviation_are_used(tmp_path: Path, tiny: UltraSam) -> None:
    state = tiny.state_dict()
    sam = {"pixel_mean": torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1),
           "pixel_std": torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)}  # fmt: skip
    torch.save({**state, **sam}, tmp_path / "sam.pth")
    model = load_model(tmp_path / "sam.pth", device="cpu")
    assert model.preprocessor == replace(PREPROCESSING["sam"], size=128)
    other = {"pixel_mean": torch.zeros(3, 1, 1), "pixel_std": torch.ones(3, 1, 1)}
    torch.save({**state, **other}, tmp_path / "other.pth")
    with pytest.warns(UltraSamWarning, match="Normalizing pixels by the mean"):
        model = load_model(tmp_path / "other.pth", device="cpu")
    assert (model.preprocessor.mean, model.preprocessor.std) == ((0, 0, 0), (1, 1, 1))


def save_shards(folder: Path, state: State, suffix: str) -> Path:
    folder.mkdir()
    names = sorted(state)
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    placed = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"{stem}-0000{number}-of-00002.{suffix}"
        tensors = {name: state[name].contiguous() for name in part}
        if suffix == "safetensors":
            save_file(tensors, folder / file)
        else:
            torch.save(tensors, folder / file)
        placed |= dict.fromkeys(part, file)
    index = folder / f"{stem}.{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": placed}))
    return index


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_folders_and_shards_load(tmp_path: Path, tiny: UltraSam, suffix: str) -> None:
    state = tiny.state_dict()
    index = save_shards(tmp_path / "shards", state, suffix)
    for path in (tmp_path / "shards", index):
        assert_equal(load_model(path, device="cpu").state_dict(), state)
    next((tmp_path / "shards").glob("*00002-of*")).unlink()
    with pytest.raises(CheckpointError, match=r"lists the shard .*00002-of-00002"):
        load_model(tmp_path / "shards", device="cpu")


def test_a_folder_means_the_file_of_weights_in_it(tmp_path: Path, tiny: UltraSam) -> None:
    state = tiny.state_dict()
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(CheckpointError, match="holds no weights"):
        load_model(folder, device="cpu")
    torch.save(state, folder / "pytorch_model.bin")
    assert_equal(load_model(folder, device="cpu").state_dict(), state)
    (folder / "pytorch_model.bin").rename(folder / "epoch_3.pth")
    assert_equal(load_model(folder, device="cpu").state_dict(), state)
    torch.save(state, folder / "epoch_4.pth")
    with pytest.raises(
        CheckpointError, match=r"several weights files \(epoch_3.pth, epoch_4.pth\)"
    ):
        load_model(folder, device="cpu")
    (tmp_path / "peft").mkdir()
    (tmp_path / "peft" / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="PEFT adapter"):
        load_model(tmp_path / "peft", device="cpu")
    save_pretrained(tiny, tmp_path / "run" / "model")
    assert_equal(load_model(tmp_path / "run", device="cpu").state_dict(), state)


def test_preprocessing_and_augmentation_are_saved_with_the_weights(tmp_path: Path) -> None:
    model = UltraSam(
        TINY, preprocessor=PREPROCESSING["medsam"], tta=TestTimeAugmentation(zoom=2.0, flip=True)
    )
    save_pretrained(model, tmp_path / "m")
    again = load_model(tmp_path / "m", device="cpu")
    assert again.preprocessor == replace(PREPROCESSING["medsam"], size=128)
    assert again.tta == model.tta
    other = load_model(f"{tmp_path / 'm'}+preprocessing=sam", device="cpu")
    assert other.preprocessor == replace(PREPROCESSING["sam"], size=128)


@pytest.mark.parametrize(
    ("naming", "file", "preprocessing"),
    [
        ("meta", "sam_vit_b.pth", "sam"),
        ("transformers", "w.bin", "sam"),
        ("mmdet", "UltraSam.pth", "ultrasam"),
        ("meta", "medsam_vit_b.pth", "medsam"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*taken for MedSAM")
def test_preprocessing_follows_from_the_file(
    tmp_path: Path, tiny: UltraSam, naming: Format, file: str, preprocessing: str
) -> None:
    torch.save(from_our_keys(tiny.state_dict(), naming), tmp_path / file)
    recognized = pytest.warns(UltraSamWarning) if "medsam" in file else nullcontext()
    with recognized:
        model = load_model(tmp_path / file, device="cpu")
    assert model.preprocessor == replace(PREPROCESSING[preprocessing], size=128)


def test_medsam_is_recognized_by_its_name_with_a_warning(tmp_path: Path, tiny: UltraSam) -> None:
    torch.save(tiny.state_dict(), tmp_path / "MedSAM.pth")
    with pytest.warns(UltraSamWarning, match="loaded as MedSAM because of its name"):
        load_model(tmp_path / "MedSAM.pth", device="cpu")


def test_weights_of_an_earlier_version_load_with_their_settings(tmp_path: Path) -> None:
    """Earlier files stored preprocessing and views in the configuration, under other names."""
    model = randomized(CONFIGS["nano"])
    earlier = json.loads(model.config.to_json())
    for now, then in (("high_res_features", "fine_features"), ("prompt_maps", "drawn_prompts")):
        earlier[then] = earlier.pop(now)
    earlier |= {"zoom": 1.4, "mirror": True, "pixel_mean": [1, 2, 3], "pixel_std": [4, 5, 6]}
    names = {"conv_s0": "fine_stride4", "conv_s1": "fine_stride8", "conv_maps": "fine_maps"}
    state = {}
    for name, tensor in model.state_dict().items():
        for now, then in names.items():
            name = name.replace(now, then)
        state[name] = tensor.contiguous()
    save_file(
        state, tmp_path / "old.safetensors", metadata={"ultrasam_config": json.dumps(earlier)}
    )
    again = load_model(tmp_path / "old.safetensors", device="cpu")
    assert_equal(again.state_dict(), model.state_dict())
    assert again.tta == TestTimeAugmentation(1.4, True)
    assert (again.preprocessor.mean, again.preprocessor.std) == ((1, 2, 3), (4, 5, 6))
    assert again.preprocessor.resample == "area"


@pytest.mark.parametrize(
    "metadata",
    [
        {"ultrasam_preprocessing": "{"},
        {"ultrasam_preprocessing": "[]"},
        {"ultrasam_preprocessing": '{"std": [0, 0, 0]}'},
        {"ultrasam_preprocessing": '{"mean": [1, 2]}'},
        {"ultrasam_preprocessing": '{"prompt_types": ["scribble"]}'},
        {"ultrasam_preprocessing": '{"telepathy": 1}'},
        {"ultrasam_preprocessing": "{}", "ultrasam_tta": "nope"},
        {"ultrasam_preprocessing": "{}", "ultrasam_tta": '{"zoom": "a"}'},
    ],
)
def test_damaged_settings_are_one_sentence(
    tmp_path: Path, tiny: UltraSam, metadata: dict[str, str]
) -> None:
    tensors = {name: tensor.contiguous() for name, tensor in tiny.state_dict().items()}
    given = {"ultrasam_config": TINY.to_json(), **metadata}
    save_file(tensors, tmp_path / "w.safetensors", metadata=given)
    with pytest.raises((CheckpointError, ConfigError)) as caught:
        load_model(tmp_path / "w.safetensors", device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rated", [False, True])
def test_nano_of_before_and_after_its_mask_quality_head_is_told_by_its_tensors(
    rated: bool, tmp_path: Path
) -> None:
    model = UltraSam(replace(CONFIGS["nano"], mask_quality=rated))
    torch.save(model.state_dict(), tmp_path / "w.pth")
    found = read_checkpoint(tmp_path / "w.pth")
    assert found.config == model.config
    assert_equal(build_model(found).state_dict(), model.state_dict())
