"""What is wrong is told before anything runs, and one model is in memory at a time."""

from __future__ import annotations

import gc
import json
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TINY, randomized
from tests.evaluation.test_evaluate import folder_of
from ultrasam.cli import main
from ultrasam.errors import CheckpointError, DiskFullError, EvaluationError, UltraSamError
from ultrasam.evaluation import suite_run
from ultrasam.evaluation.models.registry import (
    EvaluationModel,
    check_model_name,
    declared_prompts,
    open_evaluation_model,
)
from ultrasam.evaluation.records import EvaluationSettings
from ultrasam.evaluation.sources import open_evaluation_datasets
from ultrasam.evaluation.suite import EvaluationEntry, EvaluationSuite
from ultrasam.evaluation.suite_run import Problems, problems_of, run_suite
from ultrasam.progress import OnProgress, no_progress
from ultrasam.weights.hub import save_pretrained
from ultrasam.weights.registry import REGISTRY

NOTHING = Problems({}, {}, [])


@contextmanager
def quiet(_title: str) -> Iterator[OnProgress]:
    yield no_progress


def suite_of(*models: str, prompts: tuple[str, ...] = ("box",), **more: Any) -> EvaluationSuite:
    entries = tuple(EvaluationEntry(title=model, model=model, **more) for model in models)
    return EvaluationSuite(title="Mine", prompts=prompts, entries=entries)


def run(suite: EvaluationSuite, data: Path, out: Path, **more: Any) -> tuple[list[Any], list[str]]:
    options = {"problems": NOTHING, "strict": True, "progress": quiet} | more
    out.mkdir(exist_ok=True)
    settings = EvaluationSettings(suite.prompts)
    return run_suite(suite, open_evaluation_datasets([str(data)]), settings, out, **options)


class Watched:
    """Counts how many of the models that it has opened are alive, without help of the cycle collector."""

    def __init__(self, fail: dict[str, UltraSamError] | None = None) -> None:
        self.alive: weakref.WeakSet[Any] = weakref.WeakSet()
        self.opened: list[tuple[str, int]] = []
        self.fail = fail or {}

    def __call__(
        self, spec: str, *, device: str | None = None, runtime: str | None = None
    ) -> EvaluationModel:
        self.opened.append((spec, len(self.alive)))
        if spec in self.fail:
            raise self.fail[spec]
        # Real weights: a predictor, its backend and a network refer to each other.
        model = open_evaluation_model(spec, device=device)
        self.alive.add(model.segmenter)
        if hasattr(model.segmenter, "backend"):
            self.alive.add(model.segmenter.backend.model)
        return model


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_a_model_is_freed_before_the_next_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_collector: None
) -> None:
    mine, tiny = folder_of(tmp_path / "mine", 2), tmp_path / "tiny"
    save_pretrained(randomized(TINY), tiny)
    failing = {"second": CheckpointError("'second' is damaged.")}
    watched = Watched(failing)
    monkeypatch.setattr(suite_run, "open_evaluation_model", watched)
    # The second cannot be opened; the third accepts none of the prompts, once it is open; the last runs.
    suite = suite_of(str(tiny), "second", "disc", "random:nano", "ellipse")
    found, missing = run(suite, mine, tmp_path / "out", device="cpu")
    assert watched.opened == [
        (m, 0) for m in (str(tiny), "second", "disc", "random:nano", "ellipse")
    ]
    assert len(watched.alive) == 0
    assert [results.name for results in found] == [str(tiny), "random:nano", "ellipse"]
    assert missing == [
        "second: 'second' is damaged.",
        "disc: disc accepts only point prompts; none of box applies.",
    ]


def test_a_model_is_freed_when_its_evaluation_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_collector: None
) -> None:
    mine, out = folder_of(tmp_path / "mine", 2), tmp_path / "out"
    run(suite_of("random:nano", "ellipse"), mine, out, device="cpu")
    lines = (out / "random_nano.jsonl").read_text().splitlines()
    header = json.loads(lines[0]) | {"version": "0"}
    (out / "random_nano.jsonl").write_text("\n".join([json.dumps(header), *lines[1:]]) + "\n")
    watched = Watched()
    monkeypatch.setattr(suite_run, "open_evaluation_model", watched)
    suite = suite_of("random:nano", "ellipse")
    found, missing = run(suite, mine, out, strict=False, device="cpu")
    assert watched.opened == [("random:nano", 0), ("ellipse", 0)]
    assert [results.name for results in found] == ["ellipse"]
    assert "another version of UltraSam" in missing[0]
    with pytest.raises(EvaluationError, match="another version of UltraSam"):
        run(suite, mine, out, strict=True, device="cpu")


def test_a_full_disk_ends_a_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise DiskFullError("No space left.")

    monkeypatch.setattr(suite_run, "run_evaluation", full)
    with pytest.raises(DiskFullError):
        run(suite_of("ellipse", "filled-box"), folder_of(tmp_path / "m", 1), tmp_path, strict=False)


