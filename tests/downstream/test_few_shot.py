"""Few-shot fine-tuning: draws contain each other, no subject is in training and test, finished runs stay."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import SMALL_NANO, randomized
from tests.datasets.layouts.truth import save
from tests.downstream.spots import bus_bra, save_pairs
from ultrasam.downstream import few_shot
from ultrasam.downstream.few_shot import FewShotRun, FewShotSettings, run_few_shot
from ultrasam.downstream.few_shot_data import FewShotData, draw_order, open_few_shot_data
from ultrasam.downstream.few_shot_report import CurvePoint, FewShotReport
from ultrasam.errors import DataError, InterruptedRunError
from ultrasam.evaluation.records import EvaluationSettings
from ultrasam.training.custom import few_shot_recipe
from ultrasam.training.sources import open_data
from ultrasam.weights.hub import save_pretrained

EVALUATION = EvaluationSettings(("box", "point"))
SMALL = FewShotSettings(EVALUATION, shots=(1, 3), draws=2, steps=2, device="cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("small")
    save_pretrained(randomized(replace(SMALL_NANO, name="nano")), folder)
    return str(folder)


@pytest.fixture(scope="module")
def spots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten images; the last is also there under another name, slightly brighter."""
    folder = tmp_path_factory.mktemp("data") / "spots"
    save_pairs(folder, 10)
    image = cv2.imread(str(folder / "images" / "9.png"), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    save(folder / "images" / "twin.png", np.minimum(image, 250) + np.uint8(2))
    for structure in ("bright", "dark"):
        mask = folder / "masks" / structure
        (mask / "twin.png").write_bytes((mask / "9.png").read_bytes())
    return folder


def opened(folder: Path, **options: Any) -> FewShotData:
    (data,) = open_few_shot_data([str(folder)], **options)
    return data


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(0, 9))
def test_an_order_has_every_image_once_and_every_group_before_any_second_image(
    groups: list[int], seed: int
) -> None:
    order = draw_order(groups, np.random.default_rng(seed)).tolist()
    assert sorted(order) == list(range(len(groups)))
    drawn = [groups[i] for i in order]
    for count in range(1, len(drawn) + 1):
        times = [drawn[:count].count(group) for group in set(groups)]
        still = [groups.count(group) > drawn[:count].count(group) for group in set(groups)]
        # A group is never ahead of another by two, unless the other has no image left.
        behind = [t for t, more in zip(times, still, strict=True) if more]
        assert not behind or max(times) <= min(behind) + 1


def test_a_larger_draw_contains_a_smaller_one_and_another_repeat_draws_others(spots: Path) -> None:
    data = opened(spots)
    draws = {count: data.draw(count, seed=0, repeat=0) for count in range(1, len(data.pool) + 1)}
    for count, names in draws.items():
        assert len(set(names)) == count
        assert names == draws[len(data.pool)][:count]
        assert set(names) <= set(data.names(data.pool))
    assert data.draw(4, seed=0, repeat=0) == opened(spots).draw(4, seed=0, repeat=0)
    assert len({tuple(data.draw(4, seed=0, repeat=repeat)) for repeat in range(5)}) > 1
    assert len({tuple(data.draw(4, seed=seed, repeat=0)) for seed in range(5)}) > 1
    with pytest.raises(DataError, match="cannot be drawn from a pool of"):
        data.draw(len(data.pool) + 1, seed=0, repeat=0)


@pytest.mark.parametrize("seed", range(6))
def test_no_subject_is_both_in_the_pool_and_in_the_test_set(spots: Path, seed: int) -> None:
    data = opened(spots, seed=seed, test_fraction=0.4)
    pool, test = set(data.names(data.pool)), set(data.names(data.test))
    assert pool | test == {*map(str, range(10)), "twin"}
    assert not pool & test
    assert not set(data.groups(data.pool)) & set(data.groups(data.test))
    assert ("9" in pool) == ("twin" in pool)  # nearly equal images are of one subject
    assert len(set(data.groups(data.test))) == 4
    subjects = {
        name: {image.subject for item in data.test_set().items for image in item.read()
               if item.key == name}
        for name in ("9", "twin") if name in test
    }  # fmt: skip
    assert len(set(map(tuple, subjects.values()))) <= 1


def test_the_test_split_of_the_data_is_the_test_set(tmp_path: Path) -> None:
    bus_bra(tmp_path / "raw", 8)
    data = opened(tmp_path / "raw")
    assert data.name == "bus_bra"
    assert len(data.test) == 2
    assert len(data.pool) == 6
    assert "the test set is the test split of the data: 2 images of 2 subjects" in data.how
    with pytest.raises(DataError, match="hc18 not found in"):
        open_few_shot_data([str(tmp_path / "raw")], datasets=["hc18"])


def test_a_limit_spreads_over_the_test_set_and_one_subject_is_refused(
    spots: Path, tmp_path: Path
) -> None:
    data = opened(spots, test_fraction=0.6, limit=2)
    assert len(data.test) == 2
    assert "2 images of 2 subjects (of 6" in data.how or "(of 7, evenly spaced)" in data.how
    save_pairs(tmp_path / "one", 1)
    with pytest.raises(DataError, match="at least two subjects are needed"):
        opened(tmp_path / "one")


