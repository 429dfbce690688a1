"""Building, validating and describing stores: odd folders, no objects, unknown subjects, crashes."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest

from tests.datasets.layouts import MAKERS
from tests.datasets.layouts.truth import disc, picture, save, zipped
from tests.field.stores import folder_of, store_of
from ultrasam.datasets import archives
from ultrasam.datasets.annotated_image import Case, CaseImage, Instance
from ultrasam.datasets.catalogue import catalogue, dataset
from ultrasam.datasets.custom import image_mask_folder
from ultrasam.datasets.description import DatasetSpec
from ultrasam.datasets.discover import find_datasets
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.errors import DataError
from ultrasam.evaluation.sources import open_evaluation_datasets
from ultrasam.store import build
from ultrasam.store.build import build_store
from ultrasam.store.export import EXPORTERS, export_store
from ultrasam.store.index import BuildSettings
from ultrasam.store.journal import JournalShard, read_shard
from ultrasam.store.store import Store
from ultrasam.store.validate import unknown_subjects, validate_store

Run = Callable[..., int]


@pytest.fixture
def without_objects(tmp_path: Path) -> Path:
    return store_of(tmp_path, objects=False)


# Generic folder names


@pytest.mark.parametrize(
    "name", sorted(i for i, spec in catalogue().items() if spec.info.generic_folders)
)
def test_a_generic_folder_name_counts_only_where_the_reader_finds_its_images(
    name: str, tmp_path: Path
) -> None:
    for generic in dataset(name).info.generic_folders:
        if generic.endswith(".zip"):
            continue
        save(tmp_path / "other" / generic / "a photo.png", picture(1))
        with pytest.raises(DataError, match="No known data set"):
            find_datasets([str(tmp_path / "other")])
        MAKERS[name](tmp_path / "real" / generic)
        assert [spec.info.id for spec, _ in find_datasets([str(tmp_path / "real")])] == [name]
        for made in (tmp_path / "other", tmp_path / "real"):
            made.rename(tmp_path / f"{made.name}-{generic}")


@pytest.mark.parametrize("name", ["breast", "Kidney-US", "brachial plexus", "training_set"])
def test_a_folder_of_one_s_own_with_a_generic_name_is_evaluated(name: str, tmp_path: Path) -> None:
    folder_of(tmp_path / "my" / name, 2)
    folder_of(tmp_path / "my" / "other", 2)
    found = open_evaluation_datasets([str(tmp_path / "my")])
    assert sorted(data.name for data in found) == sorted([name, "other"])


def test_a_data_set_below_a_folder_of_a_generic_name_is_found(tmp_path: Path) -> None:
    MAKERS["busi"](tmp_path / "training_set" / "BUSI")
    assert [spec.info.id for spec, _ in find_datasets([str(tmp_path)])] == ["busi"]


# A store without an object


def test_a_store_without_objects_is_valid_and_says_so(
    without_objects: Path, ultrasam: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ultrasam("data", "validate", without_objects) == 0
    out = capsys.readouterr().out
    assert "6 images are valid, but none has an object" in out
    assert ultrasam("data", "validate", without_objects, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["images"], found["instances"], found["problems"]) == (6, 0, [])
    assert not list(validate_store(Store.open(without_objects)))


def test_statistics_and_contact_sheet_of_a_store_without_objects(
    without_objects: Path, tmp_path: Path, ultrasam: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ultrasam("data", "stats", without_objects, "-o", tmp_path / "stats") == 0
    assert "**No image has an object.**" in capsys.readouterr().out
    assert ultrasam("data", "show", without_objects, "-o", tmp_path / "sheet.png") == 0
    assert "has an object; images are shown without masks" in capsys.readouterr().err
    assert cv2.imread(str(tmp_path / "sheet.png")) is not None


@pytest.mark.parametrize("format_", ["yolo", "nnunet"])
def test_formats_of_objects_refuse_a_store_without(
    format_: str, without_objects: Path, tmp_path: Path, ultrasam: Run,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert (
        ultrasam("data", "export", without_objects, "--format", format_, "-o", tmp_path / "x") == 1
    )
    assert "has 6 images and no object" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("format_", sorted(set(EXPORTERS) - {"yolo", "nnunet"}))
def test_other_formats_export_images_without_objects(
    format_: str, without_objects: Path, tmp_path: Path
) -> None:
    counts = export_store(Store.open(without_objects), tmp_path / "x", format_)
    assert sum(counts.values()) == 6


@pytest.mark.filterwarnings("error")
def test_no_command_on_a_store_without_objects_ends_in_a_traceback(
    without_objects: Path, tmp_path: Path, ultrasam: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ultrasam("evaluate", "ellipse", "--data", without_objects, "-o", tmp_path / "e") == 1
    assert "No image of" in (error := capsys.readouterr().err)
    assert "has an object" in error
    assert "of 6 images are evaluated, those in test; left out are" in error
    assert not (tmp_path / "e" / "report.md").exists()


# What validate cannot know


def test_validate_says_that_subjects_are_unknown(
    tmp_path: Path, ultrasam: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ultrasam("data", "validate", store_of(tmp_path)) == 0
    out = capsys.readouterr().out
    assert "no known subject is in more than one split" in out
    assert "mine: the subjects of all 6 images are unknown" in out
    assert "--subject" in out


def cases_of(subjects: list[str | None]) -> DatasetSpec:
    def cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
        for entry, subject in zip(tree.entries, subjects, strict=True):
            pixels = picture(len(entry.name) + ord(entry.name[0]))
            instance = Instance("x", disc(30, 30, 9))
            yield Case("mine", entry.stem, (entry,), _Reads(pixels, instance), subject=subject)

    return DatasetSpec(image_mask_folder("mine").info, cases)


class _Reads:
    def __init__(self, pixels: np.ndarray, instance: Instance) -> None:  # type: ignore[type-arg]
        self.pixels, self.instance = pixels, instance

    def __call__(self) -> Iterator[CaseImage]:
        yield CaseImage(self.pixels, (self.instance,))


@pytest.mark.parametrize(
    ("subjects", "sentence"),
    [
        (["a", "a", "b"], None),
        (["a", "b", None], "the subjects of 1 of 3 images are unknown"),
        ([None, None, None], "the subjects of all 3 images are unknown"),
        (["a", "b", "c"], "each of the 3 images has a subject of its own"),
    ],
)
def test_what_is_unknown_of_subjects(
    subjects: list[str | None], sentence: str | None, tmp_path: Path
) -> None:
    for i in range(3):
        save(tmp_path / "raw" / f"{i}.png", picture(i))
    build_store([(cases_of(subjects), tmp_path / "raw")], tmp_path / "s", settings=BuildSettings())
    found = unknown_subjects(Store.open(tmp_path / "s"))
    assert bool(found) == (sentence is not None)
    assert sentence is None or sentence in found[0]


# Bars begin at zero


def test_bars_of_the_statistics_begin_at_zero(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    from ultrasam.store import stats

    found = stats.compute_statistics(Store.open(store_of(tmp_path)))
    for plot in (stats._plot_datasets, stats._plot_structures):
        axes = Figure().subplots()
        plot(axes, found)
        assert axes.get_xscale() == "linear"
        assert axes.get_xlim()[0] == 0
        widths = [bar.get_width() for bar in axes.patches]
        assert max(widths) == 6


# Paths


def test_pixels_are_read_below_a_folder_of_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """cv2.imread opens no such path on Windows; it is not called at all."""
    monkeypatch.setattr(cv2, "imread", None)
    store = Store.open(store_of(tmp_path / "Größe 超声", 2))
    assert np.array_equal(store.pixels(0), picture(0))
    store.path(0).write_bytes(b"")
    store.path(1).unlink()
    for row in (0, 1):
        with pytest.raises(DataError, match="missing or damaged"):
            store.pixels(row)


@pytest.mark.parametrize("with_psutil", [True, False])
def test_whether_a_process_runs(with_psutil: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not with_psutil:
        monkeypatch.setitem(sys.modules, "psutil", None)
    assert archives._is_running(str(os.getpid()))
    assert not archives._is_running("x")
    assert not archives._is_running("99999999")


def test_no_signal_is_sent_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """os.kill(pid, 0) is Ctrl-C there."""
    monkeypatch.setitem(sys.modules, "psutil", None)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("a signal was sent"))
    assert archives._is_running("99999999")


# One crash


class _OneFile:
    """Several cases in one file."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, tree: FileTree, report: SkipReport) -> Iterator[Case]:
        (entry, _) = next(tree.match(r"/clips.h5$"))
        for i in range(3):
            reader = _Reads(picture(i + len(self.name)), Instance("x", disc(30, 30, 9)))
            yield Case(self.name, f"clip{i}", (entry,), reader)


