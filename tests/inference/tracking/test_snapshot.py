"""An interrupted run goes on as if there had been no interruption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.inference.tracking.cines import Told, moving
from ultrasam import Prompt, track
from ultrasam.errors import ConfigError
from ultrasam.inference.tracking import track as module


@pytest.mark.parametrize("stop_at", [4, 9, 13, 19])
def test_a_run_goes_on_from_its_snapshot_to_the_same_masks(
    stop_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SAVE_EVERY", 3)
    cine = moving(12, damaged=(5,))
    prompts = {0: [Prompt(box=(20, 20, 60, 60))], 10: [Prompt(mask=cine.truth[10])]}
    whole = track(cine.scan, prompts, model=Told(cine))
    file = tmp_path / "progress.npz"

    def interrupt(done: int, total: int, **_: object) -> None:
        if done == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        track(cine.scan, prompts, model=Told(cine), snapshot=file, on_progress=interrupt)
    assert file.is_file()
    again = moving(12, damaged=(5,))
    told = Told(again)
    rest = track(again.scan, prompts, model=told, snapshot=file)
    assert not told.frames
    assert len(again.read) < 12 + 11 + 4
    assert not file.exists()
    for frame in range(12):
        assert np.array_equal(rest.mask(frame), whole.mask(frame)), frame
        assert rest.origin(frame) == whole.origin(frame)
        assert rest.confidence(frame) == whole.confidence(frame)
    assert rest.stops == whole.stops


def test_the_snapshot_of_another_run_and_a_damaged_one_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SAVE_EVERY", 2)
    cine = moving(6)
    file = tmp_path / "progress.npz"

    def interrupt(done: int, total: int, **_: object) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        track(cine.scan, {0: [Prompt(mask=cine.truth[0])]}, snapshot=file, on_progress=interrupt)
    with pytest.raises(ConfigError, match="of another run"):
        track(cine.scan, {1: [Prompt(mask=cine.truth[0])]}, snapshot=file)
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(ConfigError, match="damaged"):
        track(cine.scan, {0: [Prompt(mask=cine.truth[0])]}, snapshot=file)
