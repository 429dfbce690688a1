"""The suite runs what data and weights allow, lists the rest, and runs nothing twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.downstream.spots import bus_bra, mmotu
from ultrasam.downstream.backbone import load_backbone
from ultrasam.downstream.instances.task import new_segmenter
from ultrasam.downstream.suite import _changes
from ultrasam.downstream.suite_recipe import BenchmarkSuite, load_suite
from ultrasam.errors import RecipeError
from ultrasam.weights.adapters import count_parameters

PAPER = Path(__file__).parents[2] / "src" / "ultrasam" / "recipes" / "downstream" / "paper.yaml"
SMALL = {
    "classify": {"mode": "full", "size": 64, "trainer": {"max_steps": 2, "batch": 2}},
    "regions": {"trainer": {"max_steps": 2, "batch": 2}},
    "instances": {
        "size": 64, "width": 32, "queries": 5, "layers": 1, "pixel_layers": 1, "points": 64,
        "trainer": {"max_steps": 2, "batch": 2},
    },
}  # fmt: skip


@pytest.mark.slow
def test_what_can_be_run_is_run_once_and_the_rest_is_named(
    tmp_path: Path, ultrasam: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    bus_bra(tmp_path / "raw", 8)
    mmotu(tmp_path / "raw", 8)
    starts = [
        {"title": "fresh nano", "init": "random:nano"},
        {"title": "fresh ResNet", "init": "random:resnet50", "tasks": ["classify"]},
        {"title": "own run", "init": "runs/none/model"},
    ]
    content = {
        "title": "Small", "datasets": ["mmotu-2d", "bus-bra", "gist514-db"],
        "initializations": starts, **SMALL,
    }  # fmt: skip
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(content))
    out = tmp_path / "out"
    asked = ["finetune", "suite", tmp_path / "suite.yaml", "--data", tmp_path / "raw", "-o", out]
    assert ultrasam(*asked) == 0
    assert "bus_bra, instances, fresh nano" in capsys.readouterr().err
    report = (out / "report.md").read_text()
    # Two data sets, three tasks from a fresh nano, and one from a ResNet.
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert len(lines) == 2 * (3 + 1)
    assert {line["dataset"] for line in lines} == {"bus_bra", "mmotu_2d"}
    for line in lines:
        assert (line["counts"]["train"], line["counts"]["test"]) == (6, 2)
        assert 0 < line["counts"]["trained"] <= line["counts"]["parameters"]
        assert all(0 <= value[0] <= 1 for value in line["figures"].values())
    assert "Data set 'gist514' is not in the data" in report
    assert "bus_bra, classify, own run: " in report
    assert "## Not run: 13" in report
    assert "| bus_bra | fresh nano | 6 | 2 |" in report
    # Again, with one figure less and half a line, as a kill would leave: that one alone is run.
    log = out / "results.jsonl"
    kept = log.read_text().splitlines(keepends=True)
    log.write_text("".join(kept[:-1]) + kept[-1][:30] + "\n")
    assert ultrasam(*asked) == 0
    last = f"{lines[-1]['dataset']}, {lines[-1]['task']}, {lines[-1]['title']}"
    assert run_again(capsys) == [last]
    assert (out / "report.md").read_text() == report
    assert ultrasam(*asked) == 0
    assert run_again(capsys) == []
    # What is printed for a program are the same runs.
    assert ultrasam(*asked, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    done = {(r["dataset"], r["task"], r["title"]): r for r in printed["runs"] if not r["missing"]}
    assert len(done) == len(lines)
    assert sum(r["missing"] is not None for r in printed["runs"]) == 13
    for line in lines:
        run = done[line["dataset"], line["task"], line["title"]]
        assert run["counts"] == line["counts"]
        assert {n: v["value"] for n, v in run["figures"].items()} == {
            n: v[0] for n, v in line["figures"].items()
        }
    # Other settings are another run, and so are other data.
    assert ultrasam(*asked, "classify.trainer.max_steps=1", "datasets=[bus-bra]") == 0
    assert run_again(capsys) == ["bus_bra, classify, fresh nano", "bus_bra, classify, fresh ResNet"]
    bus_bra(tmp_path / "raw", 8, tested=3)
    assert ultrasam(*asked, "datasets=[bus-bra]", "instances=null", "regions=null") == 0
    assert run_again(capsys) == ["bus_bra, classify, fresh nano", "bus_bra, classify, fresh ResNet"]


def run_again(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Logged fine-tunings, without those of missing data."""
    lines = capsys.readouterr().err.splitlines()
    runs = [line.removeprefix("ultrasam: ") for line in lines if "fresh" in line]
    return [run for run in runs if not run.startswith("gist514")]


