"""Models by name or path in each runtime: what is opened, what is refused, and how `auto` chooses."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ultrasam
from tests.conftest import SMALL_NANO
from tests.model.prompts import random_prompts
from ultrasam.errors import CheckpointError, ConfigError, DeviceError
from ultrasam.evaluation.models.baselines import EllipseInBox
from ultrasam.evaluation.models.registry import open_evaluation_model
from ultrasam.inference.predictor import Predictor
from ultrasam.model.preprocessing import TestTimeAugmentation
from ultrasam.model.ultrasam import UltraSam
from ultrasam.prompts import Prompt
from ultrasam.runtimes import choice
from ultrasam.runtimes.export import export
from ultrasam.runtimes.onnx_backend import OnnxBackend
from ultrasam.runtimes.openvino_backend import OpenVinoBackend, openvino_core
from ultrasam.runtimes.torch_backend import TorchBackend
from ultrasam.weights.exported import read_exported
from ultrasam.weights.spec import ModelSpec

IMAGE = np.random.default_rng(0).integers(0, 256, (90, 120)).astype(np.uint8)
PROMPT = Prompt(box=(30, 20, 80, 70))


def same(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether masks are equal but for pixels whose logits are almost 0."""
    return ours.shape == theirs.shape and bool((ours != theirs).mean() < 1e-3) and theirs.any()


def masks(predictor: Predictor) -> np.ndarray:
    predictor.set_image(IMAGE)
    return predictor.predict(PROMPT).masks


def test_a_folder_opens_by_its_path_everywhere(exported_nano: Path, small_nano: UltraSam) -> None:
    expected = masks(Predictor(small_nano))
    assert isinstance(ultrasam.load(exported_nano), OnnxBackend)
    assert same(masks(Predictor(exported_nano)), expected)
    prediction = ultrasam.segment(IMAGE, box=PROMPT.box, model=exported_nano)
    assert same(prediction.masks, expected)


def test_candidates_and_how_the_mask_quality_head_rates_them_survive_export(
    exported_nano: Path, small_nano: UltraSam
) -> None:
    assert small_nano.mask_decoder.mask_quality is not None
    click = Prompt(points=[(60, 40)])
    found = []
    for model in (exported_nano, small_nano):
        predictor = Predictor(model)
        predictor.set_image(IMAGE)
        found.append(predictor.predict(click, multimask=True))
        assert predictor.postprocessor == small_nano.postprocessor
    ours, theirs = found
    assert ours.masks.shape == (1, 3, 90, 120)
    assert same(ours.masks, theirs.masks)
    assert np.abs(ours.predicted_iou - theirs.predicted_iou).max() < 1e-4


def test_an_evaluation_runs_our_models_in_the_runtime_and_peers_in_theirs(
    exported_nano: Path,
) -> None:
    ours = open_evaluation_model(str(exported_nano), runtime="openvino")
    assert isinstance(ours.segmenter, Predictor)
    assert isinstance(ours.segmenter.backend, OpenVinoBackend)
    assert ours.weights == read_exported(exported_nano).content["weights_sha256"]
    assert isinstance(open_evaluation_model("ellipse", runtime="onnx").segmenter, EllipseInBox)


def test_openvino_runs_onnx_graphs_and_equals_pytorch(
    exported_nano: Path, small_nano: UltraSam
) -> None:
    backend, reference = ultrasam.load(exported_nano, runtime="openvino"), TorchBackend(small_nano)
    assert isinstance(backend, OpenVinoBackend)
    assert backend.precision == "float32"
    pixels = np.random.default_rng(1).normal(size=(2, 3, 128, 128)).astype(np.float32)
    ours, theirs = backend.encode(pixels), reference.encode(pixels)
    for seed, count, mask in ((0, 1, False), (1, 3, True), (2, 64, False)):
        prompts = random_prompts(small_nano.config, seed, count=count, mask=mask)
        index = np.arange(count) % 2
        got = backend.decode(ours, prompts, index, multimask=True)
        expected = reference.decode(theirs, prompts, index, multimask=True)
        assert all(np.abs(a - b).max() <= 1e-3 for a, b in zip(got, expected, strict=True))