def test_training_sees_the_drawn_images_only_and_holds_none_out(spots: Path, model: str) -> None:
    data = opened(spots)
    names = data.draw(3, seed=0, repeat=0)
    recipe = few_shot_recipe(data.store.root, data.dataset, names, init=model)
    assert recipe.trainer.max_steps == 200
    assert recipe.trainer.batch == 8
    assert recipe.validation.every == 0
    found = open_data(recipe)
    assert sorted(image.name for s in found.sources for image in s.images) == sorted(names)
    assert not found.validation
    wrong = few_shot_recipe(data.store.root, data.dataset, ["nobody"], init=model)
    with pytest.raises(DataError, match="has no image 'nobody' with an object"):
        open_data(wrong)


@pytest.mark.usefixtures("undrawn")
def test_a_finished_run_is_not_trained_again(
    spots: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, trained = opened(spots), []
    whole = few_shot.train

    def counting(recipe: Any, **options: Any) -> Path:
        trained.append(recipe.data.store.images)
        if len(trained) == 3:
            raise InterruptedRunError("Interrupted.")
        return whole(recipe, **options)

    monkeypatch.setattr(few_shot, "train", counting)
    with pytest.raises(
        InterruptedRunError, match="3 training images, draw 1; run the same command"
    ):
        run_few_shot([model], [data], tmp_path, SMALL)
    before = (tmp_path / "few_shot.jsonl").read_text()
    assert before.count("\n") == 3  # without fine-tuning, and two draws of one image
    with (tmp_path / "few_shot.jsonl").open("a") as file:
        file.write('{"key": "cut o')
    runs, missing = run_few_shot([model], [data], tmp_path, SMALL)
    assert not missing
    assert len(trained) == 3 + 2
    assert [(run.shots, run.repeat) for run in runs] == [(0, 0), (1, 0), (1, 1), (3, 0), (3, 1)]
    assert [run.images for run in runs[1:]] == [trained[0], trained[1], trained[3], trained[4]]
    again, _ = run_few_shot([model], [data], tmp_path, SMALL)
    assert again == runs
    assert len(trained) == 5
    # Other steps are other runs, and one more draw is one more run for each number of images.
    more = FewShotSettings(EVALUATION, shots=(1,), draws=3, steps=2, device="cpu")
    run_few_shot([model], [data], tmp_path, more)
    assert len(trained) == 6
    assert not list((tmp_path / "models").iterdir())


@pytest.mark.usefixtures("undrawn")
def test_the_same_seed_gives_the_same_results(spots: Path, model: str, tmp_path: Path) -> None:
    settings = FewShotSettings(EVALUATION, shots=(2,), draws=1, steps=2, device="cpu")
    texts = []
    for name in ("a", "b"):
        runs, _ = run_few_shot([model], [opened(spots)], tmp_path / name, settings)
        records = (json.loads(line) for line in (tmp_path / name / runs[1].results).open())
        texts.append([record.get("objects") for record in records])
    assert texts[0] == texts[1]


@pytest.fixture(scope="module")
def finished(
    spots: Path, model: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[FewShotRun]]:
    folder = tmp_path_factory.mktemp("out")
    runs, missing = run_few_shot([model], [opened(spots)], folder, SMALL)
    assert not missing
    return folder, runs


def dice_by_object(folder: Path, run: dict[str, Any], kind: str) -> dict[tuple[str, int], float]:
    """Dice of each object from the lines of a results file, without our reader of results."""
    found = {}
    for line in (folder / run["results"]).read_text().splitlines()[1:]:
        record = json.loads(line)
        for number, entry in enumerate(record["objects"]):
            values = entry["predictions"][kind]
            values = values if isinstance(values, list) else [values]
            found[record["image"], number] = float(np.mean([v["dice"] for v in values]))
    return found


@pytest.mark.parametrize("kind", ["box", "point"])
def test_the_table_has_the_values_of_the_results_files(
    finished: tuple[Path, list[FewShotRun]], model: str, kind: str
) -> None:
    folder, runs = finished
    lines = [json.loads(line) for line in (folder / "few_shot.jsonl").read_text().splitlines()]
    by_shots = defaultdict(list)
    for line in lines:
        by_shots[line["shots"]].append(dice_by_object(folder, line, kind))
    report = FewShotReport("ultrasam", folder, runs, ())
    points = {point.shots: point for point in report.curves("spots", kind)[model]}
    text = report.document(defaultdict(str)).markdown()
    section = text[text.index(f"## spots, {kind}") :]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith(f"| {model}")]
    base = by_shots[0][0]
    for (shots, draws), row in zip(sorted(by_shots.items()), rows, strict=False):
        means = [np.mean(list(draw.values())) for draw in draws]
        point = points[shots]
        assert point.mean == pytest.approx(np.mean(means))
        assert point.draws == len(means) == (1 if shots == 0 else 2)
        assert int(row[1]) == shots
        assert row[3].startswith(f"{np.mean(means):.3f}")
        assert point.low <= point.mean <= point.high
        if shots:
            assert point.deviation == pytest.approx(abs(means[0] - means[1]) / np.sqrt(2))
            gains = [np.mean([draw[key] for draw in draws]) - base[key] for key in base]
            assert point.gain[0] == pytest.approx(np.mean(gains))
            assert f"± {point.deviation:.3f}" in row[3]
            assert row[5].startswith(f"{np.mean(gains):+.3f}")


