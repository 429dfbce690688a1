"""Checkpoints as trainers, hubs and colleagues leave them: loaded bit for bit, or refused in a sentence."""

from __future__ import annotations

import errno
import json
import pickle
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from tests.conftest import TINY, randomized
from tests.weights.test_files import save_shards
from ultrasam.errors import CheckpointError, UltraSamError, UltraSamWarning
from ultrasam.model.ultrasam import UltraSam
from ultrasam.weights.files import write_checkpoint
from ultrasam.weights.formats import from_our_keys
from ultrasam.weights.load import load_model
from ultrasam.weights.registry import PREPROCESSING
from ultrasam.weights.search import find_model

State = dict[str, torch.Tensor]
OPTIMIZER = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-4}]}


@pytest.fixture(scope="module")
def model() -> UltraSam:
    return randomized(TINY)


@pytest.fixture(scope="module")
def state(model: UltraSam) -> State:
    return model.state_dict()


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def part(state: State, name: str) -> State:
    return {k.split(".", 1)[1]: tensor for k, tensor in state.items() if k.startswith(name + ".")}


def read(content: object, state: State, folder: Path, file: str = "x.pth") -> list[str]:
    """Save and load; the tensors must be the model's.

    Returns:
        The warnings.
    """
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return loaded(path, state)


def loaded(path: Path, state: State) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UltraSamWarning)
        got = load_model(path, device="cpu").state_dict()
    assert got.keys() == state.keys()
    assert all(torch.equal(got[name], state[name]) for name in state)
    return [str(w.message) for w in caught if w.category is UltraSamWarning]