def test_a_crash_costs_only_its_own_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the other clips of the file, nor those of the same path in another data set."""

    def read(
        shards: list[JournalShard], store: Path, _workers: int, advance: Callable[..., None]
    ) -> list[JournalShard]:
        crashing = []
        for shard in shards:
            if any((case.dataset, case.key) == ("first", "clip1") for case in shard.cases):
                crashing.append(shard)
            else:
                advance(shard, read_shard(shard, store)[0])
        return crashing

    monkeypatch.setattr(build, "_read_in_pool", read)
    sources = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "clips.h5").write_bytes(b"x")
        sources.append((DatasetSpec(image_mask_folder(name).info, _OneFile(name)), tmp_path / name))
    built = build_store(sources, tmp_path / "s", settings=BuildSettings(), workers=1)
    images = Store.open(tmp_path / "s").images
    names = sorted(zip(images["dataset"].to_pylist(), images["name"].to_pylist(), strict=True))
    assert names == [
        ("first", "clip0"), ("first", "clip2"),
        ("second", "clip0"), ("second", "clip1"), ("second", "clip2"),
    ]  # fmt: skip
    assert built.crashed == ["first: clips.h5"]
    assert built.summary.skips["first"]["image"] == {"damaged: reading it crashes the process": 1}


# Archives


@pytest.mark.parametrize("stored", [True, False])
def test_a_member_of_an_archive_is_copied_once(
    stored: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with h5py.File(tmp_path / "clips.h5", "w") as file:
        file["image"] = np.arange(4)
    zipped(tmp_path / "a.zip", {"clips.h5": (tmp_path / "clips.h5").read_bytes()}, stored=stored)
    copies = []
    real = archives.shutil.copyfileobj

    def copy(*arguments: Any) -> None:
        copies.append(arguments)
        real(*arguments)

    monkeypatch.setattr(archives.shutil, "copyfileobj", copy)
    tree = FileTree(tmp_path / "a.zip", SkipReport())
    for _ in range(3):
        with tree.entries[0].on_disk() as path, h5py.File(path) as file:
            assert file["image"][()].tolist() == [0, 1, 2, 3]
    assert len(copies) == 1
    archives.forget_unpacked()
    assert not path.exists()


def test_processes_that_cannot_start_are_not_taken_for_a_reader_who_has_left(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ultrasam: Run,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(*_: object) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(build.ProcessPoolExecutor, "submit", broken)
    folder = folder_of(tmp_path / "my", 2)
    options = ("--format", "masks", "--name", "mine", "-o", tmp_path / "store", "--workers", 1)
    assert ultrasam("data", "import", folder, *options) == 1
    assert "The processes that read images cannot start" in capsys.readouterr().err


def test_a_custom_data_set_of_a_store_is_chosen_by_its_name(tmp_path: Path) -> None:
    """Whether or not a published data set without a reader has this id."""
    folder_of(tmp_path / "a", 2)
    folder_of(tmp_path / "b", 3)
    custom = [(image_mask_folder(name), tmp_path / name[0]) for name in ("a_clinic", "busis")]
    build_store(custom, tmp_path / "store", settings=BuildSettings())
    for name, count in (("a_clinic", 2), ("busis", 3)):
        (found,) = open_evaluation_datasets([str(tmp_path / "store")], split="all", only=[name])
        assert (found.name, len(found.items)) == (name, count)
    with pytest.raises(DataError, match=r"another not found in .*; there are a_clinic, busis\."):
        open_evaluation_datasets([str(tmp_path / "store")], split="all", only=["another"])
