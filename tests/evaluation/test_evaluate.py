"""`ultrasam evaluate` from folders to reports: interrupted, damaged, extended and compared."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from tests import processes
from tests.datasets.layouts import MAKERS
from tests.datasets.layouts.truth import gray, save
from ultrasam.cli import main
from ultrasam.datasets.file_tree import Skip
from ultrasam.errors import EvaluationError
from ultrasam.evaluation.metrics.statistics import paired_difference
from ultrasam.evaluation.models.baselines import EllipseInBox, RandomWalker
from ultrasam.evaluation.models.registry import EvaluationModel, open_evaluation_model
from ultrasam.evaluation.prompt_types import PromptKind
from ultrasam.evaluation.protocol import segment_targets, targets_of
from ultrasam.evaluation.records import EvaluationSettings
from ultrasam.evaluation.report.results import read_results
from ultrasam.evaluation.runner import run_evaluation
from ultrasam.evaluation.sources import open_evaluation_datasets
from ultrasam.evaluation.suite import load_suite
from ultrasam.images.masks import inscribed_ellipse
from ultrasam.inference.predictor import Predictor
from ultrasam.phantom.acquisition import simulate
from ultrasam.prompts import Prompt
from ultrasam.weights.hub import save_pretrained
from ultrasam.weights.load import load_model
from ultrasam.weights.registry import PREPROCESSING

RECIPES = Path(__file__).parents[2] / "src" / "ultrasam" / "recipes"


def folder_of(path: Path, count: int, *, start: int = 100) -> Path:
    for i in range(count):
        phantom = simulate(start + i, size=(120, 160))
        save(path / "images" / f"p{i:02}.png", phantom.pixels)
        mask = phantom.masks[0] if len(phantom.masks) else np.zeros((120, 160), bool)
        save(path / "masks" / f"p{i:02}.png", gray(mask))
    return path


def ultrasam(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["ultrasam", "evaluate", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main.run()
    return int(stop.value.code or 0)


def prompt_types(*names: str) -> list[str]:
    return [word for name in names for word in ("--prompt-type", name)]


def without_times(report: str) -> str:
    return re.sub(r"## Run time\n.*?(?=\n## |\Z)", "", report, flags=re.DOTALL)


def test_a_report_has_every_table_and_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = folder_of(tmp_path / "mine", 6)
    out = tmp_path / "out"
    asked = [
        "ellipse",
        "disc",
        "random-walker",
        "--data",
        mine,
        *prompt_types("box", "point", "points3"),
        "-o",
        out,
    ]
    assert ultrasam(monkeypatch, *asked) == 0
    text = (out / "report.md").read_text()
    for heading in ("Dice, box", "All metrics, point", "Differences in Dice",
                    "Number of clicks", "Calibration error of the predicted IoU", "Run time"):  # fmt: skip
        assert f"## {heading}" in text
    assert "Published results" not in text  # there are none for this data
    assert "HD95 (px)" in text
    assert "HD95 (mm)" not in text  # the spacing is unknown
    page = (out / "report.html").read_text()
    assert page.count("<svg role") >= 8
    assert "data:image/jpeg" in page
    assert ultrasam(monkeypatch, *asked, "--no-cases") == 0
    assert "data:image/jpeg" not in (out / "report.html").read_text()
    assert not re.search(r"(src|href)=.https?:", page)
    lines = [json.loads(line) for line in (out / "ellipse.jsonl").read_text().splitlines()]
    assert lines[0]["settings"]["prompts"] == ["box"]
    (prediction,) = lines[1]["objects"][0]["predictions"]["box"]
    assert {"dice", "hd95", "surface_dice", "predicted_iou", "mask"} <= set(prediction)


@pytest.mark.usefixtures("undrawn")
def test_damage_and_images_without_an_object_are_named_and_count_in_no_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = folder_of(tmp_path / "mine", 5)
    clean = tmp_path / "clean"
    assert (
        ultrasam(monkeypatch, "ellipse", "--data", mine, "--prompt-type", "box", "-o", clean) == 0
    )
    whole = (mine / "images" / "p00.png").read_bytes()
    (mine / "images" / "broken.png").write_bytes(whole[: len(whole) // 3])
    save(mine / "masks" / "broken.png", np.zeros((120, 160), np.uint8))
    save(mine / "images" / "nothing.png", np.zeros((120, 160), np.uint8))
    save(mine / "masks" / "nothing.png", np.zeros((120, 160), np.uint8))
    out = tmp_path / "out"
    capsys.readouterr()
    assert ultrasam(monkeypatch, "ellipse", "--data", mine, "--prompt-type", "box", "-o", out) == 0
    assert "1 image could not be read" in capsys.readouterr().err
    text = (out / "report.md").read_text()
    assert re.search(r"\| ellipse \| mine \| [^|]*broken[^|]* \| .*\|", text)
    assert re.search(
        r"\| all \| mine \| [^|]*nothing[^|]* \| no object of at least 64 pixels \|", text
    )
    rows = [re.findall(r"\| mine \|.*", t)[0] for t in ((clean / "report.md").read_text(), text)]
    assert rows[0] == rows[1]


def test_a_segmenter_that_fails_on_an_image_loses_only_that_image(tmp_path: Path) -> None:
    class Fragile(EllipseInBox):
        def segment(self, prompt: Prompt) -> np.ndarray:  # type: ignore[override,type-arg]
            if self.pixels.sum() % 2:
                raise ZeroDivisionError("odd")
            return super().segment(prompt)

    datasets = open_evaluation_datasets([str(folder_of(tmp_path / "mine", 8))])
    file = tmp_path / "fragile.jsonl"
    fragile = EvaluationModel("fragile", Fragile(), frozenset({"box"}))
    run_evaluation(fragile, datasets, file, settings=EvaluationSettings(("box",)))
    results = read_results(file)
    assert 0 < len(results.errors) < 8
    assert all(line["error"] == "ZeroDivisionError: odd" for line in results.errors)
    assert len(results.images) == 8


def test_an_empty_prediction_scores_zero_and_its_distance_is_undefined(tmp_path: Path) -> None:
    class Blind(EllipseInBox):
        def segment(self, prompt: Prompt) -> np.ndarray:  # type: ignore[override,type-arg]
            return np.zeros(self.shape, bool)

    from ultrasam.evaluation.report.tables import metric_table

    datasets = open_evaluation_datasets([str(folder_of(tmp_path / "mine", 4))])
    file = tmp_path / "blind.jsonl"
    blind = EvaluationModel("blind", Blind(), frozenset({"box"}))
    run_evaluation(blind, datasets, file, settings=EvaluationSettings(("box",)))
    results = read_results(file)
    table = metric_table([results], "box")
    (row,) = table.rows
    cells = dict(zip(table.head, row, strict=True))
    assert cells["Dice"] == "0.000"
    assert cells["undefined distances"] == str(len(results.table))
    assert "HD95 (px)" not in cells  # nothing to show


def kill_before_image(number: int) -> None:
    """SIGKILL this process as its model is given the ``number``-th image."""
    set_image, seen = Predictor.set_image, 0

    def counting(self: Predictor, *arguments: Any, **options: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)
        set_image(self, *arguments, **options)

    Predictor.set_image = counting  # type: ignore[method-assign]


@pytest.mark.slow
def test_killed_and_resumed_gives_the_same_report(tmp_path: Path) -> None:
    mine = folder_of(tmp_path / "mine", 8)
    reports = []
    for name, kills in (("whole", ()), ("killed", (3, 1, 4))):
        out = tmp_path / name / "out"
        asked = ("evaluate", "nano", "ellipse", "--data", mine, *prompt_types("box10", "points3", "human3"),
                 "-o", out)  # fmt: skip
        done = 0
        for number in kills:
            kill = partial(kill_before_image, number)
            assert processes.killed(processes.run(*asked, log=tmp_path / "log", before=kill))
            done += number - 1
            assert (out / "nano.jsonl").read_text().count("\n") == 1 + done
        assert processes.run(*asked, log=tmp_path / "log") == (0,), (tmp_path / "log").read_text()
        text = without_times((out / "report.md").read_text())
        reports.append(text.replace(str(out), ""))
    assert reports[0] == reports[1]
    assert "| mine | 8" in reports[0]


def results(file: Path) -> list[dict[str, object]]:
    """The lines of a file of results, without the time that each took."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