def refused(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_model(path, device="cpu")
    text = str(caught.value)
    assert "\n" not in text
    return text.replace(str(path.parent), "").replace(str(path), "")


# Each makes the content of a file from a state dict.
NESTED: dict[str, Callable[[State], object]] = {
    **{
        f"{key}, with a loss": lambda s, key=key: {key: s, "epoch": 3, "loss": torch.tensor(0.3)}
        for key in ("model", "state_dict", "model_state", "model_state_dict", "network_weights", "net",
                    "ema", "weights", "network", "best_model_wts", "generator", "0")
    },
    "a metric first": lambda s: {"best_dice": torch.tensor(0.9), "state_dict": s},
    "a history of losses": lambda s: {"losses": torch.rand(50), "lr": np.float64(0.1), "model": s},
    "beside an optimizer": lambda s: {"optimizer": OPTIMIZER, "model": s, "scheduler": {"n": 1}},
    "twice nested": lambda s: {"checkpoint": {"network": {"params": s}}, "step": 10},
    "in a list": lambda s: [{"epoch": 1}, s],
    "the parts apart": lambda s: {
        name: part(s, name) for name in ("image_encoder", "prompt_encoder", "mask_decoder")
    },
    "the parts apart, named as state dicts": lambda s: {
        f"{name}_state_dict": part(s, name)
        for name in ("image_encoder", "prompt_encoder", "mask_decoder")
    },
    "halves under other keys": lambda s: {
        "encoder": {n: t for n, t in s.items() if n.startswith("image_encoder")},
        "decoder": {n: t for n, t in s.items() if not n.startswith("image_encoder")},
    },
    "arrays": lambda s: {name: tensor.numpy() for name, tensor in s.items()},
    "nested arrays": lambda s: {"model": {n: t.numpy() for n, t in s.items()}, "epoch": 1},
    "sparse tensors": lambda s: {name: tensor.to_sparse() for name, tensor in s.items()},
    "parameters": lambda s: {name: torch.nn.Parameter(tensor) for name, tensor in s.items()},
}  # fmt: skip


@pytest.mark.parametrize("name", NESTED)
def test_the_model_is_found_wherever_it_is_nested(tmp_path: Path, state: State, name: str) -> None:
    assert read(NESTED[name](state), state, tmp_path) == []


@pytest.mark.parametrize(
    "prefix",
    ["model.", "_orig_mod.", "module._orig_mod.", "sam_model.", "base_model.model.", "net.sam.",
     "_fsdp_wrapped_module.", "module.module.", "student.backbone."],
)  # fmt: skip
def test_prefixes_are_stripped_and_a_loss_beside_is_told(
    tmp_path: Path, state: State, prefix: str
) -> None:
    theirs = prefixed(state, prefix)
    assert read({"state_dict": theirs}, state, tmp_path) == []
    beside = {**theirs, "loss_fn.pos_weight": torch.ones(1)}
    (told,) = read({"state_dict": beside}, state, tmp_path)
    assert "ignored 1 tensor outside the model (loss_fn.pos_weight)" in told


_KEYS = st.sampled_from(["model", "state_dict", "net", "module", "a", "x_1", "_orig_mod", "sam"])


@settings(max_examples=30, deadline=None)
@given(nests=st.lists(_KEYS, max_size=4), prefixes=st.lists(_KEYS, max_size=3))
def test_any_nest_and_prefix_give_the_same_tensors(nests: list[str], prefixes: list[str]) -> None:
    state = {name: torch.zeros(1) for name in UltraSam(TINY).state_dict()}
    content: object = prefixed(state, "".join(f"{p}." for p in prefixes))
    for key in nests:
        content = {"epoch": 1, "metric": torch.tensor(0.5), key: content}
    found = find_model(content)
    assert found is not None
    assert found.state.keys() == state.keys()
    assert found.others == ()


def test_means_and_deviations_beside_the_model_are_used(tmp_path: Path, state: State) -> None:
    sam = {"pixel_mean": torch.tensor([123.675, 116.28, 103.53]).view(-1, 1, 1),
           "pixel_std": torch.tensor([58.395, 57.12, 57.375]).view(-1, 1, 1)}  # fmt: skip
    assert read({**state, **sam}, state, tmp_path) == []
    assert read({"model": prefixed({**state, **sam}, "module.")}, state, tmp_path) == []
    ours = {"pixel_mean": torch.zeros(3, 1, 1), "pixel_std": torch.full((3, 1, 1), 255.0)}
    (told,) = read({**state, **ours}, state, tmp_path)
    assert "Normalizing pixels by the mean (0.0, 0.0, 0.0)" in told
    gray = {"pixel_mean": torch.tensor(0.5), "pixel_std": torch.tensor([0.25])}
    (told,) = read({**state, **gray}, state, tmp_path)
    assert "the mean (127.5, 127.5, 127.5) and the standard deviation (63.75, 63.75, 63.75)" in told
    for bad in (
        {"pixel_mean": torch.zeros(3)},
        {"pixel_mean": torch.full((3,), torch.nan), "pixel_std": torch.ones(3)},
        {"pixel_mean": torch.zeros(3), "pixel_std": torch.zeros(3)},
        {"pixel_mean": torch.zeros(2), "pixel_std": torch.ones(2)},
    ):
        torch.save({**state, **bad}, tmp_path / "x.pth")
        assert "that cannot be used" in refused(tmp_path / "x.pth")
        assert load_model(f"{tmp_path / 'x.pth'}+preprocessing=sam", device="cpu") is not None


def test_a_model_pickled_whole_is_read_without_its_class(
    tmp_path: Path, model: UltraSam, state: State
) -> None:
    assert read(model, state, tmp_path) == []
    assert read({"net": model, "epoch": 1}, state, tmp_path) == []


def test_plain_pickles_are_read(tmp_path: Path, state: State) -> None:
    """As Detectron2's model zoo has them."""
    path = tmp_path / "w.pkl"
    path.write_bytes(pickle.dumps({"model": {n: t.numpy() for n, t in state.items()}}))
    assert loaded(path, state) == []
    path.write_bytes(pickle.dumps(state))
    assert loaded(path, state) == []


def test_of_a_model_and_its_average_the_choice_is_told(tmp_path: Path, state: State) -> None:
    average = {name: tensor + 1 for name, tensor in state.items()}
    for key, other in (("model", "ema"), ("student", "teacher"), ("state_dict", "state_dict_ema")):
        (told,) = read({other: average, key: state}, state, tmp_path)
        assert f"the one under '{key}' is loaded, not the one under '{other}'" in told
    (told,) = read({**state, **prefixed(average, "module.")}, state, tmp_path)
    assert "the one at the top is loaded, not the one under 'module'" in told
    # The same weights twice are no choice.
    assert read({"model": state, "best": dict(state)}, state, tmp_path) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda s: part(s, "image_encoder"), "holds no Segment-Anything model in a known format"),
        (lambda s: {"mask_decoder": part(s, "mask_decoder"), "epoch": 1},
         "it has no image_encoder and no prompt_encoder; save the complete model's state_dict"),
        (lambda s: {n: t for n, t in s.items() if not n.startswith("mask_decoder")},
         "it has no mask_decoder"),
        (lambda s: {n.replace("image_encoder.blocks", "image_encoder.layers"): t for n, t in s.items()},
         "its image encoder has another architecture"),
        (lambda s: {**s, "mask_decoder.hf_token.weight": torch.ones(1, 64)},
         r"1 tensor unexpected \(mask_decoder.hf_token.weight\)"),
        (lambda s: {**s, "image_encoder.blocks.0.attn.qkv.lora_A.weight": torch.ones(1)},
         "It has LoRA layers; merge them"),
        (lambda s: {**s, "image_encoder.pos_embed": s["image_encoder.pos_embed"] * torch.nan},
         "1 tensor with NaN or infinite values .*use an earlier checkpoint"),
        (lambda s: {**s, "image_encoder.pos_embed": s["image_encoder.pos_embed"].to(torch.int8)},
         r"1 tensor of integer or complex type \(image_encoder.pos_embed\)"),
        (lambda s: {n: t.to("meta") for n, t in s.items()}, "without data"),
        (lambda s: {"optimizer_state": {"exp_avg": s}}, "holds no Segment-Anything model"),
        (lambda s: {"state_dict": None, "epoch": 3}, "holds no named tensors"),
        (lambda s: torch.zeros(3), "holds no named tensors"),
    ],
)  # fmt: skip
def test_what_is_no_complete_model_is_refused(
    tmp_path: Path, state: State, content: Callable[[State], object], message: str
) -> None:
    torch.save(content(state), tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=message) as caught:
        load_model(tmp_path / "x.pth", device="cpu")
    assert "\n" not in str(caught.value)


