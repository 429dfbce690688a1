"""The command line as a user meets it: files in, files out, one sentence for every error."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from tests.images.files import sample_files
from ultrasam import Predictor, Prompt, load
from ultrasam.cli import main
from ultrasam.phantom.acquisition import simulate


class Outcome:
    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err


@pytest.fixture
def ultrasam(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Run the command line in this process."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["ultrasam", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main.run()
        captured = capsys.readouterr()
        code = stop.value.code
        assert "Traceback" not in captured.out + captured.err
        return Outcome(code if isinstance(code, int) else 0, captured.out, captured.err)

    return run


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    Image.fromarray(simulate(3, size=(90, 120)).pixels).save(path)
    return path


def test_a_picture_gives_masks_an_overlay_and_coco_results(
    ultrasam, picture: Path, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "out"
    done = ultrasam("predict", picture, "--box", "10,10,60,50", "--box", "50,40,110,85", "-o", out)
    assert done.status == 0, done.err
    assert sorted(p.name for p in out.iterdir()) == [
        "a_mask_0.png",
        "a_mask_1.png",
        "a_overlay.png",
        "predictions.json",
    ]
    assert str(out / "a_overlay.png") in done.out
    entries = json.loads((out / "predictions.json").read_text())
    assert [e["prompt"]["box"] for e in entries] == [[10, 10, 60, 50], [50, 40, 110, 85]]
    for index, entry in enumerate(entries):
        mask = np.asarray(Image.open(out / f"a_mask_{index}.png"))
        assert mask.shape == (90, 120)
        assert set(np.unique(mask)) <= {0, 255}
        assert np.array_equal(coco_mask.decode(entry["segmentation"]), mask > 0)
        assert entry["bbox"] == coco_mask.toBbox(entry["segmentation"]).tolist()
        assert {"image_id", "category_id", "score", "model", "ultrasam", "created"} <= set(entry)
    assert Image.open(out / "a_overlay.png").size == (120, 90)


def test_once_looks_at_the_whole_image_alone(ultrasam, picture: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    box = (40.0, 30.0, 70.0, 60.0)
    done = ultrasam("predict", picture, "--box", "40,30,70,60", "--once", "-o", tmp_path / "out")
    assert done.status == 0, done.err
    found = np.asarray(Image.open(tmp_path / "out" / "a_mask_0.png")) > 0
    for once in (True, False):
        predictor = Predictor(load("nano", device="cpu"), tta=not once)
        predictor.set_image(picture)
        expected = predictor.predict(Prompt(box=box)).masks[0, 0]
        assert np.array_equal(found, expected) is once


def test_one_bad_file_is_reported_and_the_rest_go_on(
    ultrasam, picture: Path, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "bad.png").write_text("not a picture")
    (tmp_path / "z.png").write_bytes(picture.read_bytes())
    out = tmp_path / "out"
    done = ultrasam("predict", tmp_path, "--point", "60,45", "-o", out)
    assert done.status == 1
    assert "bad.png is not a valid PNG file" in done.err
    assert "1 of 3 files failed" in done.err
    assert (out / "a_overlay.png").exists()
    assert (out / "z_overlay.png").exists()
    assert len(json.loads((out / "predictions.json").read_text())) == 2


def test_globs_and_equal_stems_are_kept_apart(ultrasam, picture: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    Image.open(picture).save(tmp_path / "a.bmp")
    out = tmp_path / "out"
    done = ultrasam(
        "predict", tmp_path / "a.*", "--point", "60,45,1", "--point", "5,5,0", "-o", out
    )
    assert done.status == 0, done.err
    assert (out / "a_overlay.png").exists()
    assert (out / "a_2_overlay.png").exists()


def test_a_prompts_file_says_what_is_wanted_of_each_image(
    ultrasam, picture: Path, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    prompts = tmp_path / "prompts.json"
    prompts.write_text(
        json.dumps({"a.png": [{"box": [1, 1, 50, 50]}, {"points": [[30, 30]], "labels": [1]}]})
    )
    done = ultrasam("predict", picture, "--prompts", prompts, "-o", tmp_path / "out")
    assert done.status == 0, done.err
    assert len(json.loads((tmp_path / "out" / "predictions.json").read_text())) == 2
    prompts.write_text(json.dumps({"b.png": [{"box": [1, 1, 50, 50]}]}))
    assert "has no prompts for a.png" in ultrasam("predict", picture, "--prompts", prompts).err
    for content, message in (
        ("[1]", "must map"),
        ("{", "not JSON"),
        ('{"a.png": []}', "needs a list"),
        ('{"a.png": [{"circle": 3}]}', "has the keys"),
        ('{"a.png": [{"box": [1, 2, 3]}]}', "is not x0"),
    ):
        prompts.write_text(content)
        assert message in ultrasam("predict", picture, "--prompts", prompts).err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["predict", "{a}"], 1, "Say what to segment"),
        (["predict", "{a}", "--box", "1,2,3"], 1, "give x0,y0,x1,y1"),
        (["predict", "{a}", "--box", "a,b,c,d"], 1, "give x0,y0,x1,y1"),
        (["predict", "{a}", "--point", "5"], 1, "give x,y"),
        (["predict", "{a}", "--point", "5,5,2"], 1, "third number"),
        (["predict", "{a}", "--point", "500,5"], 1, "outside the scan"),
        (["predict", "{a}", "--point", "nan,5"], 1, "finite"),
        (["predict", "{a}", "--box", "9,9,3,3"], 1, "x0 < x1"),
        (["predict", "{a}", "--point", "5,5", "--frame", "4"], 1, "no frame 4"),
        (["predict", "{a}", "--point", "5,5", "--model", "nonsense"], 1, "neither a file"),
        (["predict", "{a}", "--point", "5,5", "--model", "{a}"], 1, "not a checkpoint"),
        (["predict", "{a}", "--point", "5,5", "--precision", "int1"], 1, "float32 or bfloat16"),
        (["predict", "nowhere.png", "--point", "5,5"], 1, "There is no file"),
        (["predict", "nowhere*.png", "--point", "5,5"], 1, "No file matches"),
        (["predict", "{a}", "--frame", "x"], 2, "--frame"),
        (["predict"], 2, "INPUT"),
        (["fly"], 2, "No such command"),
        (["train", "nowhere.yaml"], 1, "There is no recipe"),
    ],
)
def test_every_mistake_is_one_sentence(  # type: ignore[no-untyped-def]
    ultrasam, picture: Path, tmp_path: Path, arguments: list[str], status: int, message: str
) -> None:
    given = [a.replace("{a}", str(picture)) for a in arguments]
    given += (
        ["-o", str(tmp_path / "out")] if arguments[0] == "predict" and len(arguments) > 1 else []
    )
    done = ultrasam(*given)
    assert done.status == status
    assert message in done.err
    assert len(done.err.strip().splitlines()) <= 2


def test_an_output_folder_that_cannot_be_is_told(ultrasam, picture: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "file").write_text("in the way")
    done = ultrasam("predict", picture, "--point", "9,9", "-o", tmp_path / "file" / "out")
    assert done.status == 1
    assert "Cannot write" in done.err


@pytest.mark.slow
def test_damaged_files_of_every_format_end_in_an_error_or_whole_results(
    ultrasam, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    random.seed(1)
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "good").mkdir()
    for name, path in sample_files(tmp_path / "good").items():
        good = path.read_bytes()
        for attempt in range(3):
            bad = bytearray(good)
            if attempt:
                for _ in range(10):
                    bad[random.randrange(len(bad))] ^= 1 << random.randrange(8)
            else:
                bad = bad[: random.randrange(len(bad))]
            (folder / f"bad{attempt}.{name}").write_bytes(bytes(bad))
    (folder / "fine.png").write_bytes((tmp_path / "good" / "a.png").read_bytes())
    done = ultrasam("predict", folder, "--point", "20,20", "-o", tmp_path / "out")
    assert done.status == 1
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert "fine_overlay.png" in names
    assert not [n for n in names if n.startswith(".")]
    for path in (tmp_path / "out").glob("*.png"):
        Image.open(path).verify()
    json.loads((tmp_path / "out" / "predictions.json").read_text())


def test_help_and_version_come_without_loading_the_model() -> None:
    for arguments in (["--help"], ["--version"], ["predict", "--help"], ["train", "--help"]):
        code = (
            f"import sys; sys.argv = ['ultrasam', *{arguments}]\n"
            "from ultrasam.cli.main import run\n"
            "try: run()\n"
            "except SystemExit as stop: print('status', stop.code, 'torch' in sys.modules)"
        )
        out = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert out.stdout.strip().endswith("status 0 False")
