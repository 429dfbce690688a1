"""Figures of others: every one can be shown, and is told with where it stands."""

from __future__ import annotations

import math

from ultrasam.datasets.catalogue import catalogue, facts
from ultrasam.evaluation.prompt_types import PromptKind
from ultrasam.evaluation.published import (
    GENERIC_SAM,
    INITIALIZATIONS,
    PARITY,
    PUBLISHED,
    ROBUSTNESS,
    published_results,
    published_robustness,
)

ALL = (*PUBLISHED, *ROBUSTNESS, *GENERIC_SAM, *INITIALIZATIONS)


def test_every_figure_is_a_fraction_with_its_source() -> None:
    assert len(PUBLISHED) == 6 * 7 + 14
    assert len(ROBUSTNESS) == 7 * 8 + 7
    assert len(GENERIC_SAM) == 5 * 4 + 5 * 4
    for result in ALL:
        assert 0 < result.value < 1
        assert result.metric in ("Dice", "IoU", "F1")
        assert result.source
        assert all("None" not in text and "–" not in text for text in (result.note, result.prompt))


def test_data_sets_are_those_of_the_catalogue_but_for_what_the_sources_do_not_tell() -> None:
    names = {result.dataset for result in ALL}
    others = {name for name in names if name not in facts()}
    assert others == {
        "UMUD", "RobLUS", "US-Breast", "US-Kidney", "US-Nerve", "US-Muscle", "US-Variantumor",
    }  # fmt: skip


def test_prompts_are_named_as_in_an_evaluation_so_that_both_stand_in_one_row() -> None:
    words = {
        "text and box", "box predicted from one click", "a click outside the lesion",
    }  # fmt: skip
    for result in (*PUBLISHED, *ROBUSTNESS):
        if result.prompt not in words:
            assert PromptKind.parse(result.prompt).name == result.prompt


def test_figures_on_images_that_the_model_was_trained_on_say_so() -> None:
    paper = {name for name, spec in catalogue().items() if spec.info.part_of_paper}
    for result in (*PUBLISHED, *ROBUSTNESS):
        seen = result.model == "UltraSam" and result.dataset in paper
        assert ("upper bound" in result.note) == seen, result
    twice = [r for r in PUBLISHED if r.dataset == "camus" and r.prompt == "box"]
    assert [r.value for r in twice] == [0.90, 0.95]
    assert all("two runs disagree" in r.note for r in twice)


def test_figures_are_chosen_by_data_set() -> None:
    found = published_results(["gist514", "mine"])
    assert {r.dataset for r in found} == {"gist514"}
    assert ("UltraSam", "box", 0.925) in {(r.model, r.prompt, r.value) for r in found}
    assert published_results(["mine"]) == published_robustness([]) == []
    moved = {r.prompt: r.value for r in published_robustness(["bus_bra"])}
    assert (moved["box"], moved["box-scaled85"], moved["box-shifted15"]) == (0.936, 0.905, 0.837)
    assert moved["box"] > moved["box-shifted5"] > moved["box-shifted10"] > moved["box-shifted15"]


def test_the_figures_of_the_gate_are_those_of_a_cocoeval() -> None:
    """AP cannot pass AP50, and no object of the sample is small."""
    assert set(PARITY) == {(p, of) for p in ("box", "point") for of in ("segm", "bbox")}
    for figures in PARITY.values():
        assert figures.ap75 <= figures.ap50
        assert figures.ap <= figures.ap50
        assert figures.medium <= figures.ap <= figures.large
        assert math.isnan(figures.small)