def test_a_failed_save_keeps_the_earlier_file(
    tmp_path: Path, model: UltraSam, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    write_checkpoint(model, path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(UltraSamError, match="No space left"):
        write_checkpoint(randomized(TINY, seed=1), path)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]
    assert loaded(path, state) == []


def test_8_bit_and_half_floats_load(tmp_path: Path, state: State) -> None:
    for dtype in (torch.float8_e4m3fn, torch.bfloat16, torch.float16, torch.float64):
        torch.save({n: t.to(dtype) for n, t in state.items()}, tmp_path / "x.pth")
        got = load_model(tmp_path / "x.pth", device="cpu").state_dict()
        assert all(torch.equal(got[n], t.to(dtype).float()) for n, t in state.items())


def test_other_kinds_of_files_are_named(tmp_path: Path, state: State) -> None:
    torch.save(state, tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    kinds = {
        "half.pth": (whole[: len(whole) // 2], "incomplete: its end is missing"),
        "zeros.pth": (bytes(1000), "filled with zeros"),
        "model.onnx": (b"\x08\x07\x12\x07pytorch\xff", "neither a PyTorch nor a safetensors file"),
        "w.h5": (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        "w.gz": (b"\x1f\x8b\x08", "compressed by gzip; extract it first"),
    }
    for name, (content, message) in kinds.items():
        (tmp_path / name).write_bytes(content)
        assert message in refused(tmp_path / name), name
    np.savez(tmp_path / "w.npz", a=np.ones(3))
    assert "a NumPy archive" in refused(tmp_path / "w.npz")
    with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:
        archive.writestr("sam/w.pth", whole)
    assert "a ZIP archive, not a checkpoint; extract it" in refused(tmp_path / "w.zip")


FOLDERS: dict[str, list[str]] = {
    "transformers, older": ["pytorch_model.bin", "config.json"],
    "a trainer's last checkpoint": ["checkpoint-5/pytorch_model.bin", "training_args.bin"],
    "beside an optimizer": ["epoch_3.pth", "optimizer.pt", "scheduler.pt", "rng_state.pth"],
    "Accelerate": ["pytorch_model.bin", "optimizer.bin", "random_states_0.pkl", "scaler.pt"],
    "DeepSpeed": ["global_step5/mp_rank_00_model_states.pt",
                  "global_step5/zero_pp_rank_0_mp_rank_00_optim_states.pt"],
    "Lightning": ["lightning_logs/version_0/checkpoints/last.ckpt"],
    "capital letters": ["BEST.PTH"],
    "macOS's companions": ["best.pth", "._best.pth"],
    "older suffix": ["model_best.pth.tar"],
}  # fmt: skip


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_means_the_weights_in_it(tmp_path: Path, state: State, name: str) -> None:
    for file in FOLDERS[name]:
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if "model" in file or "best" in file.lower() or "last" in file or "epoch" in file:
            torch.save({"module": state}, path)
        else:
            torch.save(OPTIMIZER, path)
    assert loaded(tmp_path, state) == []


def test_a_folder_of_several_models_asks_which(tmp_path: Path, state: State) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    for name in ("best.pth", "last.pth"):
        torch.save(state, folder / name)
    assert "several weights files (best.pth, last.pth); give the path of one" in refused(folder)


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_shards_are_joined_however_they_are_named(tmp_path: Path, state: State, kind: str) -> None:
    index = save_shards(tmp_path / "a", state, kind)
    assert loaded(tmp_path / "a", state) == []
    assert loaded(index, state) == []
    save_shards(tmp_path / "b", state, kind).unlink()
    one = next((tmp_path / "b").glob("*00001-of*"))
    assert loaded(tmp_path / "b", state) == []
    assert loaded(one, state) == []  # one shard stands for all
    one.unlink()
    assert "is one of 2 shards, but" in refused(tmp_path / "b")
    next((tmp_path / "a").glob("*00002-of*")).unlink()
    assert "lists the shard" in refused(index)


def test_folders_without_a_model_say_what_they_are(tmp_path: Path, state: State) -> None:
    for name, files, message in (
        ("peft", ["adapter_config.json", "adapter_model.safetensors"], "a PEFT adapter"),
        ("distributed", [".metadata", "__0_0.distcp"], "torch.distributed"),
        ("empty", ["README.md"], "holds no weights file"),
    ):
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).write_text("{}")
        assert message in refused(tmp_path / name)
    torch.save(state, tmp_path / "w.pth")
    with zipfile.ZipFile(tmp_path / "w.pth") as archive:
        archive.extractall(tmp_path / "extracted")
    assert "the extracted content of a PyTorch file" in refused(tmp_path / "extracted")


SAM_PROCESSOR = {
    "do_normalize": True, "do_rescale": True, "rescale_factor": 1 / 255, "size": {"longest_edge": 1024},
    "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "resample": 2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {}),
        ({"image_mean": [0.5] * 3, "image_std": [0.5] * 3},
         {"mean": (127.5,) * 3, "std": (127.5,) * 3}),
        ({"do_normalize": False}, {"mean": (0.0,) * 3, "std": (255.0,) * 3}),
        ({"do_normalize": False, "do_rescale": False}, {"mean": (0.0,) * 3, "std": (1.0,) * 3}),
        ({"size": {"height": 1024, "width": 1024}}, {"resize": "stretch"}),
    ],
)  # fmt: skip
def test_the_preprocessing_beside_a_transformers_model_is_used(
    tmp_path: Path,
    model: UltraSam,
    state: State,
    changes: dict[str, object],
    expected: dict[str, object],
) -> None:
    theirs = {n: t.contiguous() for n, t in from_our_keys(state, "transformers").items()}
    save_file(theirs, tmp_path / "model.safetensors")
    file = tmp_path / "preprocessor_config.json"
    file.write_text(json.dumps(SAM_PROCESSOR | changes))
    for path in (tmp_path, tmp_path / "model.safetensors"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UltraSamWarning)
            got = load_model(path, device="cpu").preprocessor
        assert got == replace(PREPROCESSING["sam"], size=128, **expected)  # type: ignore[arg-type]
        told = [str(w.message) for w in caught if w.category is UltraSamWarning]
        assert len(told) == bool(expected)
        assert all("as " in text and "+preprocessing=sam" in text for text in told)
    chosen = load_model(f"{tmp_path}+preprocessing=sam", device="cpu").preprocessor
    assert chosen == replace(PREPROCESSING["sam"], size=128)
    for damaged in ("{", "[]", '{"image_mean": [1, 2], "image_std": [1, 2]}'):
        file.write_text(damaged)
        with pytest.warns(UltraSamWarning, match="cannot be read"):
            assert load_model(tmp_path, device="cpu").preprocessor == chosen