@pytest.mark.usefixtures("undrawn")
def test_results_cut_off_at_any_place_go_on_to_the_same_results(tmp_path: Path) -> None:
    mine = folder_of(tmp_path / "mine", 4)
    (mine / "images" / "broken.png").write_bytes(b"nothing")
    save(mine / "masks" / "broken.png", np.zeros((120, 160), np.uint8))
    MAKERS["echonet_dynamic"](tmp_path / "clips" / "echonet_dynamic")
    competitor, file = open_evaluation_model("disc"), tmp_path / "disc.jsonl"
    lost = (Skip("lost.png", "it is named in a table alone", damage=True),)
    collections = [
        replace(collection, skips=lost)
        for collection in open_evaluation_datasets([str(mine), str(tmp_path / "clips")])
    ]

    def evaluated() -> list[dict[str, object]]:
        settings = EvaluationSettings(("point", "random2"))
        run_evaluation(competitor, collections, file, settings=settings)
        return results(file)

    expected = evaluated()
    whole = file.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    assert len(ends) == len(expected) == 1 + 5 + 2 * 2 + 2  # two frames of each of two clips
    for end in ends:
        for cut in (end - 40, end - 1, end):  # in a line, before its end, behind it
            file.write_bytes(whole[:cut])
            assert evaluated() == expected, cut
    for cut in (0, 10):
        file.write_bytes(whole[:cut])
        assert evaluated() == expected, cut