def test_all_that_is_wrong_with_names_is_told_together(tmp_path: Path) -> None:
    suite = suite_of(
        "nano", "nonsense", str(tmp_path / "gone.pth"), "transformers:nowhere", "transformers:a/b/c",
        "random:giant", "nano+fast", "samus:weights.pt", "disc", "transformers:facebook/sam-vit-base",
        "transformers-random:sam-vit-b", "ellipse:big", prompts=("box",),
    )  # fmt: skip
    found = problems_of(suite)
    expected = {
        "nonsense": "neither a file nor a known model",
        str(tmp_path / "gone.pth"): "neither a file nor a known model",
        "transformers:nowhere": "neither a folder nor ORGANIZATION/NAME",
        "transformers:a/b/c": "neither a folder nor ORGANIZATION/NAME",
        "random:giant": "unknown size",
        "nano+fast": "unknown option",
        "samus:weights.pt": "no installed plug-in has this name",
        "ellipse:big": "takes no argument",
    }
    assert found.names.keys() == expected.keys()
    for title, words in expected.items():
        assert words in found.names[title]
    assert list(found.useless) == ["disc"]
    assert found.unaccepted == []  # nano takes boxes
    assert found.names["nonsense"].endswith(
        "baselines are ellipse, filled-box, grabcut, disc, random-walker."
    )
    with pytest.raises(CheckpointError, match=r"did you mean ellipse\?$"):
        check_model_name("elipse")
    assert "plug-in" not in found.names[str(tmp_path / "gone.pth")]
    unknown = problems_of(suite_of("nano", datasets=("busi", "nirvana")))
    assert "nirvana" in unknown.names["nano"]


def test_a_folder_of_transformers_is_a_repository_too(tmp_path: Path) -> None:
    check_model_name(f"transformers:{tmp_path}")
    check_model_name("transformers:facebook/sam2.1-hiera-tiny")
    for text in ("transformers:", f"transformers:{tmp_path / 'gone'}"):
        with pytest.raises(EvaluationError, match="such as transformers:facebook/sam-vit-base"):
            check_model_name(text)


def test_names_tell_the_prompts_that_the_opened_models_accept() -> None:
    baselines = ("ellipse", "filled-box", "grabcut", "disc", "random-walker")
    for name in (*baselines, "nano", "nano+no-tta"):
        assert declared_prompts(name) == open_evaluation_model(name, device="cpu").accepts, name
    assert declared_prompts("nano+preprocessing=medsam") == {"box"}
    for name, entry in REGISTRY.items():
        assert declared_prompts(name) == set(entry.prompt_types) - {"mask"}
    assert declared_prompts("transformers:wanglab/medsam-vit-base") == {"box"}
    assert declared_prompts("random:vit-b") is None  # told when it is open


def test_prompt_types_that_no_model_accepts_are_told() -> None:
    found = problems_of(suite_of("ellipse", "medsam", prompts=("box", "point", "interior5")))
    assert [text.partition(":")[0] for text in found.unaccepted] == [
        "No model accepts point", "No model accepts interior5",
    ]  # fmt: skip
    assert (
        "ellipse accepts only box prompts, medsam accepts only box prompts" in found.unaccepted[0]
    )
    assert problems_of(suite_of("ellipse", "nano", prompts=("box", "point"))).unaccepted == []
    # A model that may accept anything is not judged.
    assert problems_of(suite_of("ellipse", "random:nano", prompts=("point",))).unaccepted == []


def ultrasam(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["ultrasam", "evaluate", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main.run()
    return stop.value.code if isinstance(stop.value.code, int) else 0


def test_a_command_with_a_wrong_name_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = folder_of(tmp_path / "mine", 2)
    monkeypatch.chdir(tmp_path)
    asked = ["ellipse", "nonsense", "gone.pth", "--data", "mine", "-o", "out"]
    assert ultrasam(monkeypatch, *asked) == 1
    error = capsys.readouterr().err
    assert "'nonsense' is neither" in error
    assert "'gone.pth' is neither" in error
    assert error.count("\n") == 1
    asked = [
        "ellipse",
        "filled-box",
        "--data",
        mine,
        "--prompt-type",
        "box",
        "--prompt-type",
        "point",
    ]
    assert ultrasam(monkeypatch, *asked, "-o", "out") == 1
    assert "No model accepts point: ellipse accepts only box" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_suite_tells_what_is_wrong_first_and_runs_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = folder_of(tmp_path / "mine", 2)
    seen: list[str] = []

    def opened(
        spec: str, *, device: str | None = None, runtime: str | None = None
    ) -> EvaluationModel:
        seen.append(capsys.readouterr().err)
        return open_evaluation_model(spec, device=device)

    monkeypatch.setattr(suite_run, "open_evaluation_model", opened)
    suite = tmp_path / "suite.yaml"
    suite.write_text(
        "title: Mine\nprompts: [box, point]\nentries:\n"
        "  - {title: Ellipse, model: ellipse}\n"
        "  - {title: Disc, model: disc, prompts: [box]}\n"
        "  - {title: Elsewhere, model: filled-box, datasets: [busi]}\n"
        "  - {title: Lost, model: lost.pth}\n"
        "  - {title: SAMUS, model: samus}\n"
    )
    assert ultrasam(monkeypatch, suite, "--data", mine, "-o", tmp_path / "out") == 0
    assert len(seen) == 1
    for words in ("Lost: 'lost.pth'", "SAMUS: 'samus'", "Disc: disc accepts", "--data has no busi"):
        assert seen[0].count(words) == 1, (words, seen[0])
    text = (tmp_path / "out" / "report.md").read_text()
    for name in ("Lost", "SAMUS", "Disc", "Elsewhere"):
        assert name in text
    assert (tmp_path / "out" / "Ellipse.jsonl").exists()
