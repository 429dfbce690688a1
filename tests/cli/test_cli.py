"""The command line as a user meets it: files in, files out, one sentence for every error."""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from tests.cli.commands import COMMANDS, options_of
from tests.images.files import sample_files
from ultrasam import Predictor, Prompt, load
from ultrasam.cli import main
from ultrasam.cli.overview import TASKS
from ultrasam.inference.inputs import find_inputs
from ultrasam.phantom.acquisition import simulate
from ultrasam.training.recipe import load_recipe


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


def test_no_tta_decodes_the_whole_image_only(ultrasam, picture: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    box = (40.0, 30.0, 70.0, 60.0)
    done = ultrasam("predict", picture, "--box", "40,30,70,60", "--no-tta", "-o", tmp_path / "out")
    assert done.status == 0, done.err
    found = np.asarray(Image.open(tmp_path / "out" / "a_mask_0.png")) > 0
    for tta in (True, False):
        predictor = Predictor(load("nano", device="cpu"), tta=tta)
        predictor.set_image(picture)
        expected = predictor.predict(Prompt(box=box)).masks[0, 0]
        assert np.array_equal(found, expected) is not tta


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
    second = json.loads((out / "predictions.json").read_text())[1]
    assert (
        f"{second['file_name']}: its results are named a_2, because several inputs are called a; "
        "predictions.json says which is which."
    ) in done.err


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
        ('{"a.png": []}', "'a.png': The list is empty; give a prompt"),
        ('{"a.png": [{"circle": 3}]}', "may have only the keys"),
        ('{"a.png": [{"box": [1, 2, 3]}]}', "is invalid; give x0"),
    ):
        prompts.write_text(content)
        assert message in ultrasam("predict", picture, "--prompts", prompts).err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["predict", "{a}"], 1, "No prompt is given"),
        (["predict", "{a}", "--box", "1,2,3"], 1, "give x0,y0,x1,y1"),
        (["predict", "{a}", "--box", "a,b,c,d"], 1, "give x0,y0,x1,y1"),
        (["predict", "{a}", "--point", "5"], 1, "give x,y"),
        (["predict", "{a}", "--point", "5,5,2"], 1, "third number"),
        (["predict", "{a}", "--point", "500,5"], 1, "outside the scan"),
        (["predict", "{a}", "--point", "nan,5"], 1, "finite"),
        (["predict", "{a}", "--box", "9,9,3,3"], 1, "x0 < x1"),
        (["predict", "{a}", "--point", "5,5", "--frame", "4"], 1, "frame 4 does not exist"),
        (["predict", "{a}", "--point", "5,5", "--model", "nonsense"], 1, "neither a file"),
        (["predict", "{a}", "--point", "5,5", "--model", "{a}"], 1, "not a checkpoint"),
        (["predict", "{a}", "--point", "5,5", "--precision", "int1"], 2, "'fp32', 'bf16'"),
        (["predict", "nowhere.png", "--point", "5,5"], 1, "nowhere.png does not exist"),
        (["predict", "nowhere*.png", "--point", "5,5"], 1, "No file matches"),
        (["predict", "{a}", "--frame", "x"], 2, "--frame"),
        (["predict"], 2, "INPUT"),
        (["fly"], 2, "No such command"),
        (["train", "nowhere.yaml"], 1, "Unknown recipe"),
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
    assert "cannot be written" in done.err


