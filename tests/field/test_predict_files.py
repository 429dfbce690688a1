"""What predict and embed write: nothing lost, nothing replaced, nothing doubtful without a word."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

from tests.conftest import TINY, randomized
from tests.field.test_prompts_file import Boxes
from tests.images.files import write_video
from ultrasam.downstream.classification.predict import classify_files, write_classes
from ultrasam.downstream.embed import embed_files, write_features
from ultrasam.downstream.features import Embedder, memory_needed
from ultrasam.errors import ConfigError, DataError, DiskFullError, UltraSamError
from ultrasam.images.writing.overlay import draw_overlay
from ultrasam.inference.batch import predict_files, write_results
from ultrasam.inference.coco_ids import read_coco_ids
from ultrasam.inference.frames import parse_frames
from ultrasam.inference.processing import FileResult
from ultrasam.inference.prompts_file import AssignedPrompts, PromptEntry
from ultrasam.prompts import Prediction, Prompt

BOX = Prompt(box=(4, 4, 20, 20))
Run = Callable[..., int]


def checkered(size: tuple[int, int], value: int) -> Image.Image:
    y, x = np.indices(size[::-1])
    return Image.fromarray((value + 8 * ((x + y) % 2)).astype(np.uint8))


def image(path: Path, size: tuple[int, int] = (40, 30), value: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    checkered(size, value).save(path)
    return path


def pages(path: Path, count: int) -> Path:
    stack = [checkered((40, 30), 20 * index) for index in range(count)]
    stack[0].save(path, save_all=True, append_images=stack[1:])
    return path


def predicted(
    paths: list[Path], *prompts: Prompt, out: Path, segmenter: Any = None, **more: Any
) -> list[FileResult]:
    entries = [PromptEntry(number, prompt) for number, prompt in enumerate(prompts or [BOX])]
    assigned = AssignedPrompts(dict.fromkeys(paths, entries), {})
    return list(predict_files(segmenter or Boxes(), paths, assigned, out, provenance={}, **more))


def test_inputs_of_one_name_do_not_replace_each_other(tmp_path: Path) -> None:
    names = ["x/a.png", "y/a.png", "z/a_2.png", "z/A.bmp", "1.2.840.1", "1.2.840.2"]
    paths = [tmp_path / name for name in names]
    for index, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = "BMP" if path.suffix == ".bmp" else "PNG"
        Image.new("L", (40, 30), 10 * index).save(path, format=kind)
    results = predicted(paths, out=tmp_path / "out")
    masks = [entry["mask"] for result in results for entry in result.results]
    stems = ("a", "a_2", "a_2_2", "A_3", "1.2.840.1", "1.2.840.2")
    assert masks == [f"{stem}_mask_0.png" for stem in stems]
    assert all((tmp_path / "out" / mask).is_file() for mask in masks)
    for index, result in enumerate(results):
        assert result.overlay is not None
        assert np.asarray(Image.open(result.overlay))[29, 39, 0] == 10 * index


def test_frames_have_names_of_their_own_and_one_that_fails_costs_no_other(tmp_path: Path) -> None:
    cine, still = pages(tmp_path / "c.tif", 12), image(tmp_path / "c_frame_03.png")
    results = predicted([cine, still], out=tmp_path / "out", frames="all")
    assert [r.frame for r in results] == [*range(12), 0]
    entries = [entry for result in results for entry in result.results]
    assert [e["image_id"] for e in entries] == list(range(1, 14))
    assert [e["mask"] for e in entries][2:4] == ["c_frame_02_mask_0.png", "c_frame_03_mask_0.png"]
    assert entries[-1]["mask"] == "c_frame_03_2_mask_0.png"
    for index, result in enumerate(results[:-1]):
        assert result.overlay is not None
        assert np.asarray(Image.open(result.overlay))[29, 39, 0] == 20 * index

    class Fails(Boxes):
        def set_image(self, scan: Any, *, frame: int = 0) -> None:
            super().set_image(scan)
            if np.asarray(scan)[0, 0] == 40:
                raise RuntimeError("out of\nmemory")

    results = predicted([cine], out=tmp_path / "o", segmenter=Fails(), frames="all")
    assert [bool(result.error) for result in results] == [i == 2 for i in range(12)]
    assert results[2].error == f"{cine}: RuntimeError: out of memory"


def test_a_cine_without_a_frame_is_said_to_have_more(tmp_path: Path) -> None:
    cine, still = pages(tmp_path / "c.tif", 3), image(tmp_path / "a.png")
    first, second = predicted([cine, still], out=tmp_path / "out")
    note = (
        f"{cine} has 3 frames; frame 0 is used. Choose others with --frame NUMBER or --frame all."
    )
    assert first.notes == (note,)
    assert second.notes == ()
    assert first.results[0]["mask"] == "c_frame_0_mask_0.png"
    assert predicted([cine], out=tmp_path / "out", frames=2)[0].notes == ()
    wrong = predicted([cine, still], out=tmp_path / "out", frames=2)
    assert wrong[0].error is None
    assert "frame 2 does not exist" in str(wrong[1].error)


@pytest.mark.parametrize(
    ("text", "frames"), [("0", 0), ("12", 12), ("all", "all"), (" ALL ", "all")]
)
def test_a_frame_is_a_number_or_all(text: str, frames: int | str) -> None:
    assert parse_frames(text) == frames


@pytest.mark.parametrize("text", ["-1", "x", "", "1-3", "1.0", "٣", "²"])
def test_what_is_no_frame_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a frame; give its number"):
        parse_frames(text)


def test_a_prompt_that_does_not_fit_costs_no_other(tmp_path: Path) -> None:
    prompts = [BOX, Prompt(box=(100, 100, 120, 120)), Prompt(points=[(50, 5)]), BOX]
    small, large = image(tmp_path / "s.png"), image(tmp_path / "l.png", (200, 150))
    results = predicted([small, large], *prompts, out=tmp_path / "out")
    assert [len(result.results) for result in results] == [2, 4]
    assert [entry["mask"] for entry in results[0].results] == ["s_mask_0.png", "s_mask_3.png"]
    assert (
        results[0].refused[0].startswith(f"{small}: prompt 1: The box 100,100,120,120 is outside")
    )
    assert results[0].refused[1].startswith(f"{small}: prompt 2: The point 50,5 is outside")
    alone = predicted([small], prompts[1], out=tmp_path / "o")[0]
    assert str(alone.error).startswith(f"{small}: The box 100,100,120,120 is outside")
    assert not alone.refused


class Scored(Boxes):
    """Finds the boxes with given scores, and nothing for a score of 0."""

    def __init__(self, *scores: float) -> None:
        self.scores = scores

    def predict(self, prompts: Prompt | list[Prompt]) -> Prediction:
        found = super().predict(prompts)
        scores = np.array(self.scores[: len(found)], np.float32)[:, None]
        masks = found.masks & (scores > 0)[..., None, None]
        return Prediction(masks, scores, np.ones_like(scores), found.low_res_logits)


def test_empty_and_doubtful_masks_are_told_and_marked(tmp_path: Path) -> None:
    path = image(tmp_path / "a.png", (200, 150))
    boxes = [Prompt(box=box) for box in ((10, 40, 50, 60), (90, 90, 150, 120), (150, 20, 190, 40))]
    sure = predicted([path], *boxes, out=tmp_path / "1", segmenter=Scored(0.9, 0.5, 0.8))[0]
    assert sure.notes == ()
    result = predicted([path], *boxes, out=tmp_path / "2", segmenter=Scored(0.9, 0.36, 0))[0]
    assert result.notes == (
        f"{path}: prompt 1: the mask has low confidence (predicted IoU 0.36, stability 1.00); check it in "
        "the overlay.",
        f"{path}: prompt 2: the mask is empty; the model found no object for this prompt.",
    )
    assert [entry["low_confidence"] for entry in result.results] == [False, True, True]
    assert result.results[2]["score"] == 0
    assert sure.overlay is not None
    assert result.overlay is not None
    plain, marked = (np.asarray(Image.open(r.overlay)).astype(int) for r in (sure, result))
    changed = np.abs(plain - marked).sum(axis=2) > 0
    assert not changed[:, :85].any()  # the first mask is drawn as before
    assert changed[80:90, 95:200].sum() > 50  # "low confidence" above the second


def test_a_box_on_the_margin_is_told_however_sure_the_model_is(tmp_path: Path) -> None:
    pixels = np.zeros((150, 200, 3), np.uint8)
    pixels[40:140, 30:170] = np.random.default_rng(0).integers(0, 255, (100, 140, 1))
    pixels[60:100, 60:120] = 2  # an anechoic cyst
    boxes = [Prompt(box=box) for box in ((1, 1, 28, 30), (55, 55, 125, 105), (150, 2, 300, 38))]
    for suffix in ("png", "jpg"):
        path = tmp_path / f"a.{suffix}"
        Image.fromarray(pixels).save(path)
        result = predicted([path], *boxes, out=tmp_path / "o", segmenter=Scored(0.9, 0.9, 0.9))[0]
        assert [entry["low_confidence"] for entry in result.results] == [True, False, True]
        told = "the mask is unreliable, because the image is blank inside the box; check the box."
        assert f"{path}: prompt 0: {told}" in result.notes
        assert f"{path}: prompt 2: {told}" in result.notes


def test_masks_in_the_overlay_have_numbers() -> None:
    frame = np.full((150, 200), 90, np.uint8)
    for text, x, y in (("0", 50.0, 60.0), ("12: empty", 190.0, 2.0), ("3", 0.0, 149.0)):
        drawn = draw_overlay(frame, [], texts=[(text, x, y)])
        ys, _ = np.nonzero((drawn > 200).all(axis=2))
        assert len(ys) > 5
        assert abs(ys.mean() - y) < 25
        assert ys.max() < 150
    large = draw_overlay(frame, [], boxes=[(-1e300, 5, 1e12, 50)])
    assert (large[5, :200] == 255).all()
    assert draw_overlay(np.zeros((3, 5), np.uint8), [], texts=[("0: empty", 2, 2)]).shape == (
        3,
        5,
        3,
    )


def test_a_box_that_is_hardly_meant_is_questioned(tmp_path: Path) -> None:
    path = image(tmp_path / "a.png", (200, 150))
    notes = predicted(
        [path],
        Prompt(box=(10, 10, 12, 40)),
        Prompt(box=(150, 10, 400, 40)),
        BOX,
        out=tmp_path / "o",
    )[0].notes
    assert notes == (
        f"{path}: prompt 0: The box 10,10,12,40 covers only 2 × 30 pixels of the scan.",
        f"{path}: prompt 1: More than half of the box 150,10,400,40 is outside the scan of 200 × 150 pixels.",
    )


def coco(folder: Path, images: list[dict[str, Any]], *categories: str) -> Path:
    path = folder / "gt.json"
    content = {
        "images": [{"height": 30, "width": 40, **one} for one in images],
        "annotations": [],
        "categories": [
            {"id": 3 + i, "name": name} for i, name in enumerate(categories or ["cyst"])
        ],
    }
    path.write_text(json.dumps(content), encoding="utf-8-sig")
    return path


@pytest.mark.parametrize("ids", [(7, 3), ("left", "right"), (0, 10**12)])
def test_results_have_the_ids_of_ones_own_coco_file(ids: tuple[Any, Any], tmp_path: Path) -> None:
    paths = [image(tmp_path / "in" / name) for name in ("a.png", "b.png")]
    file = coco(
        tmp_path, [{"id": ids[1], "file_name": "in\\b.png"}, {"id": ids[0], "file_name": "A.png"}]
    )
    found = read_coco_ids(file).for_files(paths).for_category(None)
    results = predicted(paths, out=tmp_path / "o", coco=found)
    entries = [entry for result in results for entry in result.results]
    assert [(e["image_id"], e["category_id"]) for e in entries] == [(ids[0], 3), (ids[1], 3)]
    truth = COCO(str(_plain(file)))
    loaded = truth.loadRes(str(write_results(results, tmp_path / "o")))
    assert sorted(loaded.getImgIds()) == sorted(ids)
    assert [a["area"] for a in loaded.dataset["annotations"]] == [256, 256]


def _plain(path: Path) -> Path:
    path.write_text(path.read_text(encoding="utf-8-sig"), encoding="utf-8")
    return path


def test_an_image_that_the_coco_file_does_not_tell_is_refused(tmp_path: Path) -> None:
    names = ["p1/a.png", "p2/a.png", "b.png", "c.png", "d.png"]
    paths = [image(tmp_path / name) for name in names] + [pages(tmp_path / "e.tif", 2)]
    listed = [
        {"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png", "height": 31},
        {"id": 3, "file_name": "c.png"}, {"id": 4, "file_name": "c.png"},
        {"id": 5, "file_name": "p1/a.png"}, {"id": 6, "file_name": "e.tif"},
    ]  # fmt: skip
    found = read_coco_ids(coco(tmp_path, listed)).for_files(paths)
    results = predicted(paths, out=tmp_path / "o", coco=found)
    assert [[e["image_id"] for e in result.results] for result in results] == [
        [5],
        [1],
        [],
        [],
        [],
        [],
    ]
    errors = [str(result.error) for result in results[2:]]
    assert "is 40 × 30 pixels, but 40 × 31 in" in errors[0]
    assert "2 images are called 'c.png'" in errors[1]
    assert "it has no image called d.png" in errors[2]
    assert "has 2 frames" in errors[3]
    with pytest.raises(DataError, match="it has no image called d"):
        read_coco_ids(coco(tmp_path, listed)).for_files(paths[4:5])


def test_a_category_is_never_guessed(tmp_path: Path) -> None:
    paths = [image(tmp_path / "a.png")]
    found = read_coco_ids(coco(tmp_path, [{"id": 1, "file_name": "a.png"}], "cyst", "mass"))
    with pytest.raises(DataError, match=r"has 2 categories \(cyst, mass\); choose one"):
        found.category(None)
    with pytest.raises(DataError, match="has no category 'node'; it has cyst, mass"):
        found.for_category("node")
    assert [found.category(name) for name in ("mass", "MASS", "4", "cyst")] == [4, 4, 4, 3]
    entries = [PromptEntry(0, BOX, category="mass"), PromptEntry(1, BOX)]
    results = predict_files(
        Boxes(), paths, AssignedPrompts({paths[0]: entries}, {}), tmp_path / "o", provenance={},
        coco=found.for_files(paths).for_category("cyst"),
    )  # fmt: skip
    assert [e["category_id"] for result in results for e in result.results] == [4, 3]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not JSON"),
        ("[]", "it has no images"),
        ('{"images": []}', "it has no images"),
        ('{"images": [1], "categories": []}', "its images are no objects"),
        ('{"images": [{"id": 1}], "categories": []}', "has no file_name or no id"),
        ('{"images": [{"id": [1], "file_name": "a"}]}', "has no file_name or no id"),
        ('{"images": [{"id": 1, "file_name": "a"}]}', "it has no categories"),
        ('{"images": [{"id": 1, "file_name": "a"}], "categories": [{"name": "x"}]}', "has no id"),
    ],
)
def test_a_file_that_is_not_coco_is_refused(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "gt.json").write_text(content)
    with pytest.raises(DataError) as refused:
        read_coco_ids(tmp_path / "gt.json")
    assert message in str(refused.value)
    assert "gt.json" in str(refused.value)


class Bright:
    """Classifies by brightness, as `Classifier` does."""

    classes = ("bright", "dark")

    def predict(self, frames: Any) -> torch.Tensor:
        bright = float(np.mean(frames)) / 255
        return torch.tensor([[bright, 1 - bright]])


def test_classes_are_written_whole_with_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [
        pages(tmp_path / "c.tif", 3),
        tmp_path / "none.png",
        image(tmp_path / "b.png", value=200),
    ]
    results = list(classify_files(Bright(), paths, frames="all"))  # type: ignore[arg-type]
    table = write_classes(results, Bright.classes, tmp_path / "out")
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(Path(r["path"]).name, r["frame"], r["class"], r["bright"]) for r in rows] == [
        ("c.tif", "0", "dark", "0.0157"), ("c.tif", "1", "dark", "0.0941"),
        ("c.tif", "2", "dark", "0.1725"), ("b.png", "0", "bright", "0.8000"),
    ]  # fmt: skip
    assert "does not exist" in str(results[3].error)
    first = next(iter(classify_files(Bright(), paths)))  # type: ignore[arg-type]
    assert first.notes[0].startswith(f"{paths[0]} has 3 frames; frame 0 is used.")
    before = table.read_bytes()
    monkeypatch.setattr(Path, "replace", _full)
    with pytest.raises(UltraSamError, match=r"classes\.csv"):
        write_classes(results[:1], Bright.classes, tmp_path / "out")
    assert table.read_bytes() == before
    assert [p.name for p in table.parent.iterdir()] == ["classes.csv"]


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_an_input_of_any_size_is_bounded_before_memory_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = randomized(TINY)
    with pytest.raises(ConfigError, match="too large; use at most 4096, the model's own is 128"):
        Embedder(model, size=100_000)
    with pytest.raises(ConfigError, match="not a multiple"):
        Embedder(model, size=100)
    one = memory_needed(model, 1024)
    for free, batch in ((9 * one, 8), (3.5 * one, 3)):
        monkeypatch.setattr("ultrasam.downstream.features.available_memory", lambda _, f=free: f)
        assert Embedder(model, size=1024).batch == batch
    monkeypatch.setattr("ultrasam.downstream.features.available_memory", lambda _: one / 2)
    with pytest.raises(ConfigError, match="GiB are free; use a smaller size"):
        Embedder(model, size=1024)


def test_features_of_what_can_be_embedded_are_written(tmp_path: Path) -> None:
    pl = pytest.importorskip("polars")
    paths = [pages(tmp_path / "c.tif", 2), tmp_path / "none.png", image(tmp_path / "b.png")]
    embedder = Embedder(randomized(TINY))
    results = list(embed_files(embedder, paths, frames="all"))
    write_features(results, tmp_path / "f.parquet", model="tiny")
    table = pl.read_parquet(tmp_path / "f.parquet")
    assert [(Path(p).name, f) for p, f in zip(table["path"], table["frame"], strict=True)] == [
        ("c.tif", 0), ("c.tif", 1), ("b.png", 0),
    ]  # fmt: skip
    whole = next(embedder.images([np.asarray(checkered((40, 30), 20))]))
    assert np.allclose(table["features"][1], whole, atol=1e-5)


def test_the_features_of_an_empty_mask_are_not_those_of_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ultrasam.downstream.features.Predictor", lambda _: Scored(0.9, 0, 0.9))
    path = image(tmp_path / "a.png")
    entries = [PromptEntry(i, BOX) for i in range(3)]
    assigned = AssignedPrompts({path: entries}, {})
    result = next(iter(embed_files(Embedder(randomized(TINY)), [path], assigned)))
    assert [number for number, _ in result.vectors] == [0, 2]
    assert result.errors == (f"{path}: prompt 1: the mask is empty, so there are no features.",)


def test_the_command_line_tells_what_it_did(
    ultrasam: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    write_video(tmp_path / "in" / "c.mp4", "libx264")
    image(tmp_path / "in" / "a.png", (64, 48))
    prompts = {"c.mp4": [{"box": [8, 8, 40, 40]}], "gone.png": [{"box": [1, 1, 9, 9]}],
               "a.png": [{"box": [8, 8, 40, 40]}, {"box": [500, 8, 540, 40]}, {"box": [8]}]}  # fmt: skip
    Path("p.json").write_text(json.dumps(prompts), encoding="utf-16")
    given = ("predict", "in", "--prompts", "p.json", "--no-tta", "-o", "out")
    assert ultrasam(*given) == 1
    said = capsys.readouterr().err
    assert "p.json: 'a.png', prompt 2: The box [8.0] is invalid" in said
    assert "not among the inputs: gone.png" in said
    assert "in/a.png: prompt 1: The box 500,8,540,40 is outside" in said
    assert "frames; frame 0 is used" in said
    assert "2 prompts were refused" in said
    entries = json.loads(Path("out/predictions.json").read_text())
    assert [entry["mask"] for entry in entries] == ["a_mask_0.png", "c_frame_0_mask_0.png"]
    # Nothing is replaced unless asked for, and neither masks nor overlays are segmented.
    assert ultrasam(*given) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert ultrasam(*given, "--overwrite", "--model", "random:nano", "--device", "cuda:77") == 1
    assert len(list(Path("out").iterdir())) == 5  # a model that cannot be loaded costs no results
    capsys.readouterr()
    assert ultrasam("predict", "out", "in/a.png", "--box", "8,8,40,40", "-o", "o2") == 1
    assert "The folder out holds no images" in capsys.readouterr().err
    assert ultrasam("predict", "in/a.png", "--box", "0.1,0.1,0.4,0.5") == 1
    assert "give pixels, not fractions" in capsys.readouterr().err
    assert ultrasam("predict", "in/a.png", "--point", "9,9,0") == 1
    assert "only background clicks" in capsys.readouterr().err
    assert ultrasam("predict", "in/a.png", "--box", "8,8,40,40", "--frame", "-1") == 2
    assert "--frame" in capsys.readouterr().err
    assert ultrasam("predict", "in/a.png", "--box", "8,8,40,40", "--category", "cyst") == 1
    assert "--coco" in capsys.readouterr().err
    assert ultrasam("embed", "in", "--size", "100000") == 2
    assert "--size" in capsys.readouterr().err


def test_file_names_that_are_no_text_are_no_obstacle(
    tmp_path: Path, ultrasam: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pl = pytest.importorskip("polars")
    path = tmp_path / os.fsdecode(b"sch\xe4del.png")
    try:
        image(path)
    except OSError:
        pytest.skip("this file system takes text only")
    (classified,) = classify_files(Bright(), [path])  # type: ignore[arg-type]
    table = write_classes([classified], Bright.classes, tmp_path)
    assert r"sch\xe4del.png,dark" in table.read_text(encoding="utf-8")
    embedded = embed_files(Embedder(randomized(TINY)), [path])
    write_features(list(embedded), tmp_path / "f.parquet", model="tiny")
    assert pl.read_parquet(tmp_path / "f.parquet")["path"][0].endswith(r"sch\xe4del.png")
    for encoding, printed in (
        ("utf-8", b"sch\xe4del: bright"),
        ("ascii", rb"sch\udce4del: bright"),
    ):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(sys, "stdout", stream)
        assert ultrasam("--version") == 0
        print(f"{path.stem}: bright", flush=True)
        assert printed in stream.buffer.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("label", ["nan", "inf", "0.5", "1e999", "-1"])
def test_a_click_that_is_neither_on_nor_beside_the_object_is_refused(
    label: str, ultrasam: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ultrasam("predict", image(tmp_path / "a.png"), "--point", f"5,5,{label}") == 1
    assert "the third number is 1 (on the object) or 0" in capsys.readouterr().err


def test_a_full_disk_ends_the_run_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [image(tmp_path / "a.png"), image(tmp_path / "b.png")]
    monkeypatch.setattr(Path, "replace", _full)
    with pytest.raises(DiskFullError, match=r"No space left on the disk for .*a_mask_0"):
        predicted(paths, out=tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_interruption_costs_no_results(
    ultrasam: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("a.png", "b.png", "c.png"):
        image(tmp_path / "in" / name, (64, 48))

    class Interrupted(Boxes):
        count = 0

        def predict(self, prompts: Prompt | list[Prompt]) -> Prediction:
            self.count += 1
            if self.count == 3:
                raise KeyboardInterrupt
            return super().predict(prompts)

    monkeypatch.setattr("ultrasam.inference.predictor.Predictor", lambda *_, **__: Interrupted())
    out = tmp_path / "out"
    assert ultrasam("predict", tmp_path / "in", "--box", "8,8,40,40", "-o", out) == 130
    said = capsys.readouterr().err
    assert "predictions.json has only what was done until then: 2 of 3 files." in said
    assert len(json.loads((out / "predictions.json").read_text())) == 2