def test_retrained_weights_on_disk_are_detected(tmp_path: Path) -> None:
    assert _changes("nano") == []
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "w.safetensors").write_bytes(b"one")
    before = _changes(str(tmp_path / "model"))
    assert before == _changes(str(tmp_path / "model"))
    assert before == _changes(f"imagenet:{tmp_path / 'model'}")
    (tmp_path / "model" / "w.safetensors").write_bytes(b"three")
    assert _changes(str(tmp_path / "model")) != before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"title": None}, "title"),
        ({"initializations": []}, "has no initializations"),
        ({"initializations": [{"title": "a", "init": "nano"}] * 2}, "share a title"),
        (
            {"initializations": [{"title": "a", "init": "nano", "tasks": ["draw"]}]},
            "unknown task 'draw'",
        ),
        ({"instances": {"layerz": 1}}, "instances.layerz"),
        ({"classify": None, "regions": None, "instances": None}, "has no task"),
    ],
)
def test_a_bad_suite_is_one_sentence(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    content = {
        "title": "x", "initializations": [{"title": "a", "init": "nano"}], **SMALL, **change,
    }  # fmt: skip
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(RecipeError, match=message):
        load_suite(tmp_path / "suite.yaml", {})
    with pytest.raises(RecipeError, match="does not exist"):
        load_suite(tmp_path / "none.yaml", {})


def test_the_papers_suite_has_the_papers_settings() -> None:
    suite = load_suite(PAPER, {"instances": {"trainer": {"max_steps": 3}}})
    assert suite.instances is not None
    assert suite.instances.trainer.max_steps == 3  # overridden
    assert suite.instances.trainer.batch == 8
    suite = load_suite(PAPER, {})
    assert isinstance(suite, BenchmarkSuite)
    assert suite.datasets == ("mmotu-2d", "bus-bra", "gist514-db")
    assert suite.classify is not None
    assert suite.instances is not None
    classify, instances = suite.classify, suite.instances
    assert classify.trainer.max_steps == 2000
    assert (classify.optimizer.warmup_steps, classify.optimizer.clip) == (500, 0.1)
    assert classify.optimizer.milestones[0] * 2000 == 1600
    assert (instances.trainer.max_steps, instances.queries, instances.points) == (8000, 100, 12544)
    assert instances.optimizer.milestones[0] * 8000 == 6000
    assert len(suite.initializations) >= 7


@pytest.mark.slow
def test_a_vit_b_takes_a_step_of_every_recipe(tmp_path: Path, ultrasam: Callable[..., int]) -> None:
    """As the recipe has it, but for the batch, the steps, the rounds, the size where that can be chosen, and
    the weights, of which there are none here."""
    bus_bra(tmp_path / "raw", 3, tested=1)
    one = ["{title: ViT-B, init: random:vit-b}"]
    short = [f"{task}.trainer.{key}" for task in ("classify", "regions", "instances")
             for key in ("max_steps=1", "batch=1")]  # fmt: skip
    short += ["classify.size=256", "instances.size=256", "regions.interaction.rounds=1"]
    assert (
        ultrasam("finetune", "suite", PAPER, "--data", tmp_path / "raw", "-o",
            tmp_path / "out", *short, "instances.head=null", "datasets=[bus-bra]",
            f"initializations=[{', '.join(one)}]",
        )
        == 0
    )  # fmt: skip
    text = (tmp_path / "out" / "results.jsonl").read_text()
    counts = {line["task"]: line["counts"] for line in map(json.loads, text.splitlines())}
    encoder, neck = 89_670_912, 787_456  # of a ViT-B (Kirillov et al. 2023), and its neck's share
    # A norm over the pooled patches and one linear layer.
    assert counts["classify"]["trained"] == encoder - neck + 2 * 768 + 2 * 769
    whole = sum(p.numel() for p in load_backbone("random:vit-b").parameters())
    assert counts["regions"]["trained"] == whole + 2 * (256 + 256 + 768 + 1)
    assert set(counts) == {"classify", "regions", "instances"}


@pytest.mark.slow
def test_parameter_counts_of_mask2former_over_a_vit_b() -> None:
    """The head has the size that the published one has, but for the widths of the maps below it."""
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation

    settings = load_suite(PAPER, {"instances": {"head": None}}).instances
    assert settings is not None
    swin = {"model_type": "swin", "depths": [1, 1, 1, 1], "embed_dim": 8, "num_heads": [1, 1, 1, 1],
            "out_features": ["stage1", "stage2", "stage3", "stage4"]}  # fmt: skip
    config = Mask2FormerConfig(backbone_config=swin)
    config.num_labels = 2
    published = Mask2FormerForUniversalSegmentation(config)
    their_backbone = sum(p.numel() for p in published.model.pixel_level_module.encoder.parameters())
    theirs = sum(p.numel() for p in published.parameters()) - their_backbone
    ours = new_segmenter(load_backbone("random:vit-b"), ("benign", "malignant"), settings)
    trained, frozen = count_parameters(ours)
    assert frozen == 0
    maps = 3 * 768 + 768 - (16 + 32 + 64 + 8)  # three projections and one step upwards
    assert trained - (89_670_912 - 787_456) == theirs + 256 * maps
