"""`ultrasam track`: what it writes, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.inference.tracking.cines import Cine, Told, dice, moving
from ultrasam.errors import ScanError
from ultrasam.images.masks import decode_rle
from ultrasam.images.reading import read_scan
from ultrasam.inference.inputs import find_inputs

Run = Callable[..., int]


@pytest.fixture
def cine() -> Cine:
    return moving(8)


@pytest.fixture
def file(tmp_path: Path, cine: Cine) -> Path:
    path = tmp_path / "heart.avi"
    height, width = cine.pixels.shape[1:]
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20, (width, height))
    for frame in cine.pixels:
        video.write(np.repeat(frame[..., None], 3, axis=2))
    video.release()
    return path


@pytest.fixture(autouse=True)
def network(monkeypatch: pytest.MonkeyPatch, cine: Cine) -> None:
    """A network that knows the truth of the frame that looks most like the one that is set."""

    class Network(Told):
        def set_image(self, scan: object, *, frame: int | None = None) -> None:
            pixels = np.asarray(scan, np.float32)
            pixels = pixels if pixels.ndim == 2 else pixels[..., 0]
            far = [np.abs(pixels - one).mean() for one in self.cine.pixels]
            self.index = int(np.argmin(far))

    monkeypatch.setattr(
        "ultrasam.inference.predictor.Predictor", lambda *_, **__: Network(cine), raising=True
    )


def test_a_cine_is_tracked_from_a_box_in_any_frame(
    ultrasam: Run, file: Path, cine: Cine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert ultrasam("track", file, "--box", "25,30,55,60", "--frame", 3, "-o", out) == 0
    printed = capsys.readouterr().out.split()
    assert printed == [
        str(out / name) for name in ("heart_overlay.mp4", "heart_contact.png", "predictions.json")
    ]
    entries = json.loads((out / "predictions.json").read_text())
    assert [entry["frame"] for entry in entries] == list(range(8))
    assert [entry["origin"] for entry in entries] == ["propagated"] * 3 + ["key"] + [
        "propagated"
    ] * 4
    for entry in entries:
        truth = cine.truth[entry["frame"]]
        mask = decode_rle(entry["segmentation"])
        assert dice(mask, truth) >= 0.93
        assert np.array_equal(np.asarray(Image.open(out / entry["mask"])) > 0, mask)
        assert entry["keys"] == [3]
        assert entry["model"] == "nano"
        assert entry["ultrasam"]
        assert 0 < entry["score"] <= 1
    film = read_scan(out / "heart_overlay.mp4")
    assert (film.num_frames, film.height, film.width) == (8, *cine.pixels.shape[1:])
    assert not (out / "progress.npz").exists()
    with pytest.raises(ScanError, match="holds no images"):  # results are no inputs
        find_inputs([str(out)])
    assert ultrasam("track", file, "--box", "25,30,55,60", "-o", out) == 1
    assert "--overwrite" in capsys.readouterr().err


def test_a_prompts_file_names_frames_objects_and_ends(
    ultrasam: Run, file: Path, tmp_path: Path
) -> None:
    prompts = tmp_path / "prompts.json"
    entries = [
        {"frame": 1, "object": 0, "box": [25, 30, 55, 60], "category": "cyst"},
        {"frame": 5, "object": 1, "points": [[45, 45]], "category": "vessel"},
        {"frame": 4, "object": 0, "gone": True},
        {"frame": 3, "object": 1, "gone": True},
    ]
    prompts.write_text(json.dumps({"heart.avi": entries}))
    out = tmp_path / "out"
    assert ultrasam("track", file, "--prompts", prompts, "-o", out, "--video", "gif") == 0
    found = json.loads((out / "predictions.json").read_text())
    by_name = {
        name: [e["frame"] for e in found if e["name"] == name] for name in ("cyst", "vessel")
    }
    assert by_name == {"cyst": [0, 1, 2, 3], "vessel": [5, 6, 7]}
    assert (out / "heart_overlay.gif").is_file()


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{"frame": -1, "box": [1, 1, 9, 9]}], "frame must be a number from 0"),
        ([{"frame": 90, "box": [1, 1, 9, 9]}], "Frame 90 does not exist"),
        ([{"gone": True, "box": [1, 1, 9, 9]}], "gone"),
        ([{"object": 1, "box": [1, 1, 9, 9]}], "Object 0 has no prompt"),
        ([{"object": 0, "box": [1, 1, 9, 9]}, {"box": [1, 1, 9, 9]}], "all prompts an object"),
        ([{"object": 0, "box": [1, 1, 9, 9]}] * 2, "two prompts for object 0"),
    ],
)
def test_a_prompts_file_that_makes_no_sense_is_refused(
    entries: list[dict[str, object]],
    message: str,
    ultrasam: Run,
    file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    prompts = tmp_path / "prompts.json"
    prompts.write_text(json.dumps({"*": entries}))
    assert ultrasam("track", file, "--prompts", prompts, "-o", tmp_path / "out") == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "No prompt is given"),
        (("--box", "1,1,9,9", "--frame", "all"), "--frame all has no meaning"),
        (("--box", "1,1,9,9", "--frame", "8"), "Frame 8 does not exist"),
        (("--box", "1,1,9,9", "--axis", "1", "--frame", "200"), "Frame 200 does not exist"),
    ],
)
def test_what_makes_no_sense_is_refused(
    arguments: tuple[str, ...],
    message: str,
    ultrasam: Run,
    file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ultrasam("track", file, *arguments, "-o", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_predict_refuses_the_prompts_of_tracks(
    ultrasam: Run, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = tmp_path / "prompts.json"
    prompts.write_text(json.dumps({"*": [{"frame": 1, "box": [1, 1, 9, 9]}]}))
    assert ultrasam("predict", file, "--prompts", prompts, "-o", tmp_path / "out") == 1
    assert "not frame" in capsys.readouterr().err


def test_an_interrupted_run_is_resumed(
    ultrasam: Run,
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from ultrasam.inference.tracking import passes
    from ultrasam.inference.tracking import track as module

    monkeypatch.setattr(module, "_SAVE_EVERY", 2)
    step, count = passes.Pass.step, [0]

    def interrupted(self: passes.Pass, seen: object) -> object:
        count[0] += 1
        if count[0] == 5:
            raise KeyboardInterrupt
        return step(self, seen)  # type: ignore[arg-type]

    out = tmp_path / "out"
    arguments = ("track", file, "--box", "25,30,55,60", "-o", out)
    monkeypatch.setattr(passes.Pass, "step", interrupted)
    assert ultrasam(*arguments) == 130
    assert "--resume continues it" in capsys.readouterr().err
    assert ultrasam(*arguments) == 1
    assert "--resume" in capsys.readouterr().err
    assert ultrasam(*arguments, "--resume") == 0
    assert count[0] == 5 + 7 - 3
    assert len(json.loads((out / "predictions.json").read_text())) == 8
    assert not (out / "progress.npz").exists()
