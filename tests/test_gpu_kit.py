"""The kit for a GPU machine (`benchmarks/gpu`): its options, its stages, and what it packs."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.datasets.layouts.truth import disc, gray, picture, save
from ultrasam.store.store import Store
from ultrasam.training.recipe import load_recipe
from ultrasam.training.shipped import recipe_path

KIT = Path(__file__).parents[1] / "benchmarks" / "gpu"
SCRIPTS = sorted(path.stem for path in KIT.glob("*.py"))


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str], Any]]:
    """Imports a script of the kit as it is run, from its own folder, and forgets it afterwards."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for folder in (KIT.parent, KIT):
        monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if KIT.parent in Path(getattr(sys.modules[name], "__file__", None) or "").parents:
            del sys.modules[name]


def test_every_script_imports(script: Callable[[str], Any]) -> None:
    assert {"kit", "pack", "train", "figures", "score", "phantoms"} <= set(SCRIPTS)
    for name in SCRIPTS:
        assert Path(script(name).__file__) == KIT / f"{name}.py"


def test_its_recipe_draws_from_every_packed_data_set(script: Callable[[str], Any]) -> None:
    pack = script("pack")
    shares = load_recipe(recipe_path("nano-gpu")).data.store.shares  # type: ignore[union-attr]
    packed = {name.lower().replace("-", "_") for name in pack.SETS}
    assert set(shares or ()) == packed
    assert sum((shares or {}).values()) == pytest.approx(1)


def test_a_packed_store_is_a_store_again(script: Callable[[str], Any], tmp_path: Path) -> None:
    pack = script("pack")
    image, mask = (cv2.resize(a, (800, 600)) for a in (picture(1), gray(disc(40, 30, 15))))
    save(tmp_path / "raw/BUSI/benign/benign (1).png", image)
    save(tmp_path / "raw/BUSI/benign/benign (1)_mask.png", mask)
    save(tmp_path / "raw/DL_Track/apo_images/a.png", picture(2))
    save(tmp_path / "raw/DL_Track/apo_masks/a.png", gray(disc(40, 30, 15)))
    counts = pack.build_store(tmp_path / "raw", tmp_path / "built", workers=0)
    assert counts == {"busi": 1, "dl_track": 1}
    pack.pack(tmp_path / "built", tmp_path / "data.zip")
    pack.unpack(tmp_path / "data.zip", tmp_path / "store")
    built, store = (Store.open(tmp_path / name) for name in ("built", "store"))
    assert store.images.equals(built.images)
    assert "aponeurosis" in store.instances["structure"].to_pylist()
    assert store.pixels(0).shape == store.mask(0).shape == (480, 640)
    for row in range(2):
        difference = store.pixels(row).astype(int) - built.pixels(row)
        assert np.abs(difference).mean() < 8  # WebP's loss
        assert np.array_equal(store.mask(row), built.mask(row))


def test_options_have_defaults_that_train_from_scratch(script: Callable[[str], Any]) -> None:
    options = script("kit").options([])
    assert (options.train, options.skip, options.minutes) == (("scratch",), (), 9.0)
    assert (options.device, options.dry_run, options.set) == ("cuda", False, [])


def test_options_are_read_from_lists(script: Callable[[str], Any]) -> None:
    options = script("kit").options
    assert options(["--train", "scratch,continued"]).train == ("scratch", "continued")
    assert options(["--train", "none"]).train == ()
    assert options(["--skip", "tests,figures"]).skip == ("tests", "figures")


@pytest.mark.parametrize("given", [["--train", "scratched"], ["--skip", "tests,test"]])
def test_an_unknown_training_or_stage_is_refused(
    script: Callable[[str], Any], given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        script("kit").options(given)
    assert "is none of" in capsys.readouterr().err


def test_a_stage_that_fails_does_not_stop_the_others(
    script: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit = script("kit")
    started: list[str] = []

    def start(self: object, command: list[str], *, nice: int = 0) -> subprocess.Popen[bytes]:
        started.append(" ".join(command))
        fails = "figures.py" in started[-1]
        return subprocess.Popen(["false" if fails else "true"], start_new_session=True)

    monkeypatch.setattr(kit.Kit, "start", start)
    monkeypatch.setattr(kit, "PACKED", tmp_path)
    (tmp_path / "data.zip").touch()
    given = ["--out", str(tmp_path / "out"), "--skip", "tests", "--train", "scratch,continued"]
    run = kit.Kit(kit.options([*given, "--set", "trainer.batch=96"]))
    run.store.mkdir()
    assert run.run() == 1
    trained = [command for command in started if "train.py" in command]
    assert ["--init nano" in command for command in trained] == [False, True]
    assert all("--set=trainer.batch=96" in command for command in trained)
    assert sum("score.py" in command for command in started) == 1
    found = json.loads((tmp_path / "out" / "figures.json").read_text())
    assert found["failed"] == ["figures: exit status 1; see kit.log"]
    assert "Failed: figures" in (tmp_path / "out" / "report.md").read_text()
    assert not run.work.exists()


def test_too_little_time_to_train_is_reported(script: Callable[[str], Any], tmp_path: Path) -> None:
    kit = script("kit")
    run = kit.Kit(kit.options(["--out", str(tmp_path), "--minutes", "1"]))
    with pytest.raises(RuntimeError, match="give more --minutes"):
        run.train("scratch", "nano-scratch", left=1, scored=2)


def test_a_run_keeps_at_least_ten_checkpoints(script: Callable[[str], Any]) -> None:
    train = script("train")
    assert "trainer.checkpoint_every=100" in train.length(1000)
    assert "trainer.checkpoint_every=500" in train.length(50_000)
    recipe = load_recipe(recipe_path("nano-gpu"), train.length(240))
    assert recipe.trainer.ema_start < recipe.trainer.max_steps