@pytest.mark.usefixtures("undrawn")
def test_other_weights_of_one_name_are_not_mixed_into_old_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = folder_of(tmp_path / "mine", 1)
    model = load_model("nano", device="cpu")
    asked = [tmp_path / "model", "--data", mine, "--prompt-type", "box", "-o", tmp_path / "out"]
    for status in (0, 0, 1):
        if status == 1:
            with torch.no_grad():
                model.image_encoder.pos_embed.add_(0.5)
        save_pretrained(model, tmp_path / "model")
        assert ultrasam(monkeypatch, *asked) == status
    assert "contains results of other weights" in capsys.readouterr().err


@pytest.mark.usefixtures("undrawn")
def test_results_of_other_preprocessing_are_not_taken_for_these(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, model = folder_of(tmp_path / "mine", 1), load_model("nano", device="cpu")
    asked = [tmp_path / "model", "--data", mine, "--prompt-type", "box", "-o", tmp_path / "out"]
    for preprocessing, status in (("nano", 0), ("nano", 0), ("medsam", 1)):
        model.preprocessor = replace(PREPROCESSING[preprocessing], size=256)
        save_pretrained(model, tmp_path / "model")
        assert ultrasam(monkeypatch, *asked) == status
    assert "contains results of other weights" in capsys.readouterr().err


def test_other_settings_are_not_mixed_into_old_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = folder_of(tmp_path / "mine", 2)
    asked = ["ellipse", "--data", mine, "--prompt-type", "box", "-o", tmp_path / "out"]
    assert ultrasam(monkeypatch, *asked) == 0
    capsys.readouterr()
    assert ultrasam(monkeypatch, *asked, "--seed", 3, "--prompt-type", "box10") == 1
    error = capsys.readouterr().err
    assert (
        "results of other settings (prompts: box instead of box, box10; seed: 0 instead of 3); delete "
        "it or choose another --out." in error
    )


def test_the_json_counts_objects_and_not_the_repeats_of_random_prompts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = folder_of(tmp_path / "mine", 2)
    asked = ["ellipse", "--data", mine, "--prompt-type", "box", "--prompt-type", "box10"]
    assert ultrasam(monkeypatch, *asked, "-o", tmp_path / "out", "--json") == 0
    (model,) = json.loads(capsys.readouterr().out)["models"]
    counts = {kind: scores["objects"] for kind, scores in model["scores"]["mine"].items()}
    assert counts == {"box": 2, "box10": 2}


def test_results_of_an_earlier_version_are_refused(tmp_path: Path) -> None:
    old = tmp_path / "nano.jsonl"
    old.write_text('{"competitor": "nano", "settings": {"prompts": ["box"], "seed": 0}}\n')
    with pytest.raises(EvaluationError, match="earlier version of UltraSam"):
        read_results(old)


@pytest.mark.usefixtures("undrawn")
def test_two_results_are_compared_pair_by_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, out = folder_of(tmp_path / "mine", 8), tmp_path / "out"
    ultrasam(
        monkeypatch, "ellipse", "filled-box", "--data", mine, "--prompt-type", "box", "-o", out
    )
    capsys.readouterr()
    files = [str(out / "ellipse.jsonl"), str(out / "filled-box.jsonl")]
    monkeypatch.setattr(sys, "argv", ["ultrasam", "compare", *files])
    with pytest.raises(SystemExit, match="0"):
        main.run()
    shown = capsys.readouterr().out
    assert re.search(r"ellipse – filled-box \| box \| \d+ \| \d+ \| \+0\.\d+ \| \[\+", shown)


def test_a_paired_difference_is_by_subject() -> None:
    first = np.linspace(0.5, 0.9, 40)
    second = first - 0.1
    many = paired_difference(first, second, [str(i) for i in range(40)])
    few = paired_difference(first, second, [str(i % 3) for i in range(40)])
    assert many.mean == pytest.approx(0.1)
    assert many.p < 1e-6 < 0.05 < few.p
    assert paired_difference(first, first, ["a"] * 40).p == 1


def test_options_of_a_model_reach_its_predictor() -> None:
    plain = cast(Predictor, open_evaluation_model("nano", device="cpu").segmenter)
    once = cast(Predictor, open_evaluation_model("nano+once+refine", device="cpu").segmenter)
    assert (plain.tta.flip, plain.tta.zoom, plain.refine) == (True, 1.6, False)
    assert (once.tta.flip, once.tta.zoom, once.refine) == (False, 0, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nano", "--data", "nowhere"], "nowhere"),
        (["ellipse", "--data", "mine", "--prompt-type", "lasso"], "Unknown prompt type 'lasso'"),
        (["ellipse", "--data", "mine", "--prompt-type", "point"], "accepts only box prompts"),
        (["random:giant", "--data", "mine"], "unknown size"),
        (["nano+fast", "--data", "mine"], "unknown option '+fast'"),
        (["nano.pth", "--data", "mine"], "nano.pth"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    folder_of(tmp_path / "mine", 2)
    monkeypatch.chdir(tmp_path)
    assert ultrasam(monkeypatch, *arguments) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_third_party_adds_a_segmenter_by_an_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs.py").write_text(
        "from ultrasam.evaluation.models.baselines import FilledBox\n"
        "def make(argument):\n"
        "    if argument == 'bad': raise RuntimeError('no such weights')\n"
        "    return FilledBox()\n"
    )
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ultrasam.segmenters]\ntheirs = theirs:make\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    model = open_evaluation_model("theirs:weights.pt")
    assert model.accepts == {"box"}
    with pytest.raises(EvaluationError, match="no such weights"):
        open_evaluation_model("theirs:bad")


def test_the_papers_suite_names_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = load_suite(RECIPES / "evaluation" / "paper.yaml")
    assert {name for e in suite.entries for name in e.datasets} == {
        "mmotu-2d", "bus-bra", "gist514-db",
    }  # fmt: skip
    for entry in suite.entries:
        run_of = re.fullmatch(r"runs/train/([\w-]+)/model(\+refine)?", entry.model)
        assert run_of is None or (RECIPES / f"{run_of[1]}.yaml").exists()
    own = tmp_path / "suite.yaml"
    own.write_text(
        "title: Mine\nprompts: [box]\nentries:\n"
        "  - {title: Ellipse, model: ellipse}\n"
        "  - {title: Lost, model: lost.pth}\n"
        "  - {title: Elsewhere, model: ellipse, datasets: [busi]}\n"
    )
    mine = folder_of(tmp_path / "mine", 2)
    assert ultrasam(monkeypatch, own, "--data", mine, "-o", tmp_path / "out") == 0
    text = (tmp_path / "out" / "report.md").read_text()
    assert text.startswith("# Mine")
    assert re.search(r"- Lost: .*lost\.pth", text)
    assert "- Elsewhere: --data has no busi." in text
    own.write_text("title: Mine\nprompts: [box]\nentries: []\n")
    with pytest.raises(EvaluationError, match="has no entries"):
        load_suite(own)
    own.write_text(
        "title: Mine\nprompts: [box]\nentries: [{title: A, model: x}, {title: A, model: y}]\n"
    )
    with pytest.raises(EvaluationError, match="share a title"):
        load_suite(own)


@pytest.mark.parametrize(
    "name", ["box", "box15", "point", "random", "offcenter", "human", "points4", "human2"]
)
def test_prompts_of_every_kind_point_at_their_object(name: str) -> None:
    class Watching(EllipseInBox):
        accepts = frozenset({"box", "point"})

        def segment(self, prompt: Prompt) -> np.ndarray:  # type: ignore[override,type-arg]
            seen.append(prompt)
            return np.zeros(self.shape, bool)

    from ultrasam.datasets.annotated_image import AnnotatedImage, Instance

    truth = inscribed_ellipse((30, 20, 90, 70), (100, 120))
    pixels = np.zeros((100, 120), np.uint8)
    sample = AnnotatedImage.in_memory(
        pixels, (Instance("cyst", truth),), dataset="d", name="n", subject="s", source="p"
    )
    hits, kind = [], PromptKind.parse(name)
    for seed in range(40):
        seen: list[Prompt] = []
        segmenter = Watching()
        segmenter.set_image(pixels)
        (prediction,) = segment_targets(segmenter, targets_of(sample, seed=seed), kind)
        assert len(seen) == len(prediction.ious) == kind.rounds
        if kind.uses == {"point"}:
            points = np.asarray(seen[-1].points)
            assert points.shape == (kind.clicks, 2)
            x, y = np.floor(points[0]).astype(int)
            hits.append(bool(truth[y, x]))
    assert (
        np.mean(hits) >= (0.8 if name.startswith("human") else 1) if hits else kind.uses == {"box"}
    )


def test_the_random_walker_finds_a_bright_disc() -> None:
    truth = inscribed_ellipse((45, 32, 75, 58), (100, 120))
    rng = np.random.default_rng(0)
    walker = RandomWalker()
    walker.set_image(
        np.where(truth, 190, 60).astype(np.uint8) + rng.integers(0, 20, (100, 120), np.uint8)
    )
    for prompt in (Prompt(box=(40, 27, 80, 63)), Prompt(points=[(60, 45)])):
        mask = walker.predict(prompt).masks[0, 0]
        assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.9


def test_data_sets_in_a_folder_are_found_and_other_folders_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder_of(tmp_path / "all" / "clinic", 2)
    folder_of(tmp_path / "all" / "BUSI_mine", 2)
    (tmp_path / "all" / "notes").mkdir()
    found = open_evaluation_datasets([str(tmp_path / "all")])
    assert [c.name for c in found] == ["BUSI_mine", "clinic"]
    (message,) = caplog.messages
    assert "notes: not a known data set" in message
    (one,) = open_evaluation_datasets([str(tmp_path / "all" / "clinic")], limit=1)
    assert len(one.items) == 1
