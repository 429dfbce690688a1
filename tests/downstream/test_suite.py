"""The suite: what the data and weights allow is run, the rest is named, nothing is run twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.data.layouts.truth import grey, save
from tests.downstream.spots import pair
from ultrasam.downstream.initial import initial_model
from ultrasam.downstream.instance_training import new_segmenter
from ultrasam.downstream.suite import Suite, load_suite
from ultrasam.errors import RecipeError
from ultrasam.model.adapters import count_parameters

PAPER = Path(__file__).parents[2] / "recipes" / "downstream" / "paper.yaml"
SMALL = {
    "classify": {"mode": "full", "size": 64, "steps": 2, "batch": 2},
    "prompted": {"steps": 2, "batch": 2},
    "segment": {
        "size": 64, "steps": 2, "batch": 2, "width": 32, "queries": 5, "layers": 1,
        "pixel_layers": 1, "points": 64,
    },
}  # fmt: skip


def spot(number: int) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """A picture and the mask of its bright (even) or dark spot."""
    image = pair(number)
    return image.pixels, image.masks[number % 2]


def bus_bra(root: Path, count: int, *, tested: int = 2) -> None:
    """BUS-BRA as published: tables of pathology, folds (the first is tested) and cases."""
    folds, cases = ["ID,Pathology,kFold"], ["ID,Case,Pathology"]
    for i in range(count):
        pixels, mask = spot(i)
        kind = ("benign", "malignant")[i % 2]
        save(root / "BUSBRA" / "Images" / f"bus_{i:04}-l.png", pixels)
        save(root / "BUSBRA" / "Masks" / f"mask_{i:04}-l.png", grey(mask))
        folds.append(f"bus_{i:04}-l,{kind},{1 if i < tested else 2}")
        cases.append(f"bus_{i:04}-l,{i},{kind}")
    (root / "BUSBRA" / "5-fold-cv.csv").write_text("\n".join(folds) + "\n")
    (root / "BUSBRA" / "bus_data.csv").write_text("\n".join(cases) + "\n")


def mmotu(root: Path, count: int) -> None:
    """MMOTU-2D as published: two lists of classes, which are the split."""
    for i in range(count):
        pixels, mask = spot(i)
        save(root / "OTU_2d" / "images" / f"{i}.JPG", pixels)
        save(root / "OTU_2d" / "annotations" / f"{i}.PNG", grey(mask))
        part = "val" if i < 2 else "train"
        with (root / "OTU_2d" / f"{part}_cls.txt").open("a") as file:
            file.write(f"{i}.JPG  {(2, 7)[i % 2]}\n")


@pytest.mark.slow
def test_what_can_be_run_is_run_once_and_the_rest_is_named(
    tmp_path: Path, ultrasam: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    bus_bra(tmp_path / "raw", 8)
    mmotu(tmp_path / "raw", 8)
    starts = [
        {"title": "fresh nano", "init": "scratch:nano"},
        {"title": "fresh ResNet", "init": "scratch:resnet50", "tasks": ["classify"]},
        {"title": "own run", "init": "runs/none/model"},
    ]
    content = {
        "title": "Small", "datasets": ["mmotu-2d", "bus-bra", "gist514-db"],
        "initialisations": starts, **SMALL,
    }  # fmt: skip
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(content))
    out = tmp_path / "out"
    asked = ["finetune", "suite", tmp_path / "suite.yaml", "--data", tmp_path / "raw", "-o", out]
    assert ultrasam(*asked) == 0
    told = capsys.readouterr()
    assert "bus_bra, segment, fresh nano" in told.err
    report = (out / "report.md").read_text()
    # Two data sets, three tasks from a fresh nano, and one from a ResNet.
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert len(lines) == 2 * (3 + 1)
    assert {line["dataset"] for line in lines} == {"bus_bra", "mmotu_2d"}
    for line in lines:
        assert (line["counts"]["train"], line["counts"]["test"]) == (6, 2)
        assert 0 < line["counts"]["trained"] <= line["counts"]["parameters"]
        assert all(0 <= value[0] <= 1 for value in line["figures"].values())
    assert "gist514 is not among the data" in report
    assert "bus_bra, classify, own run: " in report
    assert "## Not run: 13" in report
    # Again, with one figure less and half a line, as a kill would leave: that one alone is run.
    log = out / "results.jsonl"
    kept = log.read_text().splitlines(keepends=True)
    log.write_text("".join(kept[:-1]) + kept[-1][:30] + "\n")
    assert ultrasam(*asked) == 0
    again = [line for line in capsys.readouterr().err.splitlines() if "fresh" in line]
    assert again == [f"{lines[-1]['dataset']}, {lines[-1]['task']}, {lines[-1]['title']}"] + [
        line for line in again if line.startswith("gist514")
    ]
    assert (out / "report.md").read_text() == report
    # Other settings are another run.
    assert ultrasam(*asked, "classify.steps=1", "datasets=[bus-bra]") == 0
    assert "bus_bra, classify, fresh nano" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"title": None}, "title"),
        ({"initialisations": []}, "needs a title of its own"),
        ({"initialisations": [{"title": "a", "init": "nano"}] * 2}, "needs a title of its own"),
        (
            {"initialisations": [{"title": "a", "init": "nano", "tasks": ["draw"]}]},
            "there is no task 'draw'",
        ),
        ({"segment": {"layerz": 1}}, "segment.layerz"),
        ({"classify": None, "prompted": None, "segment": None}, "has no task"),
    ],
)
def test_a_bad_suite_is_one_sentence(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    content = {
        "title": "x", "initialisations": [{"title": "a", "init": "nano"}], **SMALL, **change,
    }  # fmt: skip
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(RecipeError, match=message):
        load_suite(tmp_path / "suite.yaml", {})
    with pytest.raises(RecipeError, match="can't be read as a suite"):
        load_suite(tmp_path / "none.yaml", {})


def test_the_papers_suite_has_the_papers_settings() -> None:
    suite = load_suite(PAPER, {"segment": {"steps": 3}})
    assert suite.segment is not None
    assert suite.segment.steps == 3  # overridden
    suite = load_suite(PAPER, {})
    assert isinstance(suite, Suite)
    assert suite.datasets == ("mmotu-2d", "bus-bra", "gist514-db")
    assert suite.classify is not None
    assert suite.segment is not None
    assert (suite.classify.steps, suite.classify.warmup, suite.classify.clip) == (2000, 500, 0.1)
    assert suite.classify.milestones[0] * suite.classify.steps == 1600
    assert (suite.segment.steps, suite.segment.queries, suite.segment.points) == (8000, 100, 12544)
    assert suite.segment.milestones[0] * suite.segment.steps == 6000
    assert len(suite.initialisations) >= 7


@pytest.mark.slow
def test_a_vit_b_takes_two_steps_of_every_recipe_at_paper_settings(
    tmp_path: Path, ultrasam: Callable[..., int]
) -> None:
    """As the recipe has it, but for the batch, the steps and the weights, of which there are none here."""
    bus_bra(tmp_path / "raw", 3, tested=1)
    one = ["{title: ViT-B, init: scratch:base}"]
    short = [f"{task}.{key}" for task in ("classify", "prompted", "segment")
             for key in ("steps=2", "batch=1")]  # fmt: skip
    assert (
        ultrasam("finetune", "suite", PAPER, "--data", tmp_path / "raw", "-o",
            tmp_path / "out", *short, "segment.head=null", "datasets=[bus-bra]",
            f"initialisations=[{', '.join(one)}]",
        )
        == 0
    )  # fmt: skip
    text = (tmp_path / "out" / "results.jsonl").read_text()
    counts = {line["task"]: line["counts"] for line in map(json.loads, text.splitlines())}
    encoder, neck = 89_670_912, 787_456  # of a ViT-B (Kirillov et al. 2023), and its neck's share
    # A norm over the pooled patches and one linear layer.
    assert counts["classify"]["trained"] == encoder - neck + 2 * 768 + 2 * 769
    whole = sum(p.numel() for p in initial_model("scratch:base").parameters())
    assert counts["prompted"]["trained"] == whole + 2 * (256 + 256 + 768 + 1)
    assert set(counts) == {"classify", "prompted", "segment"}


def test_parameter_counts_of_mask2former_over_a_vit_b() -> None:
    """The head has the size that the published one has, but for the widths of the maps below it."""
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation

    settings = load_suite(PAPER, {"segment": {"head": None}}).segment
    assert settings is not None
    swin = {"model_type": "swin", "depths": [1, 1, 1, 1], "embed_dim": 8, "num_heads": [1, 1, 1, 1],
            "out_features": ["stage1", "stage2", "stage3", "stage4"]}  # fmt: skip
    config = Mask2FormerConfig(backbone_config=swin)
    config.num_labels = 2
    published = Mask2FormerForUniversalSegmentation(config)
    their_backbone = sum(p.numel() for p in published.model.pixel_level_module.encoder.parameters())
    theirs = sum(p.numel() for p in published.parameters()) - their_backbone
    ours = new_segmenter(initial_model("scratch:base"), ("benign", "malignant"), settings)
    trained, frozen = count_parameters(ours)
    assert frozen == 0
    maps = 3 * 768 + 768 - (16 + 32 + 64 + 8)  # three projections and one step upwards
    assert trained - (89_670_912 - 787_456) == theirs + 256 * maps