@pytest.mark.slow
def test_openvino_has_its_own_format_too(small_nano: UltraSam, tmp_path: Path) -> None:
    made = export(small_nano, tmp_path / "ir", to="openvino")
    assert sorted(file.name for file in made.folder.iterdir()) == [
        "LICENSE", "README.md", "decoder.bin", "decoder.xml", "encoder.bin", "encoder.xml", "model.json",
    ]  # fmt: skip
    assert isinstance(ultrasam.load(made.folder), OpenVinoBackend)
    with pytest.raises(CheckpointError, match="is exported for openvino and cannot run in onnx"):
        ultrasam.load(made.folder, runtime="onnx")


def test_openvino_says_what_it_computes_in_where_it_lacks_bfloat16(
    exported_nano: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backend = OpenVinoBackend(read_exported(exported_nano), precision="bfloat16")
    if "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        assert backend.precision == "bfloat16"
    else:
        assert backend.precision == "float32"
        assert "OpenVINO computes in float32 instead of bfloat16" in caplog.text


def test_signals_are_handled_after_a_model_in_openvino_ends_in_another_thread(
    exported_nano: Path,
) -> None:
    code = f"""
import os, signal
from threading import Thread
import ultrasam
models = [ultrasam.load({str(exported_nano)!r}, runtime="openvino")]
thread = Thread(target=models.clear)
thread.start()
thread.join()
signal.signal(signal.SIGUSR1, lambda number, frame: print("handled"))
os.kill(os.getpid(), signal.SIGUSR1)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


def test_an_export_for_pytorch_is_a_checkpoint(small_nano: UltraSam, tmp_path: Path) -> None:
    made = export(small_nano, tmp_path / "torch", to="torch")
    opened = ultrasam.load(made.folder)
    assert isinstance(opened, UltraSam)
    assert same(masks(Predictor(made.folder)), masks(Predictor(small_nano)))


def test_what_a_runtime_cannot_do_is_refused(exported_nano: Path) -> None:
    with pytest.raises(ConfigError, match="Unknown runtime 'caffe'"):
        Predictor(exported_nano, runtime="caffe")
    with pytest.raises(ConfigError, match="names a runtime already"):
        Predictor(f"{exported_nano}+onnx", runtime="openvino")
    with pytest.raises(CheckpointError, match="cannot run in torch"):
        Predictor(exported_nano, runtime="torch")
    with pytest.raises(CheckpointError, match="PyTorch's weights are needed"):
        ultrasam.load_model(exported_nano)
    with pytest.raises(ConfigError, match="computes in float32 here"):
        ultrasam.load(exported_nano, precision="bfloat16")
    with pytest.raises(DeviceError, match="OpenVINO runs on the CPU"):
        ultrasam.load(exported_nano, runtime="openvino", device="cuda")
    with pytest.raises(ConfigError, match="preprocessing of an exported folder is part of it"):
        ultrasam.load(f"{exported_nano}+preprocessing=sam")


def test_auto_takes_the_fastest_and_remembers_it(
    exported_nano: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("ULTRASAM_CACHE", str(tmp_path))
    caplog.set_level(logging.INFO, logger="ultrasam")
    times = {"onnx": 20.0, "openvino": 10.0}
    monkeypatch.setattr(choice, "probe", lambda backends: {name: times[name] for name in backends})
    opened = ultrasam.load(exported_nano, runtime="auto")
    assert isinstance(opened, OpenVinoBackend)
    assert "runs in OpenVINO: 10 ms for an image and its first prompt, against 20 ms in ONNX" in (
        caplog.text
    )
    times["onnx"] = 1.0  # not probed again
    assert isinstance(ultrasam.load(exported_nano, runtime="auto"), OpenVinoBackend)


class Sleeper:
    """A backend whose encoder and decoder take so many milliseconds, and at first ten times as many."""

    config, tta = SMALL_NANO, TestTimeAugmentation()

    def __init__(self, encoder: float, decoder: float) -> None:
        self.left = {"encoder": encoder, "decoder": decoder}
        self.first = True

    def encode(self, pixels: np.ndarray) -> list[int]:
        self.spend("encoder")
        return [0] * len(pixels)

    def decode(self, *_: object, multimask: bool) -> tuple[np.ndarray, np.ndarray]:
        self.spend("decoder")
        self.first = False
        return np.zeros((1, 4, 32, 32), np.float32), np.zeros((1, 4), np.float32)

    def spend(self, part: str) -> None:
        NOW[0] += self.left[part] / 1000 * (10 if self.first else 1)


NOW = [0.0]


@given(st.lists(st.tuples(st.integers(1, 500), st.integers(1, 500)), min_size=2, max_size=3))
def test_the_probe_finds_the_fastest_for_an_image_with_its_prompt(
    times: list[tuple[int, int]],
) -> None:
    backends = {name: Sleeper(*time) for name, time in zip(choice.NAMES, times, strict=False)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice.time, "perf_counter", lambda: NOW[0])
        found = choice.probe(backends)  # type: ignore[arg-type]
    for (encoder, decoder), measured in zip(times, found.values(), strict=True):
        assert measured == pytest.approx(encoder + decoder)


def test_auto_compares_pytorch_too_where_graphs_are_in_the_cache(
    exported_nano: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    from ultrasam.runtimes import cached_exports

    monkeypatch.setenv("ULTRASAM_CACHE", str(tmp_path))
    exported = read_exported(exported_nano)
    monkeypatch.setattr(cached_exports, "find_cached_export", lambda *_: exported)
    kinds = {"torch": TorchBackend, "onnx": OnnxBackend, "openvino": OpenVinoBackend}
    spec = ModelSpec.parse("random:nano")
    for number, fastest in enumerate(kinds):
        monkeypatch.setattr(choice.os, "cpu_count", lambda number=number: 100 + number)
        times = {name: 5.0 + (name != fastest) for name in kinds}
        monkeypatch.setattr(
            choice, "probe", lambda backends, times=times: {name: times[name] for name in backends}
        )
        assert type(choice.open_fastest(spec, None, device="cpu")) is kinds[fastest]


def test_the_probe_times_each_runtime(exported_nano: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_SECONDS", 0.0)
    exported = read_exported(exported_nano)
    times = choice.probe({"onnx": OnnxBackend(exported), "openvino": OpenVinoBackend(exported)})
    assert set(times) == {"onnx", "openvino"}
    assert all(0 < value < 60_000 for value in times.values())


def test_a_name_without_graphs_runs_in_pytorch_and_auto_says_why(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ULTRASAM_CACHE", str(tmp_path))
    caplog.set_level(logging.INFO, logger="ultrasam")
    spec = ModelSpec.parse("random:nano")
    backend = choice.open_fastest(spec, None, device="cpu")
    assert isinstance(backend, TorchBackend)
    assert "runs in PyTorch: it has no graphs for other runtimes" in caplog.text


@pytest.mark.slow
def test_the_command_writes_a_folder_that_predict_takes(
    ultrasam: Callable[..., int],
    small_nano: UltraSam,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from PIL import Image

    weights = export(small_nano, tmp_path / "weights", to="torch").folder
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    assert ultrasam("export", weights, "--to", "onnx", "-o", tmp_path / "out") == 0
    assert "Equals PyTorch: logits within" in capsys.readouterr().out
    predict = ("predict", tmp_path / "a.png", "--box", "30,20,80,70", "--model", tmp_path / "out")
    assert ultrasam(*predict, "-o", tmp_path / "masks") == 0
    assert (tmp_path / "masks" / "predictions.json").is_file()
    assert ultrasam("export", weights, "-o", tmp_path / "out") == 1
    assert "holds an earlier export" in capsys.readouterr().err
