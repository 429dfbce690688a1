"""The first screen compares models on the same objects and prompts, and claims no more than is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.evaluation import made_up
from tests.evaluation.made_up import Data, Model
from ultrasam.evaluation.metrics.statistics import bootstrap_interval
from ultrasam.evaluation.report import first_screen
from ultrasam.evaluation.report.absent import absences
from ultrasam.evaluation.report.choice import choice_section
from ultrasam.evaluation.report.clicks import beside_box_table
from ultrasam.evaluation.report.clinical import ClinicalErrors
from ultrasam.evaluation.report.conclusion import conclusion, evaluated
from ultrasam.evaluation.report.failures import failure_section
from ultrasam.evaluation.report.groups import main_groups
from ultrasam.evaluation.report.means import by_dataset, estimate, over_datasets, paired, seed_of
from ultrasam.evaluation.report.provenance import how_section
from ultrasam.evaluation.report.results import Results, read_results
from ultrasam.evaluation.report.tables import metric_table
from ultrasam.images.masks import decode_rle, encode_rle
from ultrasam.measure.ellipse import fit_ellipse
from ultrasam.reporting.tables import NONE

Record = dict[str, Any]
HEADS = Data(
    "hc18", 8, spacing=(0.5, 0.5), structures=("fetal_head",), measured="head_circumference_mm"
)
NERVES = Data("us_nerve", 10, empty=8)
CLICKER = Model("disc", 0.35, accepts=frozenset({"point"}), candidates=False)


def changed(folder: Path, results: Results, change: Callable[[Record], Record]) -> Results:
    """The results with each record changed in the file."""
    file = folder / f"{results.name}.jsonl"
    header, *records = (json.loads(line) for line in file.read_text().splitlines())
    lines = [header, *map(change, records)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return read_results(file)


def screen(*results: Results) -> tuple[dict[str, dict[str, str]], str]:
    """The cells of the first table by model and head, and its note."""
    errors, found = ClinicalErrors(results), absences(results)
    table = first_screen.compact_table(results, found, errors, main_groups(results))
    rows = {row[0]: dict(zip(table.head, row, strict=True)) for row in table.rows}
    return rows, first_screen.compact_note(results, found, errors)


def test_the_note_explains_the_number_of_clicks_only_where_it_is_a_column(tmp_path: Path) -> None:
    for kinds, kind in ((["box", "box+clicks3"], None), (["interior", "interior5"], "interior5")):
        results = made_up.write(tmp_path, Model("nano", 0.10), [HEADS], kinds=kinds)
        rows, note = screen(results)
        column = "NoC@0.85 (failures)" in rows["nano"]
        assert column == ("NoC: clicks" in note) == (kind is not None)
        assert kind is None or f"NoC: clicks to IoU 0.85 (`{kind}`)." in note


def test_one_data_set_has_no_tables_by_data_set(tmp_path: Path) -> None:
    for data, number in (([HEADS], 0), ([HEADS, NERVES], 1)):
        found = [made_up.write(tmp_path / str(number), Model("nano", 0.10), data, kinds=["box"])]
        for part in (failure_section(found), choice_section(found)):
            assert part is not None
            assert len(part.sections) == number


def test_a_model_that_failed_on_hard_images_is_not_the_best_for_that(tmp_path: Path) -> None:
    good = made_up.write(tmp_path, Model("good", 0.10), [HEADS, NERVES], kinds=["box"])
    worse = made_up.write(tmp_path, Model("worse", 0.12), [HEADS, NERVES], kinds=["box"])
    hard = worse.table.sort("dice")["image"].head(5).to_list()

    def failing(record: Record) -> Record:
        if record["image"] in hard:
            return {k: record[k] for k in ("dataset", "image")} | {"error": "RuntimeError: boom"}
        return record

    failed = changed(tmp_path, worse, failing)
    done = len(failed.table)
    own = [
        np.mean([r.rows("box", name)["dice"].mean() for name in ("hc18", "us_nerve")])
        for r in (good, failed)
    ]
    assert own[1] > own[0]  # on what each has segmented

    shared = failed.table.select("dataset", "image", "object")
    on_shared = good.table.join(shared, on=["dataset", "image", "object"])
    fair = np.mean(
        [on_shared.filter(on_shared["dataset"] == n)["dice"].mean() for n in ("hc18", "us_nerve")]
    )
    best, value = ("good", fair) if fair > own[1] else ("worse", own[1])
    (line,) = conclusion([good, failed])
    assert (
        f"**{best}**, Dice on the {done} of 18 objects that all models segmented {value:.3f}"
        in line
    )
    rows, _ = screen(good, failed)
    assert set(rows) == {"good", f"worse ({done} of 18 objects)"}


def test_the_lead_is_never_against_the_order(tmp_path: Path) -> None:
    def failing(number: int, record: Record) -> Record:
        failed = {"dataset": record["dataset"], "image": record["image"], "error": "x"}
        return failed if int(record["image"]) % 3 == number else record

    first = made_up.write(tmp_path, Model("a", 0.10), [HEADS, NERVES], kinds=["box"])
    for error in (0.09, 0.10, 0.11, 0.12):
        for number in range(3):
            second = made_up.write(tmp_path, Model("b", error), [HEADS, NERVES], kinds=["box"])
            failed = changed(tmp_path, second, partial(failing, number))
            (line,) = conclusion([first, failed])
            assert "objects that all models segmented" in line
            assert "; +0." in line or ", +0." in line


def test_a_column_has_one_prompt_type(tmp_path: Path) -> None:
    kinds = ["box", "interior"]
    both = made_up.write(tmp_path, Model("both", 0.1), [HEADS, NERVES], kinds=kinds)
    clicks = made_up.write(tmp_path, CLICKER, [HEADS, NERVES], kinds=kinds)
    rows, note = screen(both, clicks)
    assert rows["both"]["nothing there, AUC"] != NONE
    assert rows["both"]["head circ. error (mm)"] != NONE
    # A click's figure beside a box's would look like a worse model.
    assert rows["disc"]["nothing there, AUC"] == NONE
    assert rows["disc"]["head circ. error (mm)"] == NONE
    assert "AUC (`box`)" in note
    assert "Clinical error (`box`)" in note
    alone, note = screen(clicks)
    assert alone["disc"]["nothing there, AUC"] != NONE
    assert "AUC (`interior`)" in note


def test_masks_without_a_measure_are_counted_beside_the_clinical_error(tmp_path: Path) -> None:
    model = made_up.write(tmp_path, Model("m", 0.1), [HEADS], kinds=["box"])
    before, _ = screen(model)

    def emptied(record: Record) -> Record:
        if record["image"] in ("000", "003"):
            (prediction,) = record["objects"][0]["predictions"]["box"]
            prediction["mask"] = encode_rle(np.zeros(record["size"], bool))["counts"]
        return record

    after, _ = screen(changed(tmp_path, model, emptied))
    assert "(" not in before["m"]["head circ. error (mm)"]
    assert after["m"]["head circ. error (mm)"].endswith(" (2 not measurable)")

    def all_emptied(record: Record) -> Record:
        (prediction,) = record["objects"][0]["predictions"]["box"]
        prediction["mask"] = encode_rle(np.zeros(record["size"], bool))["counts"]
        return record

    after, _ = screen(changed(tmp_path, model, all_emptied))
    assert after["m"]["head circ. error (mm)"] == "none (8 not measurable)"


def test_one_data_set_of_one_subject_does_not_spoil_the_others(tmp_path: Path) -> None:
    data = [HEADS, NERVES, Data("busi", 2)]  # busi: two images of one subject
    results = [
        made_up.write(tmp_path, Model(name, error), data, kinds=["box"])
        for name, error in (("a", 0.05), ("b", 0.4))
    ]
    (line,) = conclusion(results)
    first, second = (r.rows("box") for r in results)
    all_three = paired(first, second, "dice", ["busi", "hc18", "us_nerve"])
    rest = paired(first, second, "dice", ["hc18", "us_nerve"])
    assert all_three is not None
    assert rest is not None
    low, high = rest.bounds
    assert low > 0
    assert (
        f", {all_three.mean:+.3f} over b; busi is of one subject, without it "
        f"{rest.mean:+.3f} [{low:+.3f}, {high:+.3f}]." in line
    )
    assert "nobody can tell" not in line
    alone = [
        made_up.write(tmp_path, Model(name, error), [Data("busi", 2)], kinds=["box"])
        for name, error in (("a", 0.05), ("b", 0.4))
    ]
    (line,) = conclusion(alone)
    assert "with one subject, nobody can tell whether that is by chance" in line


@pytest.mark.parametrize("error", [0.02, 0.12])
def test_a_model_of_unknown_training_is_named_among_unseen_data_sets(
    tmp_path: Path, error: float
) -> None:
    own = made_up.write(tmp_path, Model("own", 0.1, frozenset({"busi"})), [NERVES], kinds=["box"])
    stranger = made_up.write(tmp_path, Model("stranger", error, None), [NERVES], kinds=["box"])
    (line,) = conclusion([own, stranger])
    assert line.startswith("**Unseen")
    assert "Whether stranger has seen these data is unknown." in line
    (line,) = conclusion([own])
    assert "unknown" not in line


def test_few_subjects_decide_nothing(tmp_path: Path) -> None:
    """Two or five subjects agree by chance too often: in 1 of 2 and 1 of 16 cases."""
    for images, subjects in ((4, 2), (10, 5)):
        data = [Data("us_nerve", images)]
        kinds = ["box", "box+clicks3"]
        results = [
            made_up.write(tmp_path, Model(name, error), data, kinds=kinds)
            for name, error in (("a", 0.02), ("b", 0.5))
        ]
        (line,) = conclusion(results)
        assert f"; with {subjects} subjects, nobody can tell whether that is by chance" in line
        table = beside_box_table(results)
        assert table is not None
        assert {row[-1] for row in table.rows} == {"too few subjects"}
    data = [Data("us_nerve", 12)]
    results = [
        made_up.write(tmp_path, Model(name, error), data, kinds=["box"])
        for name, error in (("a", 0.02), ("b", 0.5))
    ]
    (line,) = conclusion(results)
    assert "by chance" not in line


@pytest.mark.parametrize(("subjects", "low", "high"), [(4, 0.75, 0.85), (10, 0.87, 0.94)])
def test_intervals_of_few_subjects_are_as_narrow_as_the_report_says(
    subjects: int, low: float, high: float
) -> None:
    rng = np.random.default_rng(5)
    names = [str(number) for number in range(subjects)]
    held = []
    for seed in range(600):
        found = bootstrap_interval(rng.normal(size=subjects), names, n_resamples=500, seed=seed)
        held.append(found[0] <= 0 <= found[1])
    assert low < np.mean(held) < high


def test_a_mean_never_mixes_millimeters_and_pixels(tmp_path: Path) -> None:
    results = made_up.write(tmp_path, Model("m", 0.1), [HEADS, NERVES], kinds=["box", "random"])
    table = metric_table([results], "box")
    (row,) = table.rows
    cells = dict(zip(table.head, row, strict=True))
    for head, name in (("surface Dice (1 mm)", "hc18"), ("surface Dice (2 px)", "us_nerve")):
        own = results.rows("box", name)["surface_dice"].to_numpy()
        assert cells[head] == f"{own.mean():.3f}"
    assert "surface Dice" not in cells
    assert "first of the repeats" not in table.note
    assert "first of the repeats" in metric_table([results], "random").note


def test_data_sets_of_the_same_subjects_are_not_independent(tmp_path: Path) -> None:
    """A data set evaluated twice, under two names, says no more than once."""
    once = made_up.write(tmp_path, Model("m", 0.3), [Data("us_nerve", 24)], kinds=["box"])
    file = tmp_path / "m.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    again = [line.replace('"dataset": "us_nerve"', '"dataset": "busi"') for line in lines[1:]]
    file.write_text("".join([*lines, *again]))
    twice = read_results(file)
    assert len(twice.table) == 2 * len(once.table)
    single = over_datasets(once, "box", ["us_nerve"])
    both = over_datasets(twice, "box", ["busi", "us_nerve"])
    assert single is not None
    assert both is not None
    assert both.mean == pytest.approx(single.mean)
    assert len(both.subjects) == len(single.subjects) == 12
    assert np.ptp(both.bounds) == pytest.approx(np.ptp(single.bounds), rel=0.1)  # not 1 / √2 of it


def test_linked_data_sets_are_drawn_together_and_others_as_before(tmp_path: Path) -> None:
    data = [Data("bus_bra", 8), Data("busi", 8), Data("us_nerve", 8, duplicates={0: "busi0"})]
    results = made_up.write(tmp_path, Model("m", 0.3), data, kinds=["box"])
    names = [each.name for each in data]
    found = by_dataset(results.rows("box"), "dice", names)
    assert list(found) == names
    assert len(found["busi"].subjects & found["us_nerve"].subjects) == 1
    for name in names:
        alone = estimate(results.rows("box", name), "dice", seed=seed_of(name))
        assert alone is not None
        assert found[name].mean == alone.mean
        assert np.isfinite(found[name].resamples).all()
        assert len(found[name].resamples) == len(alone.resamples)
        same = np.array_equal(found[name].resamples, alone.resamples)
        assert same == (name == "bus_bra")
        if not same:
            assert np.ptp(found[name].bounds) == pytest.approx(np.ptp(alone.bounds), rel=0.35)


def test_the_report_says_where_nobody_knows_who_is_who(tmp_path: Path) -> None:
    known = made_up.write(tmp_path, Model("m", 0.1), [HEADS, NERVES], kinds=["box"])
    assert evaluated([known]).startswith("1 model on 18 objects in 18 images of 9 subjects from")
    assert "nothing says" not in str(how_section([known], "").blocks)

    def anonymous(record: Record) -> Record:
        return record | {"subject": record["image"]} if record["dataset"] == "hc18" else record

    results = changed(tmp_path, known, anonymous)
    assert "in 18 images of at most 13 subjects from" in evaluated([results])
    assert "In hc18, nothing says which images are of one person" in str(
        how_section([results], "").blocks
    )


def test_the_error_of_a_perfect_mask_stands_beside_the_clinical_error(tmp_path: Path) -> None:
    model = made_up.write(tmp_path, Model("m", 0.1), [HEADS, NERVES], kinds=["box"])
    errors = [
        abs(
            fit_ellipse(
                decode_rle({"size": record["size"], "counts": entry["truth"]}), (0.5, 0.5)
            ).circumference
            - record["measurements"]["head_circumference_mm"]
        )
        for record in model.images
        if record["dataset"] == "hc18"
        for entry in record["objects"]
    ]
    assert ClinicalErrors([model]).floor() == pytest.approx(np.mean(errors))
    _, note = screen(model)
    assert (
        f"Clinical error (`box`): mean absolute, of a perfect mask {np.mean(errors):.1f}." in note
    )
    unmeasured = made_up.write(
        tmp_path, Model("m", 0.1), [replace(HEADS, measured="")], kinds=["box"]
    )
    assert "Clinical error (`box`): mean absolute." in screen(unmeasured)[1]


def test_an_area_under_the_curve_of_few_prompts_says_of_how_many(tmp_path: Path) -> None:
    column = "nothing there, AUC"
    for images, empty, told in ((12, 3, " (12 / 3)"), (1, 12, " (1 / 12)"), (10, 10, "")):
        data = [Data("us_nerve", images, empty=empty)]
        model = made_up.write(tmp_path, Model("m", 0.1), data, kinds=["box"])
        rows, note = screen(model)
        (found,) = absences([model])
        assert rows["m"][column] == f"{found.roc.area.value:.2f}{told}"
        assert "with 10 prompts of either kind" in note


def test_a_data_set_of_few_empty_images_does_not_weigh_as_much_as_one_of_many(
    tmp_path: Path,
) -> None:
    data = [Data("us_nerve", 12, empty=15), Data("camus", 30, empty=1)]
    model = made_up.write(tmp_path, Model("m", 0.1), data, kinds=["box"])
    areas = {found.dataset: found.roc.area.value for found in absences([model])}
    assert set(areas) == {"us_nerve", "camus"}
    assert screen(model)[0]["m"]["nothing there, AUC"] == f"{areas['us_nerve']:.2f}"


def test_a_floor_on_a_few_images_does_not_narrow_the_comparison_of_the_others(
    tmp_path: Path,
) -> None:
    data = [HEADS, NERVES]
    good = made_up.write(tmp_path, Model("good", 0.10), data, kinds=["box"])
    worse = made_up.write(tmp_path, Model("worse", 0.20), data, kinds=["box"])
    floor = made_up.write(tmp_path, Model("floor", 0.60), data, kinds=["box"])
    floor = replace(floor, images=(*floor.images[:2], *floor.images[-2:]))
    assert 2 <= len(floor.table) < len(good.table) / 2
    (alone,), (together,) = conclusion([good, worse]), conclusion([good, worse, floor])
    assert together == f"{alone} Not ranked, with less than half of the objects: floor."
    rows, _ = screen(good, worse, floor)
    assert f"floor ({len(floor.table)} of {len(good.table)} objects)" in rows
