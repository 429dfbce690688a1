"""`ultrasam benchmark`: what is measured, what is left out and why, and the table."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.conftest import TINY
from ultrasam.benchmark import variants
from ultrasam.benchmark.peers import transformers_sam
from ultrasam.benchmark.run import encoder_operations
from ultrasam.benchmark.timing import added_memory, busy_process, matrix_rate, timings
from ultrasam.benchmark.variants import variants_of
from ultrasam.errors import ConfigError
from ultrasam.hardware import PrecisionChoice
from ultrasam.model.ultrasam import UltraSam
from ultrasam.weights.spec import ModelSpec


def test_calls_take_turns_after_a_warm_up() -> None:
    order: list[str] = []
    found = timings({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, runs=2)
    assert order == ["a", "b", "a", "b", "a", "b"]
    assert set(found) == {"a", "b"}
    assert all(0 <= timing.wall < 1 for timing in found.values())


def test_memory_that_a_call_adds_is_seen() -> None:
    assert 150 < added_memory(lambda: torch.ones(50 * 2**20)) < 300  # 200 MiB


def test_the_busy_process_runs_meanwhile_and_no_longer() -> None:
    import psutil

    before = set(psutil.Process().children())
    with busy_process():
        (child,) = set(psutil.Process().children()) - before
        deadline = time.monotonic() + 60
        while child.cpu_times().user < 0.1:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert not child.is_running()


def test_an_export_in_int8_is_measured_as_such(exported_nano: Path, tmp_path: Path) -> None:
    from ultrasam.quantization.export import Effort, quantize_unchecked
    from ultrasam.weights.exported import read_exported

    folder = tmp_path / "int8"
    quantize_unchecked(read_exported(exported_nano), folder, effort=Effort(2, 1, 0))
    found, left_out = variants_of(ModelSpec.parse(str(folder)), int8=True)
    names = [variant.name for variant in found]
    assert names == ["ONNX Runtime, int8", "OpenVINO, int8"]
    assert not any("int8" in reason for reason in left_out)
    assert [variant.open().precision for variant in found] == ["int8", "int8"]  # type: ignore[attr-defined]
    _, left_out = variants_of(ModelSpec.parse(str(exported_nano)), int8=True)
    assert "int8: export the model with --precision int8, and measure that folder." in left_out


def test_the_rate_of_matrix_products_is_that_of_a_processor() -> None:
    assert 1e8 < matrix_rate("float32") < 1e14


def test_the_encoders_operations_are_at_least_those_of_its_linear_layers() -> None:
    encoder = UltraSam(TINY).image_encoder
    linear = sum(m.weight.numel() for m in encoder.modules() if isinstance(m, nn.Linear))
    lower = 2 * linear * TINY.grid**2
    assert lower < encoder_operations(TINY) < 3 * lower


def test_what_cannot_run_is_left_out_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = {"onnxruntime", "onnxscript"}
    monkeypatch.setattr(variants, "find_spec", lambda name: None if name in missing else name)
    lacks = PrecisionChoice("float32", "the processor has no bfloat16 units")
    monkeypatch.setattr(variants, "choose_precision", lambda *_: lacks)
    found, left_out = variants_of(ModelSpec.parse("nano"))
    assert [variant.name for variant in found] == ["PyTorch, float32"]
    assert left_out == [
        "ONNX Runtime: pip install 'ultrasam[onnx]'.",
        "OpenVINO: pip install 'ultrasam[export]' to make its graphs.",
        "bfloat16: the processor has no bfloat16 units.",
    ]
    with pytest.raises(ConfigError, match="all ways are compared here"):
        variants_of(ModelSpec.parse("nano+onnx"))


def test_the_command_measures_an_exported_folder_in_each_runtime(
    exported_nano: Path, ultrasam: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ultrasam("benchmark", exported_nano, "--runs", 1, "--busy", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    names = {(row["runtime"], row["precision"]) for row in found["rows"]}
    assert {("ONNX Runtime", "float32"), ("OpenVINO", "float32")} <= names
    assert not any(runtime == "PyTorch" for runtime, _ in names)
    for row in found["rows"]:
        for step in (
            "encoder",
            "decoder",
            "click",
            "image",
            "all_views",
            "busy_encoder",
            "busy_click",
        ):
            assert row[step]["wall"] > 0, step
        assert 0 < row["share"] < 10
        assert row["memory"] > 0
    assert found["image_size"] == 128
    assert found["processor"]
    assert found["versions"]["onnxruntime"]


def test_the_table_names_the_machine_and_what_is_left_out() -> None:
    from ultrasam.benchmark.run import Benchmark, Row
    from ultrasam.benchmark.timing import Timing
    from ultrasam.cli.benchmark import _text

    row = Row("ONNX Runtime", "float32", Timing(0.0504, 0.1), memory=12.3, share=0.456)
    found = Benchmark(
        "nano", 256, "AMD EPYC (avx2 fma)", 2, {"torch": "2.13.0"}, 7, 12.34, {"float32": 95.2},
        (row,), ("OpenVINO: pip install 'ultrasam[openvino]'.",),
    )  # fmt: skip
    text = _text(found)
    assert "On AMD EPYC (avx2 fma), 2 threads; torch 2.13.0." in text
    assert "| ONNX Runtime | float32 | 50 ms (100) | 12 MiB | 46 % |" in text
    assert text.endswith("- Left out: OpenVINO: pip install 'ultrasam[openvino]'.")


@pytest.mark.slow
def test_the_peer_computes_what_ours_does() -> None:
    from ultrasam.model.config import CONFIGS

    model = UltraSam(CONFIGS["vit-b"]).eval()
    pixels = torch.randn(1, 3, 1024, 1024)
    with torch.inference_mode():
        ours, theirs = (
            model.encode(pixels).image,
            transformers_sam(model).get_image_embeddings(pixels),
        )
    assert (ours - theirs).abs().max() < 1e-4
