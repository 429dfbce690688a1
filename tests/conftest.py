"""Fixtures that several test modules share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ultrasam.cli import main
from ultrasam.model.config import CONFIGS, ModelConfig
from ultrasam.model.postprocessing import Postprocessor
from ultrasam.model.ultrasam import UltraSam
from ultrasam.reporting import plots
from ultrasam.weights.registry import PREPROCESSING, TTA

torch.set_num_threads(1)  # the processes that run tests are the parallelism

with suppress(ImportError):  # the tests on a GPU run without Hypothesis
    from hypothesis import HealthCheck, settings

    # No test asserts time: a busy machine makes none fail.
    settings.register_profile(
        "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("untimed")

SHARED = Path(__file__).parents[2] / "shared" / "data"

TINY = ModelConfig(
    name="tiny",
    image_size=128,
    width=48,
    depth=3,
    heads=3,
    mlp_width=96,
    window=3,  # 8 tokens a side: windows need padding
    global_blocks=(1,),
    decoder_width=64,
    decoder_heads=4,
    decoder_mlp_width=80,
    upscale_channels=(16, 8),
)

# nano's design, all of it, at a twentieth of its cost.
SMALL_NANO = replace(
    CONFIGS["nano"],
    name="small-nano",
    image_size=128,
    width=48,
    depth=2,
    mlp_width=96,
    decoder_width=64,
    decoder_mlp_width=64,
    upscale_channels=(16, 8),
)


def randomized(config: ModelConfig, seed: int = 0) -> UltraSam:
    """A model none of whose tensors is zero, so that every one of them matters to the output."""
    torch.manual_seed(seed)
    model = UltraSam(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or "rel_pos" in name or "pos_embed" in name:
                parameter.normal_(0, 0.05)
            elif parameter.ndim == 1:
                parameter.normal_(1, 0.1)
    return model


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Cached stores lie in a folder of the test run, child processes' too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ULTRASAM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def shared_data() -> Path:
    if not SHARED.is_dir():
        pytest.skip("the real images for tests are not beside this checkout")
    return SHARED


@pytest.fixture
def ultrasam(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The command with these arguments, in this process; its exit status."""

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["ultrasam", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main.run()
        return int(stop.value.code or 0)

    return run


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots of reports are named and not drawn, which takes matplotlib a third of a second for each."""
    monkeypatch.setattr(plots, "canvas", lambda title, *_, **__: f"<figure>{title}</figure>")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def tiny() -> UltraSam:
    return randomized(TINY)


@pytest.fixture(scope="session")
def fresh_nano() -> UltraSam:
    """nano's architecture with random weights."""
    return randomized(CONFIGS["nano"])


@pytest.fixture(scope="session")
def small_nano() -> UltraSam:
    """nano's design with random weights, and its preprocessing, views and postprocessing."""
    model = randomized(SMALL_NANO)
    model.preprocessor = replace(PREPROCESSING["nano"], size=SMALL_NANO.image_size)
    model.tta = TTA["nano"]
    model.postprocessor = Postprocessor(clicked_piece=True, within_scan=True)
    return model


@pytest.fixture(scope="session")
def exported_nano(
    small_nano: UltraSam, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Path:
    """The folder of `small_nano` exported to ONNX, which tests must not change."""
    from filelock import FileLock

    from ultrasam.runtimes.export import export
    from ultrasam.weights.model_card import ModelCard

    base = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):
        base = (
            base.parent
        )  # the processes that share the tests share the export, which takes half a minute
    folder = base / "exported-nano"
    with FileLock(base / "exported-nano.lock"):
        if not folder.exists():
            export(small_nano, folder, card=ModelCard("small", "Apache-2.0", "# small\n"))
    return folder
