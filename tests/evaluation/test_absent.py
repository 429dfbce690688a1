"""Images without an object get prompts that look like those of images with one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from ultrasam.datasets.annotated_image import AnnotatedImage, Instance
from ultrasam.datasets.file_tree import Skip
from ultrasam.evaluation.absent import BorrowedBoxes, has_no_object, predict_absent
from ultrasam.evaluation.models.baselines import DiscAtClick, EllipseInBox
from ultrasam.evaluation.models.registry import EvaluationModel
from ultrasam.evaluation.prompt_types import PromptKind
from ultrasam.evaluation.records import EvaluationSettings
from ultrasam.evaluation.report.results import read_results
from ultrasam.evaluation.runner import run_evaluation
from ultrasam.evaluation.sources import EvaluationDataset, EvaluationItem, subsample


def image(
    name: str, *boxes: tuple[int, int, int, int], size: tuple[int, int] = (100, 200)
) -> AnnotatedImage:
    instances = []
    for x0, y0, x1, y1 in boxes:
        mask = np.zeros(size, bool)
        mask[y0:y1, x0:x1] = True
        instances.append(Instance("lesion", mask))
    pixels = np.full(size, 9, np.uint8)
    return AnnotatedImage.in_memory(pixels, instances, dataset="d", name=name, subject=name)


def data_of(*images: AnnotatedImage, name: str = "d") -> EvaluationDataset:
    def reading(one: AnnotatedImage) -> Iterable[AnnotatedImage | Skip]:
        return (one,)

    items = tuple(
        EvaluationItem(name, one.name, lambda one=one: reading(one))  # type: ignore[misc]
        for one in images
    )
    return EvaluationDataset(name, items)


def test_a_box_is_borrowed_at_the_same_relative_place() -> None:
    with_object = image("a", (20, 10, 120, 60))
    data = data_of(with_object, image("b"))
    box = BorrowedBoxes([data]).box("d", image("c", size=(50, 50)), (50, 50), seed=0)
    np.testing.assert_allclose(box, [5, 5, 30, 30])


def test_an_image_and_a_seed_always_borrow_the_same_box() -> None:
    data = data_of(*(image(f"a{i}", (5 * i, 10, 5 * i + 40, 60)) for i in range(12)), image("b"))
    empty = [image(f"e{i}") for i in range(8)]
    there = BorrowedBoxes([data])
    back = BorrowedBoxes([data])
    forwards = [there.box("d", one, (100, 200), seed=3) for one in empty]
    backwards = [back.box("d", one, (100, 200), seed=3) for one in empty[::-1]]
    np.testing.assert_array_equal(forwards, backwards[::-1])
    others = [there.box("d", one, (100, 200), seed=4) for one in empty]
    assert not np.array_equal(forwards, others)
    assert len({np.asarray(box).tobytes() for box in forwards}) > 3


def test_a_limit_changes_no_prompt() -> None:
    data = data_of(*(image(f"a{i}", (5 * i, 10, 5 * i + 40, 60)) for i in range(12)), image("b"))
    empty = image("b")
    expected = BorrowedBoxes([data]).box("d", empty, (100, 200), seed=0)
    few = subsample(subsample(data, 5), 2)
    assert len(few.items) == 2
    np.testing.assert_array_equal(
        BorrowedBoxes([few]).box("d", empty, (100, 200), seed=0), expected
    )


def test_without_any_object_nothing_is_borrowed() -> None:
    data = data_of(image("a"), image("b"))
    assert BorrowedBoxes([data]).box("d", image("a"), (100, 200), seed=0) is None


def test_an_image_with_a_tiny_object_or_a_region_to_ignore_is_not_without_object() -> None:
    region = Instance("crowd", np.ones((100, 200), bool), ignore=True)
    ignored = AnnotatedImage.in_memory(np.zeros((100, 200), np.uint8), [region])
    assert has_no_object(image("a"))
    assert not has_no_object(image("a", (1, 1, 3, 3)))
    assert not has_no_object(ignored)


def test_only_single_exact_prompts_are_asked() -> None:
    segmenter = EllipseInBox()
    segmenter.set_image(np.zeros((100, 200), np.uint8))
    names = ("box", "box-noisy", "box+point", "box+clicks5", "box10", "box-scaled85")
    found = predict_absent(
        segmenter, np.array([20.0, 10, 60, 50]), [PromptKind.parse(name) for name in names]
    )
    assert set(found) == {"box"}
    assert found["box"]["predicted_iou"] == 1
    assert found["box"]["area"] == pytest.approx(np.pi * 20 * 20, rel=0.02)
    disc = DiscAtClick()
    disc.set_image(np.zeros((100, 200), np.uint8))
    clicks = [PromptKind.parse(name) for name in ("point", "interior", "interior20", "random")]
    assert set(predict_absent(disc, np.array([20.0, 10, 60, 50]), clicks)) == {"point", "interior"}


def test_answers_on_empty_images_stand_in_the_results(tmp_path: Path) -> None:
    data = data_of(image("a", (20, 10, 120, 60)), image("b"), image("c"), name="renamed")
    file = tmp_path / "ellipse.jsonl"
    model = EvaluationModel("ellipse", EllipseInBox(), frozenset({"box"}))
    run_evaluation(model, [data], file, settings=EvaluationSettings(("box", "box-noisy", "point")))
    results = read_results(file)
    assert results.absent["image"].to_list() == ["b", "c"]
    assert results.absent["dataset"].to_list() == ["renamed", "renamed"]
    assert results.absent["relative_area"].to_list() == pytest.approx(
        [np.pi / 4 * 0.25, np.pi / 4 * 0.25], rel=0.02
    )
    rows = results.rows("box-noisy")
    assert rows["repeat"].to_list() == [0, 1, 2]
    assert rows["dice"].n_unique() == 3
    assert results.rows("box")["repeat"].to_list() == [0]
    assert {record["pixels"] for record in results.images} == {results.images[0]["pixels"]}
