"""int8 is written only if the model segments as well as in float32."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultrasam.model.ultrasam import UltraSam
from ultrasam.quantization import export as module
from ultrasam.quantization.export import Effort, export_int8, noisiest
from ultrasam.runtimes.int8_graph import Layer
from ultrasam.runtimes.verification import ExportError
from ultrasam.weights.exported import read_exported

QUICK = Effort(2, 1, 1)


@given(
    st.lists(st.tuples(st.integers(1, 1000), st.floats(0, 1)), min_size=1, max_size=20),
    st.floats(0, 1),
)
def test_the_noisiest_layers_take_no_more_than_their_share(
    layers: list[tuple[int, float]], share: float
) -> None:
    noise = {Layer(str(i), str(i), count): value for i, (count, value) in enumerate(layers)}
    found = noisiest(noise, share)
    left = share * sum(layer.operations for layer in noise)
    assert sum(layer.operations for layer in found) <= left + 1e-9
    assert [noise[a] for a in found] == sorted((noise[a] for a in found), reverse=True)
    rest = left - sum(layer.operations for layer in found)
    for layer in set(noise) - set(found):  # it did not fit beside the noisier ones
        quieter = sum(a.operations for a in found if noise[a] < noise[layer])
        assert layer.operations > rest - 1e-9
        assert layer.operations <= left + quieter or layer.operations > left


@pytest.fixture
def _exported_already(exported_nano: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The float32 graphs are there."""
    monkeypatch.setattr(module, "export", lambda *_: read_exported(exported_nano))


def given_dice(monkeypatch: pytest.MonkeyPatch, *losses: float, level: float = 0.9) -> None:
    """Dice of `level`, with another loss at each comparison."""
    left = list(losses)

    def dice(_: str, backends: Mapping[str, Any], __: Any) -> dict[str, dict[str, Any]]:
        loss = left.pop(0)
        values = {"float32": np.full(5, level), "int8": np.full(5, level - loss)}
        return {name: {"box": values[name]} for name in backends}

    monkeypatch.setattr(module, "object_dice", dice)


@pytest.mark.usefixtures("_exported_already")
def test_a_model_that_loses_dice_is_refused_with_the_numbers(
    small_nano: UltraSam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_dice(monkeypatch, 0.01, 0.004)
    with pytest.raises(
        ExportError,
        match=r"is 0\.9000 in float32 and 0\.8960 in int8 for 5 boxes on phantoms; a loss of 0\.003",
    ):
        export_int8(small_nano, tmp_path / "out", effort=QUICK)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("_exported_already")
def test_more_layers_are_left_out_where_few_do_not_do(
    small_nano: UltraSam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_dice(monkeypatch, 0.01, 0.002)
    about = export_int8(small_nano, tmp_path / "out", effort=QUICK).content
    assert 0.2 < about["quantization"]["operations_left_out"] <= 0.4
    assert about["quantization"]["layers_left_out"]
    assert about["dice"]["measured"] == [
        {
            "data": "phantoms", "prompts": "box", "count": 5, "float32": 0.9, "int8": 0.898,
            "largest_loss": 0.002, "loss": 0.002,
        }
    ]  # fmt: skip
    assert about["precision"] == "int8"
    assert about["comparison"]["tolerance"] is None
    assert {case["prompts"] for case in about["comparison"]["cases"]} == {1, 3, 64}


@pytest.mark.usefixtures("_exported_already")
def test_phantoms_on_which_a_model_finds_little_do_not_judge_it(
    small_nano: UltraSam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_dice(monkeypatch, 0.0, level=0.3)
    with pytest.raises(ExportError, match=r"finds so little on phantoms.* with --data"):
        export_int8(small_nano, tmp_path / "out", effort=QUICK)


def test_the_command_refuses_int8_for_what_has_none(
    ultrasam: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert ultrasam("export", "nano", "--to", "web", "--precision", "int8", "-o", out) != 0
    assert "int8 is for --to onnx and --to openvino, not for web" in capsys.readouterr().err
    assert ultrasam("export", "nano", "--data", tmp_path, "-o", out) != 0
    assert "--data and --limit are for --precision int8 only" in capsys.readouterr().err


@pytest.mark.slow
def test_nano_in_int8_segments_as_in_float32(
    ultrasam: Callable[..., int], tmp_path: Path, shared_data: Path
) -> None:
    """For OpenVINO, whose graphs are converted from those for ONNX Runtime."""
    data = shared_data / "dev" / "CCAUI"
    options = ("--precision", "int8", "--data", data, "--limit", 4)
    assert ultrasam("export", "nano", "--to", "openvino", *options, "-o", tmp_path / "out") == 0
    about = json.loads((tmp_path / "out" / "model.json").read_text())
    rows = about["dice"]["measured"]
    assert {row["data"] for row in rows} == {"phantoms", "ccaui"}
    for row in rows:
        assert row["float32"] > 0.5
        assert row["loss"] == pytest.approx(row["float32"] - row["int8"], abs=1.1e-4)
        assert row["loss"] <= 0.003
    image = next((data / "images").iterdir())
    box = "20,20,120,120"
    assert (
        ultrasam("predict", image, "--box", box, "--model", tmp_path / "out", "-o", tmp_path / "p")
        == 0
    )