def test_results_of_an_earlier_run_are_replaced_only_if_asked_for(
    ultrasam, picture: Path, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "out"
    asked = ["predict", picture, "--box", "10,10,60,50", "-o", out]
    assert ultrasam(*asked, "--box", "50,40,110,85").status == 0
    (out / "notes.txt").write_text("mine")
    again = ultrasam(*asked)
    assert again.status == 1
    assert again.err == (
        f"ultrasam: {out} holds the results of an earlier run; choose another -o, or replace them with "
        "--overwrite.\n"
    )
    assert ultrasam(*asked, "--overwrite").status == 0
    names = {"a_mask_0.png", "a_overlay.png", "predictions.json", "notes.txt"}
    assert {path.name for path in out.iterdir()} == names


def test_candidates_of_a_click_are_listed_drawn_and_replaced(
    ultrasam, picture: Path, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "out"
    prompts = tmp_path / "p.json"
    several = {"points": [[60, 45], [5, 5]], "labels": [1, 0]}
    prompts.write_text(
        json.dumps({"*": [{"points": [[60, 45]]}, {"box": [1, 1, 50, 50]}, several]})
    )
    done = ultrasam("predict", picture, "--prompts", prompts, "--candidates", "-o", out)
    assert done.status == 0, done.err
    assert done.err.count("--candidates applies to single clicks only") == 1
    assert str(out / "a_candidates_0.png") in done.out
    entries = json.loads((out / "predictions.json").read_text())
    assert ["candidates" in entry for entry in entries] == [True, False, False]
    returned = np.asarray(Image.open(out / "a_mask_0.png")) > 0
    for one in entries[0]["candidates"]:
        mask = np.asarray(Image.open(out / one["mask"])) > 0
        assert mask.sum() == one["area"]
        assert np.array_equal(mask, returned) == one["returned"]
    assert sum(one["returned"] for one in entries[0]["candidates"]) == 1
    assert find_inputs([str(tmp_path)]) == [picture]  # no result is segmented in turn
    click = ("predict", picture, "--point", "60,45", "-o", out, "--overwrite")
    assert "single clicks only" not in ultrasam(*click, "--candidates").err
    assert ultrasam(*click).status == 0
    left = {"a_mask_0.png", "a_overlay.png", "predictions.json"}
    assert {path.name for path in out.iterdir()} == left


def test_a_model_of_boxes_alone_has_no_candidates(
    ultrasam, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(Predictor, "accepts", frozenset({"box"}))
    out = tmp_path / "out"
    done = ultrasam("predict", picture, "--box", "10,10,60,50", "--candidates", "-o", out)
    assert done.status == 1
    assert "nano takes boxes only; it has no use for --candidates." in done.err
    assert not list(out.glob("*"))


def test_without_out_results_go_to_a_folder_named_for_the_input(
    ultrasam, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    assert ultrasam("predict", picture.name, "--box", "10,10,60,50").status == 0
    assert (tmp_path / "runs" / "predict" / "a" / "a_overlay.png").exists()


def test_a_traceback_is_printed_only_if_asked_for(  # type: ignore[no-untyped-def]
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["ultrasam", "train", "nonsense"])
    for value, printed in (("0", False), ("1", True)):
        monkeypatch.setenv("ULTRASAM_DEBUG", value)
        with pytest.raises(SystemExit):
            main.run()
        error = capsys.readouterr().err
        assert ("Traceback" in error) is printed
        assert error.splitlines()[-1].startswith("ultrasam: Unknown recipe")


def test_quiet_prints_no_notes_and_verbose_prints_more(  # type: ignore[no-untyped-def]
    ultrasam, picture: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    picture.rename(folder / "a.png")
    (folder / "notes.txt").touch()
    printed = {}
    for option in ("--quiet", None, "--verbose"):
        done = ultrasam(
            *([option] if option else []), "predict", folder, "--box", "10,10,60,50", "--device", "cpu",
            "-o", tmp_path / str(option),
        )  # fmt: skip
        assert done.status == 0
        printed[option] = done.err
    note = "left out 1 file that is not an image (1 × .txt)"
    details = (
        r"nano\.safetensors: nano, in the format of meta; preprocessing: .*size 256",
        r"nano runs on cpu, its image encoder in float32 \(the default\); SHA-256 of its weights: \w{64}\.",
    )
    assert [note in printed[option] for option in printed] == [False, True, True]
    for pattern in details:
        assert [bool(re.search(pattern, err)) for err in printed.values()] == [False, False, True]


def test_without_a_command_every_task_has_an_example_that_the_command_line_takes(
    ultrasam,
) -> None:  # type: ignore[no-untyped-def]
    text = ultrasam().out
    for rows in TASKS.values():
        for want, example in rows:
            assert want in text
            words = shlex.split(example)[1:]
            name = next(n for n in COMMANDS if words[: len(n.split())] == n.split())
            known = options_of(COMMANDS[name])
            assert {w for w in words if w.startswith("--")} <= set(known), example


@pytest.mark.parametrize("own", [None, "ACTIVE"])
def test_waiting_threads_leave_the_processor_to_others_unless_told_otherwise(
    ultrasam, monkeypatch: pytest.MonkeyPatch, own: str | None
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if own:
        monkeypatch.setenv("OMP_WAIT_POLICY", own)
    ultrasam("models")
    assert os.environ["OMP_WAIT_POLICY"] == (own or "PASSIVE")


def test_a_gpu_that_is_not_there_is_one_sentence(  # type: ignore[no-untyped-def]
    ultrasam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    given = ["data.sources=[]", "data.phantoms.count=2", "--device", "cuda"]
    for extra in ([], ["--dry-run"]):
        done = ultrasam("train", "nano", *given, *extra)
        assert done.status == 1
        assert done.err == "ultrasam: Device 'cuda' is not available; use 'cpu'.\n"
    assert not list(tmp_path.iterdir())


def test_recipes_are_listed_and_copied_with_what_they_extend(ultrasam, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    rows = json.loads(ultrasam("recipes", "list", "--json").out)
    assert {row["name"]: row["use"] for row in rows}["evaluation/paper"] == (
        "ultrasam evaluate evaluation/paper"
    )
    assert all(row["about"] for row in rows)
    done = ultrasam("recipes", "copy", "base-lora", tmp_path / "mine.yaml")
    assert done.out.split() == [str(tmp_path / "mine.yaml"), str(tmp_path / "base-mixed.yaml")]
    assert load_recipe(tmp_path / "mine.yaml").adapt.kind == "lora"
    again = ultrasam("recipes", "copy", "base-lora", tmp_path / "mine.yaml")
    assert again.status == 1
    assert again.err == (
        f"ultrasam: {tmp_path / 'mine.yaml'} exists; choose another DEST, or replace it with --overwrite.\n"
    )


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
