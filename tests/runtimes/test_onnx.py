"""A model exported to ONNX: it equals PyTorch's at any number of prompts, and what is wrong is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import SMALL_NANO, TINY, randomized
from tests.model.prompts import random_prompts
from ultrasam.errors import CheckpointError, UltraSamError
from ultrasam.model.ultrasam import UltraSam
from ultrasam.runtimes.export import export
from ultrasam.runtimes.onnx_backend import OnnxBackend
from ultrasam.runtimes.torch_backend import TorchBackend
from ultrasam.runtimes.verification import ExportError, compare
from ultrasam.weights.exported import is_exported, read_exported
from ultrasam.weights.model_card import ModelCard

CARD = ModelCard("small", "Apache-2.0", "# small\n")


def test_an_exported_network_equals_the_one_it_was_made_from(
    exported_nano: Path, small_nano: UltraSam
) -> None:
    backend, reference = OnnxBackend(read_exported(exported_nano)), TorchBackend(small_nano)
    pixels = np.random.default_rng(1).normal(size=(2, 3, 128, 128)).astype(np.float32)
    ours, theirs = backend.encode(pixels), reference.encode(pixels)
    for seed, count, mask in ((0, 1, False), (1, 3, True), (2, 7, False), (3, 64, True)):
        prompts = random_prompts(small_nano.config, seed, count=count, mask=mask)
        index = np.arange(count) % 2
        got = backend.decode(ours, prompts, index, multimask=True)
        expected = reference.decode(theirs, prompts, index, multimask=True)
        for a, b in zip(got, expected, strict=True):
            assert a.shape == b.shape
            assert np.abs(a - b).max() <= 1e-3
        single = backend.decode(ours, prompts, index, multimask=False)
        assert np.array_equal(single[0], got[0][:, :1])


def test_the_description_says_all_that_running_the_graphs_needs(
    exported_nano: Path, small_nano: UltraSam
) -> None:
    about = json.loads((exported_nano / "model.json").read_text())
    assert about["name"] == "small"
    assert about["license"] == "Apache-2.0"
    assert about["sizes"] == {"image_size": 128, "mask_size": 32, "grid": 8}
    assert about["preprocessing"] == json.loads(json.dumps(small_nano.preprocessor.to_dict()))
    assert about["test_time_augmentation"] == {
        "zoom": 1.6, "flip": True, "box_margin": 1.5, "min_gain": 1.15, "max_logit": 10.0,
    }  # fmt: skip
    assert about["postprocessing"] == {"clicked_piece": True, "within_scan": True}
    assert {case["prompts"] for case in about["comparison"]["cases"]} == {1, 3, 64}
    assert all(case["logits"] <= 1e-3 for case in about["comparison"]["cases"])
    assert (exported_nano / "README.md").read_text() == "# small\n"
    assert "Apache License" in (exported_nano / "LICENSE").read_text()
    read = read_exported(exported_nano)
    assert (read.config, read.tta) == (small_nano.config, small_nano.tta)
    assert (read.preprocessor, read.postprocessor) == (
        small_nano.preprocessor,
        small_nano.postprocessor,
    )


def test_the_graphs_have_the_inputs_that_the_description_names(exported_nano: Path) -> None:
    import onnx

    about = json.loads((exported_nano / "model.json").read_text())
    for name, graph in about["graphs"].items():
        file = exported_nano / f"{name}.onnx"
        assert b"site-packages" not in file.read_bytes()
        proto = onnx.load(file)
        assert proto.opset_import[0].version == about["opset"]
        for ours, theirs in (("inputs", proto.graph.input), ("outputs", proto.graph.output)):
            shapes = {
                value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
                for value in theirs
            }
            assert shapes == {entry["name"]: entry["shape"] for entry in graph[ours]}


@pytest.mark.slow
def test_weights_in_float16_take_half_the_space_and_are_the_rounded_ones(
    exported_nano: Path, small_nano: UltraSam, tmp_path: Path
) -> None:
    small = export(small_nano, tmp_path / "half", precision="float16", card=CARD)
    for name in ("encoder.onnx", "decoder.onnx"):
        full = (exported_nano / name).stat().st_size
        assert (small.folder / name).stat().st_size < 0.7 * full
    assert all(case["logits"] <= 1e-3 for case in small.content["comparison"]["cases"])


@pytest.mark.slow
def test_relative_positions_and_windows_export_too(tmp_path: Path) -> None:
    found = export(randomized(TINY), tmp_path / "tiny", card=CARD)
    assert [entry["name"] for entry in found.content["graphs"]["encoder"]["outputs"]] == ["image"]


def test_another_network_is_found_to_differ(exported_nano: Path) -> None:
    other = TorchBackend(randomized(SMALL_NANO, seed=1))
    with pytest.raises(ExportError, match=r"differs from PyTorch's for 1 prompts of 1 points"):
        compare(OnnxBackend(read_exported(exported_nano)), other)


def test_a_damaged_or_missing_file_is_told(exported_nano: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in exported_nano.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    graph = copy / "decoder.onnx"
    graph.write_bytes(graph.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=r"decoder\.onnx is not the file that was exported"):
        OnnxBackend(read_exported(copy))
    graph.unlink()
    with pytest.raises(CheckpointError, match=r"Cannot read .*decoder\.onnx"):
        OnnxBackend(read_exported(copy))
    about = json.loads((copy / "model.json").read_text())
    (copy / "model.json").write_text(json.dumps({**about, "format_version": 2}))
    with pytest.raises(CheckpointError, match="has version 2"):
        read_exported(copy)
    del about["sizes"], about["config"]
    (copy / "model.json").write_text(json.dumps(about))
    with pytest.raises(CheckpointError, match="is damaged"):
        read_exported(copy)


def test_a_folder_with_other_content_is_not_replaced(small_nano: UltraSam, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UltraSamError, match="is not an export"):
        export(small_nano, tmp_path, overwrite=True)
    assert not is_exported(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_an_earlier_export_is_replaced_only_when_asked(
    exported_nano: Path, small_nano: UltraSam
) -> None:
    with pytest.raises(UltraSamError, match="holds an earlier export"):
        export(small_nano, exported_nano)


def test_a_model_that_differs_is_not_kept(
    exported_nano: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ultrasam.runtimes import export as module

    def others(model: UltraSam, place: Path, **options: object) -> list[Path]:
        names = ("encoder.onnx", "decoder.onnx")
        return [Path(shutil.copy(exported_nano / name, place / name)) for name in names]

    monkeypatch.setattr(module, "write_onnx", others)
    with pytest.raises(ExportError, match="Nothing was written"):
        export(randomized(SMALL_NANO, seed=1), tmp_path / "wrong")
    assert not list(tmp_path.iterdir())