def test_the_command_writes_tables_and_plots_and_resumes(
    spots: Path, model: str, tmp_path: Path, ultrasam: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    asked = ["evaluate", "few-shot", model, "--data", spots, "--shots", "2,1", "--shots", 99, "--draws", 1,
             "--steps", 1, "--prompt-type", "box", "-o", tmp_path, "--device", "cpu"]  # fmt: skip
    assert ultrasam(*asked) == 1
    shown = capsys.readouterr()
    assert "99 training images cannot be drawn from a pool of" in shown.err
    assert shown.out.split() == [str(tmp_path / "report.md"), str(tmp_path / "report.html")]
    text = (tmp_path / "report.md").read_text()
    assert "## Not run: 1" in text
    assert "Each fine-tuning takes 1 step " in text
    picture = re.search(r"!\[spots, box\]\((.*)\)", text)
    assert picture
    assert "<svg" in (tmp_path / picture[1]).read_text()
    page = (tmp_path / "report.html").read_text()
    assert page.count("<figure") == 2  # beside the conclusion, and in its section
    lines = (tmp_path / "few_shot.jsonl").read_text()
    assert lines.count("\n") == 3
    assert ultrasam(*asked, "--json") == 1
    assert (tmp_path / "few_shot.jsonl").read_text() == lines
    content = json.loads(capsys.readouterr().out)
    assert content["missing"] == ["spots: 99 training images cannot be drawn from a pool of 9."]
    assert [point["shots"] for point in content["curves"][0]["curve"]] == [0, 1, 2]
    assert content["curves"][0]["curve"][0]["gain"] is None


def test_a_model_that_has_seen_the_data_set_is_said_to_have(
    finished: tuple[Path, list[FewShotRun]], model: str
) -> None:
    folder, runs = finished
    report = FewShotReport("ultrasam", folder, runs, ())
    assert report.seen() == [
        f"{model} on spots: whether the initial weights have seen these images is unknown."
    ]
    first = runs[0].key
    # What is not in the catalog may come from a data set that the weights have seen.
    for seen, told in ((set(), ""), ({"busi"}, "is unknown"), ({"spots"}, "the gain on a new one")):
        report.results[first] = replace(report.results[first], trained_on=frozenset(seen))
        assert told in "".join(report.seen())
        assert bool(report.seen()) == bool(told)
    report.results[first] = replace(report.results[first], trained_on=frozenset({"spots"}))
    assert "have seen this data set; the gain" in report.document().markdown()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ellipse", "cannot be fine-tuned"),
        ("transformers:facebook/sam-vit-base", "cannot be fine-tuned"),
        ("imagenet", "takes no prompts"),
        ("resnet50", "takes no prompts"),
        ("random:resnet50", "takes no prompts"),
        ("nonsense", "neither a file nor a known model"),
    ],
)
def test_a_model_without_prompts_or_weights_is_refused_in_one_sentence(
    name: str, reason: str, spots: Path, tmp_path: Path, ultrasam: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert ultrasam("evaluate", "few-shot", name, "--data", spots, "-o", tmp_path / "out") == 1
    shown = capsys.readouterr().err
    assert reason in shown
    assert shown.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("shots", ["", "0", "1,two", "-1", "1.5"])
def test_shots_must_be_numbers(
    shots: str, spots: Path, ultrasam: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ultrasam("evaluate", "few-shot", "nano", "--data", spots, f"--shots={shots}") == 1
    assert "repeat it for others: --shots 1 --shots 5." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("low", "high", "subjects", "end"),
    [
        (0.05, 0.15, 6, "the gain is +0.100 [+0.050, +0.150]."),
        (-0.01, 0.2, 6, "the gain is +0.100 [-0.010, +0.200], which may be by chance."),
        (
            0.05,
            0.15,
            5,
            "; with 5 subjects to test on, nobody can tell whether that is by chance.",
        ),
        (
            np.nan,
            np.nan,
            1,
            "; with one subject to test on, nobody can tell whether that is by chance.",
        ),
    ],
)
def test_a_gain_is_called_sure_only_where_the_test_set_can_tell(
    low: float, high: float, subjects: int, end: str
) -> None:
    before = CurvePoint(0, 1, 8, subjects, 0.7, np.nan, low, high, (np.nan,) * 3)
    after = CurvePoint(5, 1, 8, subjects, 0.8, np.nan, low, high, (0.1, low, high))
    made_up = SimpleNamespace(
        panels=lambda: [("mine", "box")], curves=lambda *_: {"nano": [before, after]}
    )
    (line,) = FewShotReport.conclusion(cast(FewShotReport, made_up))
    assert line.endswith(end)
