"""`ultrasam data …` as a user meets it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.test_cli import Outcome
from tests.datasets.layouts import MAKERS
from tests.store.test_store import busi_like
from ultrasam.cli import main
from ultrasam.datasets.catalogue import catalogue, facts

Run = Callable[..., Outcome]


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["ultrasam", "data", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main.run()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        code = stop.value.code
        return Outcome(code if isinstance(code, int) else 0, captured.out, captured.err)

    return run


def test_the_list_has_43_rows_and_can_be_narrowed(data: Run) -> None:
    def listed(*options: str) -> list[dict[str, str]]:
        return json.loads(data("list", "--json", *options).out)

    paper = {name for name in MAKERS if catalogue()[name].info.part_of_paper}
    assert {row["id"] for row in listed()} == paper
    assert len(listed()) == 43
    assert all(value for row in listed() for value in row.values())
    assert "43 data sets" in data("list").out
    breast = listed("--organ", "breast", "--license", "cc by 4.0")
    assert {row["id"] for row in breast} >= {"busi", "bus_bra"}
    assert {row["access"] for row in listed("--access", "kaggle")} == {"kaggle"}
    assert {row["id"] for row in listed("--all")} == set(facts())
    none = data("list", "--organ", "nonsense")
    assert (none.status, none.out) == (1, "")
    assert "No data set fits these options" in none.err


def test_info_says_how_to_get_each_and_how_to_cite_it(data: Run) -> None:
    for name in MAKERS:
        told = data("info", name).out
        for head in ("Address:", "License:", "How to get it:", "Layout:", "Then:"):
            assert head in told, name
        assert "@" in told, name
        assert "data fetch" not in told or f"ultrasam data fetch {name} -o DIR\n" in told
        assert "title" in told, name
    told = data("info", "hc19")
    assert told.status == 1
    assert "Did you mean hc18?" in told.err


def test_from_raw_to_store_to_pictures(data: Run, tmp_path: Path) -> None:
    busi_like(tmp_path / "raw", 12)
    (tmp_path / "raw" / "busi" / "benign (77)_mask.png").write_text("no image")
    store = tmp_path / "store"
    done = data("build", tmp_path / "raw", "-o", store, "--workers", "0")
    assert done.status == 0, done.err
    assert "1 image left out: 1 × not part of the data set's layout." in done.out
    assert done.out.splitlines()[-1] == str(store)
    assert "no known subject is in more than one split" in data("validate", store).out
    assert data("show", store, "-o", tmp_path / "sheet.png").out.strip() == str(
        tmp_path / "sheet.png"
    )
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    pages = tmp_path / "stats"
    assert "12 images" in data("stats", store, "-o", pages).out
    counted = json.loads(data("stats", store, "-o", pages, "--json").out)
    assert counted["datasets"][0]["images"] == 12
    assert json.loads(data("validate", store, "--json").out)["problems"] == []
    assert data("export", store, "--format", "coco", "-o", tmp_path / "coco").status == 0
    mine = data("import", tmp_path / "coco", "--format", "coco", "--name", "mine", "-o", store,
                "--workers", "0")  # fmt: skip
    assert mine.status == 0, mine.err
    assert "mine: 12 images" in mine.out
    assert "12 exact" in mine.out
    image = next(store.rglob("images/busi/*.png"))
    image.write_bytes(image.read_bytes()[:100])
    validated = data("validate", store)
    assert validated.status == 1
    assert validated.out.startswith(
        f"corrupt image: images/busi/{image.name}: it cannot be decoded; delete the file and build the store "
        "again\n"
    )
    assert "has 1 problem." in validated.err
    assert data("build", tmp_path / "raw", "-o", store, "--workers", "0").status == 0
    assert data("validate", store).status == 0


@pytest.mark.parametrize("columns", [80, 160])
def test_a_narrow_terminal_cuts_nothing_off_the_list(
    columns: int, data: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    told = data("list", "--all")
    lines = told.out.splitlines()
    assert max(map(len, lines)) <= columns
    assert "…" not in told.out
    heads = lines[0].split()
    assert heads[0] == "id"
    assert {"organ", "access", "license", "tier", "reader"} <= set(heads)
    (gallbladder,) = (line.split() for line in lines if line.startswith("gbcu "))
    assert "gallbladder" in gallbladder
    assert "agreement" in gallbladder


def test_build_points_to_import_for_images_of_ones_own(data: Run, tmp_path: Path) -> None:
    for name in ("images", "masks"):
        (tmp_path / "mine" / name).mkdir(parents=True)
    told = data("build", tmp_path / "mine", "-o", tmp_path / "store")
    assert told.status == 1
    assert f"ultrasam data import {tmp_path / 'mine'} --format masks --name NAME -o" in told.err
    (tmp_path / "coco").mkdir()
    (tmp_path / "coco" / "a.json").write_text('{"images": [], "annotations": [], "categories": []}')
    told = data("build", tmp_path / "coco" / "a.json", "-o", tmp_path / "store")
    assert f"ultrasam data import {tmp_path / 'coco'} --format coco" in told.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("build", "nowhere", "-o", "out"), "nowhere does not exist"),
        (
            ("build", ".", "-o", "out", "--val-fraction", "0.9", "--test-fraction", "0.2"),
            "sum to 1",
        ),
        (("build", ".", "-o", "out"), "No known data set"),
        (("stats", "."), "is not a complete store"),
        (("export", ".", "--format", "coco", "-o", "x"), "is not a complete store"),
        (("import", ".", "--format", "coco", "--name", "busi", "-o", "x"), "choose another --name"),
        (("import", ".", "--format", "coco", "--name", "../x", "-o", "x"), "is not a name"),
        (("info", "nonsense"), "List all data sets with: ultrasam data list"),
    ],
)
def test_mistakes_get_one_sentence(
    data: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    told = data(*arguments)
    assert told.status == 1
    assert words in told.err
    assert len(told.err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())
