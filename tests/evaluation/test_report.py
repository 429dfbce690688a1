"""The report's numbers against ones computed from the records in another way."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.metrics import roc_auc_score

from tests.evaluation import made_up
from tests.evaluation.made_up import Data
from ultrasam.evaluation.report import absent, clicks, conclusion, failures, tables
from ultrasam.evaluation.report.choice import choice_table
from ultrasam.evaluation.report.clinical import ClinicalErrors, agreement_table
from ultrasam.evaluation.report.duplicates import joined_subjects
from ultrasam.evaluation.report.groups import dataset_groups, training_sentences, training_status
from ultrasam.evaluation.report.means import over_datasets, paired
from ultrasam.evaluation.report.published import published_robustness_table, published_table
from ultrasam.evaluation.report.results import Results
from ultrasam.evaluation.report.robustness import DISTURBANCES, robustness_table
from ultrasam.evaluation.report.subgroups import thin_table
from ultrasam.images.masks import decode_rle
from ultrasam.reporting.tables import NONE, Table


def values(
    results: Results, kind: str, metric: str, *datasets: str
) -> dict[tuple[str, str, int], list[Any]]:
    """The value of each repeat, by data set, image and object, from the records themselves."""
    return {
        (record["dataset"], record["image"], number): [
            p[metric] for p in entry["predictions"][kind]
        ]
        for record in results.images
        if record["dataset"] in datasets
        for number, entry in enumerate(record["objects"])
    }


def cell(table: Table, row: str, column: str, *, below: str = "") -> str:
    """A cell by the first cell of its row and the head of its column; of the group with that title."""
    rows = list(table.rows)
    if below:
        start = next(i for i, cells in enumerate(rows) if cells[0] == below)
        rows = rows[start + 1 :]
    (found,) = [cells for cells in rows if cells[0] == row][:1]
    return found[table.head.index(column)]


# Seen and unseen


def test_data_sets_are_grouped_by_who_has_seen_them(found: tuple[Results, ...]) -> None:
    groups = {group.label: group.datasets for group in dataset_groups(found)}
    assert groups == {
        "unseen": ("bus_bra", "us_nerve"), "seen by nano": ("hc18",), "seen by nano, medsam": ("busi",),
    }  # fmt: skip
    nano, _, disc = found
    assert (
        training_status(nano, "clinic") == "unknown"
    )  # not in the catalog: it may be of any source
    assert training_status(disc, "clinic") == "unseen"  # never trained
    stranger = replace(nano, name="stranger", trained_on=None)
    assert training_status(stranger, "busi") == "unknown"
    assert "Nothing is known of the training data of stranger." in training_sentences(
        [nano, stranger]
    )
    assert "Seen: trained on images of the same source." in training_sentences(found)
    (alone,) = dataset_groups([stranger])
    assert alone.label == "unknown whether seen"


def test_the_source_of_a_data_set_of_another_name_can_be_stated(
    found: tuple[Results, ...],
) -> None:
    nano = replace(found[0], sources={"clinic": "busi", "ward": "camus", "us_nerve": "us_nerve"})
    assert training_status(nano, "clinic") == "seen"
    assert training_status(nano, "ward") == "unseen"
    assert training_status(nano, "busi") == "seen"
    assert training_status(nano, "attic") == "unknown"
    assert "As stated in the command or suite, us_nerve is of us_nerve." in training_sentences(
        [nano]
    )


def test_no_mean_mixes_seen_and_unseen_data_sets(found: tuple[Results, ...]) -> None:
    table = tables.dataset_table(found, "box", "dice")
    means = [
        np.mean(list(values(found[0], "box", "dice", name).values()))
        for name in ("bus_bra", "us_nerve")
    ]
    assert cell(table, "**mean over data sets**", "nano").split()[0] == f"{np.mean(means):.3f}"
    pooled = list(values(found[0], "box", "dice", "bus_bra", "us_nerve").values())
    assert cell(table, "**mean over objects**", "nano").split()[0] == f"{np.mean(pooled):.3f}"
    assert [row[0] for row in table.rows if not any(row[1:])] == [
        "2 data sets, unseen", "hc18, seen by nano", "busi, seen by nano, medsam",
    ]  # fmt: skip
    assert len([row for row in table.rows if "mean" in row[0]]) == 2


def test_the_conclusion_is_apart_by_group_and_protocol(found: tuple[Results, ...]) -> None:
    texts = conclusion.conclusion(found)
    starts = [re.findall(r"\*\*(.*?)\.\*\*", text)[0] for text in texts]
    assert starts == [
        "Unseen: 2 data sets, exact prompts", "Unseen: 2 data sets, human prompts",
        "Seen by nano: 1 data set (hc18), exact prompts",
        "Seen by nano: 1 data set (hc18), human prompts",
        "Seen by nano, medsam: 1 data set (busi), exact prompts",
        "Seen by nano, medsam: 1 data set (busi), human prompts",
    ]  # fmt: skip
    best = over_datasets(found[0], "interior", ("bus_bra", "us_nerve"))
    assert best is not None
    assert f"Click (interior): **nano**, Dice {best.mean:.3f}" in texts[0]
    assert "over disc" in texts[0]


# Means and their doubt


def test_the_deviation_is_that_of_the_mean_between_repeats(found: tuple[Results, ...]) -> None:
    mean = over_datasets(found[0], "random", ("bus_bra", "us_nerve"))
    assert mean is not None
    by_set = [
        np.mean(list(values(found[0], "random", "dice", name).values()), axis=0)
        for name in ("bus_bra", "us_nerve")
    ]
    assert np.shape(by_set) == (2, 3)
    by_repeat = np.mean(by_set, axis=0)
    assert mean.deviation == pytest.approx(np.std(by_repeat, ddof=1))
    assert mean.mean == pytest.approx(np.mean(by_repeat))
    assert mean.text().startswith(f"{mean.mean:.3f} ± {mean.deviation:.3f} [")
    exact = over_datasets(found[0], "box", ("bus_bra",))
    assert exact is not None
    assert "±" not in exact.text()


def test_a_difference_is_of_the_same_objects(found: tuple[Results, ...]) -> None:
    both, box = (found[0].rows(kind) for kind in ("box+interior", "box"))
    gap = paired(both, box, "dice", ["bus_bra"])
    ours, theirs = (values(found[0], kind, "dice", "bus_bra") for kind in ("box+interior", "box"))
    assert gap is not None
    assert gap.mean == pytest.approx(np.mean([ours[k][0] - theirs[k][0] for k in theirs]))
    assert gap.bounds[0] <= gap.mean <= gap.bounds[1]
    table = clicks.beside_box_table(found)
    assert table is not None
    says = {row[-1] for row in table.rows if any(row[1:])}
    assert says <= {"worse", "better", "may be by chance", "too few subjects"}


def test_robustness_stands_in_the_order_of_the_disturbance(found: tuple[Results, ...]) -> None:
    table = robustness_table(found, DISTURBANCES[0])
    assert table is not None
    assert table.head == ("model", "× 0.85", "exact", "× 1.15")
    scaled = over_datasets(found[0], "box-scaled85", ("bus_bra", "us_nerve"))
    assert scaled is not None
    assert cell(table, "nano", "× 0.85") == scaled.text()
    assert robustness_table(found, DISTURBANCES[1]) is None


# Clicks, failures, nothing there, choice, clinical error


def test_clicks_to_reach_an_iou_are_counted(found: tuple[Results, ...]) -> None:
    ious = [v[0] for v in values(found[0], "interior5", "ious", "bus_bra", "us_nerve").values()]
    needed = [next((n for n, v in enumerate(row, 1) if v >= 0.85), None) for row in ious]
    table = clicks.click_table(found)
    assert table is not None
    assert cell(table, "interior5", "NoC@0.85") == f"{np.mean([n or 5 for n in needed]):.2f}"
    assert cell(table, "interior5", "failures@0.85").split()[0] == str(needed.count(None))
    after_box = [
        v[0] for v in values(found[0], "box+clicks3", "ious", "bus_bra", "us_nerve").values()
    ]
    needed = [next((n for n, v in enumerate(row) if v >= 0.80), None) for row in after_box]
    assert (
        cell(table, "box+clicks3", "NoC@0.80")
        == f"{np.mean([3 if n is None else n for n in needed]):.2f}"
    )
    curve = clicks.curve_table(found)
    assert curve is not None
    assert cell(curve, "box+clicks3", "box") == f"{np.mean([row[0] for row in after_box]):.3f}"
    assert cell(curve, "interior5", "5") == f"{np.mean([row[-1] for row in ious]):.3f}"


def test_failures_are_counted_with_every_repeat(found: tuple[Results, ...]) -> None:
    ious = np.ravel(list(values(found[2], "random", "iou", "bus_bra", "us_nerve").values()))
    table = failures.failure_table(found, 0.5)
    assert cell(table, "random", "disc").split()[0] == f"{np.mean(ious < 0.5):.1%}"
    assert cell(table, "random", "medsam") == NONE  # it takes no clicks


def test_the_area_under_the_roc_curve_is_that_of_scikit_learn(found: tuple[Results, ...]) -> None:
    everything = absent.absences(found)
    assert {(a.results.name, a.dataset, a.kind) for a in everything} == {
        ("nano", "busi", "box"), ("nano", "busi", "interior"), ("medsam", "busi", "box"),
        ("disc", "busi", "interior"),
    }  # fmt: skip
    for each in everything:
        present = np.ravel(list(values(each.results, each.kind, "predicted_iou", "busi").values()))
        empty = [
            r["absent"][each.kind]["predicted_iou"]
            if r["absent"][each.kind]["area"] else -1.0
            for r in each.results.images if "absent" in r
        ]  # fmt: skip
        truth = [1] * len(present) + [0] * len(empty)
        assert each.roc.area.value == pytest.approx(roc_auc_score(truth, [*present, *empty]))
    table = absent.absence_table(everything)
    assert table is not None
    assert all("[" in row[table.head.index("AUC")] for row in table.rows)


def test_the_choice_among_three_masks_is_told(found: tuple[Results, ...]) -> None:
    table = choice_table(found)
    assert table is not None
    assert {row[1] for row in table.rows if any(row[1:])} == {
        "nano"
    }  # the only one with candidates
    chosen, best = (
        np.ravel(list(values(found[0], "box", m, "bus_bra", "us_nerve").values()))
        for m in ("iou", "best_iou")
    )
    assert cell(table, "box", "lost by choosing").split()[0] == f"{np.mean(best - chosen):.3f}"
    assert cell(table, "box", "chosen is best") == f"{np.mean(chosen >= best - 2e-5):.1%}"


def test_clinical_errors_are_against_the_sources_measurement(found: tuple[Results, ...]) -> None:
    errors = ClinicalErrors(found)
    assert errors.headline() == ("head circumference", "mm")
    table = agreement_table(errors, "area", "px²")
    assert table is not None
    differences = [
        int(predicted.sum()) - int(truth.sum())
        for record in found[0].images if record["dataset"] == "bus_bra"
        for entry in record["objects"]
        for truth, predicted in [
            tuple(
                decode_rle({"size": record["size"], "counts": counts})
                for counts in (entry["truth"], entry["predictions"]["box"][0]["mask"])
            )
        ]
    ]  # fmt: skip
    assert cell(table, "bus_bra", "bias (px²)").split()[0] == f"{np.mean(differences):+.0f}"
    assert cell(table, "bus_bra", "SD") == f"{np.std(differences, ddof=1):.0f}"
    around = agreement_table(errors, "head circumference", "mm")
    assert around is not None
    (floor,) = [title for title in around.head if title.startswith("floor")]
    assert 0 < float(cell(around, "hc18", floor).split()[0]) < 0.5  # an ellipse in pixels of 0.5 mm
    assert float(cell(around, "hc18", "MAE ± SD").split()[0]) > 1


def test_thin_structures_have_their_boundary(found: tuple[Results, ...]) -> None:
    table = thin_table(found, "box")
    assert table is not None
    assert {row[:2] for row in table.rows} == {("us_nerve", "nerve")}
    assert table.head[-2:] == ("Dice", "boundary F (2 px)")


# Duplicates


def test_subjects_who_share_an_image_are_one(found: tuple[Results, ...]) -> None:
    subjects = found[0].subjects
    assert subjects["us_nerve", "000"] == subjects["us_nerve", "005"] == "us_nerve/0"
    assert (
        subjects["us_nerve", "001"] == subjects["us_nerve", "004"] == "us_nerve/0"
    )  # of the same two
    assert subjects["us_nerve", "002"] == "us_nerve/1"
    assert set(found[0].rows("box", "us_nerve")["subject"]) == {"us_nerve/0", "us_nerve/1"}


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 4), st.integers(0, 9)),
        min_size=1,
        max_size=25,
    )
)
def test_joined_subjects_are_connected_components(images: list[tuple[str, int, int]]) -> None:
    records = [
        {"dataset": dataset, "image": str(number), "subject": str(subject), "pixels": str(pixels)}
        for number, (dataset, subject, pixels) in enumerate(images)
    ]
    joined = joined_subjects(records)
    people = sorted({(r["dataset"], r["subject"]) for r in records})
    pictures = defaultdict(list)
    for r in records:
        pictures[r["pixels"]].append(people.index((r["dataset"], r["subject"])))
    edges = [(group[0], other) for group in pictures.values() for other in group]
    graph = coo_array((np.ones(len(edges)), np.transpose(edges)), shape=(len(people),) * 2)
    _, labels = connected_components(graph, directed=False)
    for one in records:
        for two in records:
            same = joined[one["dataset"], one["image"]] == joined[two["dataset"], two["image"]]
            mine, theirs = (labels[people.index((r["dataset"], r["subject"]))] for r in (one, two))
            assert same == (mine == theirs)


# Published results


def test_published_results_appear_only_for_the_data_at_hand(
    found: tuple[Results, ...], tmp_path: Path
) -> None:
    table = published_table(found)
    assert table is not None
    assert {row[0] for row in table.rows} == {"bus_bra", "busi", "us_nerve"}
    sources = table.head.index("source")
    assert all(row[sources] for row in table.rows)
    boxes = [row for row in table.rows if row[:3] == ("busi", "box", "Dice")]
    mean = np.mean(list(values(found[0], "box", "dice", "busi").values()))
    assert {row[table.head.index("ours: nano")] for row in boxes} == {f"{mean:.3f}"}
    assert published_robustness_table(found) is not None
    mine = made_up.write(tmp_path, made_up.FEW_MODELS[0], [Data("mine", 2)], kinds=["box"])
    assert published_table([mine]) is None
