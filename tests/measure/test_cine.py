"""Cines of masks: beats, ejection fractions, curves over time, and where the masks come from."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.images.segmentations import segmentation, write_dicom
from tests.shapes import Mask
from ultrasam.errors import DataError, MeasurementError
from ultrasam.images.mask_sequence import MaskSequence
from ultrasam.images.masks import encode_rle
from ultrasam.images.scan import Scan
from ultrasam.images.writing.formats import MaskFormat, write_masks
from ultrasam.inference.prompts_file import AssignedPrompts, PromptEntry
from ultrasam.measure.border import LevelMasks
from ultrasam.measure.cine import MaskedCine, measure_beats, missing_frames, surface_row
from ultrasam.measure.files import MaskFiles, ModelMasks, Predictions, measure_files
from ultrasam.measure.objects import masks_of_files, masks_of_predictions, read_predictions
from ultrasam.measure.outputs import write_results
from ultrasam.prompts import Prediction, Prompt

SIZE = (130, 110)
PERIOD = 12


def cavity(scale: float, *, wide: float = 0.0) -> Mask:
    """An ellipse with semi-axes of 50 and 28 pixels times a scale."""
    rows, columns = np.indices(SIZE)
    y, x = (rows - 64.5) / (50 * scale + wide), (columns - 54.5) / (28 * scale + wide)
    return np.asarray(x * x + y * y <= 1)


def scale_of(frame: int, phase: int = 0) -> float:
    return 0.9 + 0.1 * math.cos(2 * math.pi * (frame + phase) / PERIOD)


def cine(frames: int, **more: Any) -> Scan:
    return Scan(frames, *SIZE, False, lambda _: np.full(SIZE, 90, np.uint8), **more)


def tracked(frames: int, *, phase: int = 0) -> MaskSequence:
    masks = {f: cavity(scale_of(f, phase))[None] for f in range(frames)}
    return MaskSequence.of(masks, num_frames=frames, names=("ventricle",))


def test_a_tracked_cine_has_the_ejection_fraction_of_its_solid() -> None:
    """All axes shrink by a fifth, so the volume shrinks by 1 - 0.8³."""
    scan = cine(3 * PERIOD, spacing=(0.5, 0.5), frame_time=40.0)
    view = MaskedCine(scan, "ventricle", tracked(3 * PERIOD, phase=3))
    beats = measure_beats([view])
    assert [(b.beats[0].end_diastole, b.beats[0].end_systole) for b in beats] == [(9, 15), (21, 27)]
    for beat in beats:
        assert beat.measured.value("ejection fraction") == pytest.approx(
            100 * (1 - 0.8**3), abs=0.5
        )
        volume = 4 / 3 * math.pi * 50 * 28 * 28 * 0.125 / 1000
        assert beat.measured.value("end-diastolic volume") == pytest.approx(volume, rel=0.01)
    both = measure_beats([view, view])
    assert both[0].measured.value("ejection fraction") == pytest.approx(
        beats[0].measured.value("ejection fraction")
    )
    shorter = MaskedCine(cine(2 * PERIOD, spacing=(0.5, 0.5)), "b", tracked(2 * PERIOD, phase=3))
    notes: list[str] = []
    assert len(measure_beats([view, shorter], notes)) == 1
    assert notes == ["The first view has 2 beats, the second 1; what one has alone is left out."]
    with pytest.raises(MeasurementError, match="one view or two, not 3"):
        measure_beats([view] * 3)


def test_levels_of_a_cine_give_the_fraction_its_doubt() -> None:
    frames = {
        f: LevelMasks(cavity(s), wide=cavity(s, wide=2), tight=cavity(s, wide=-2))
        for f, s in enumerate((1.0, 0.9, 0.8))
    }
    view = MaskedCine.of(cine(3), "a", frames)
    (beat,) = measure_beats([view])
    first = beat.measured.measurements[0]
    assert first.doubt is not None
    assert 0 < first.doubt < 10
    # Without a spacing, a fraction is a fraction, and volumes are in pixels.
    assert [m.unit for m in beat.measured.measurements] == ["%", "px³", "px³", "px³"]


def test_frames_without_a_mask_are_told_and_left_out() -> None:
    masks = {f: LevelMasks(cavity(scale_of(f))) for f in range(PERIOD)}
    masks[2] = LevelMasks(np.zeros(SIZE, bool))
    view = MaskedCine.of(cine(PERIOD), "a", masks)
    assert missing_frames(view) == "a: the mask of 1 frame is empty (2)"
    assert np.isnan(view.areas()[2])
    assert measure_beats([view])[0].beats[0].end_systole == 6
    with pytest.raises(MeasurementError, match="has no masks"):
        MaskedCine.of(cine(3), "a", {})
    with pytest.raises(MeasurementError, match=r"is 5 × 4 pixels, but the scan is 110 × 130"):
        MaskedCine.of(cine(3), "a", {0: LevelMasks(np.zeros((4, 5), bool))})


def test_the_surface_is_where_the_scan_begins() -> None:
    frame = np.zeros(SIZE, np.uint8)
    frame[20:120, 10:100] = 90
    scan = Scan.from_array(frame)
    assert surface_row(scan, 0, None) == 20
    assert surface_row(scan, 0, (0, 40, 110, 130)) == 40
    assert surface_row(Scan.from_array(np.full(SIZE, 90, np.uint8)), 0, None) == 0


def still(path: Path, *, mask: Mask | None = None) -> Path:
    pixels = np.full(SIZE, 90, np.uint8) if mask is None else mask.astype(np.uint8) * 255
    Image.fromarray(pixels).save(path)
    return path


def entry(path: Path, mask: Mask, frame: int = 0, number: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "file_name": str(path), "frame": frame, "mask": f"x_mask_{number}.png",
        "segmentation": encode_rle(mask), **more,
    }  # fmt: skip


def test_a_mask_file_holds_one_object_or_one_for_each_value(tmp_path: Path) -> None:
    scan = Scan.from_array(np.full(SIZE, 90, np.uint8))
    one = still(tmp_path / "one.png", mask=cavity(1))
    (found,) = masks_of_files(scan, [one])
    assert (found.name, found.frames) == ("one", (0,))
    assert np.array_equal(found.levels(0).mask, cavity(1))
    labels = cavity(1).astype(np.uint8) + cavity(0.6)
    Image.fromarray(labels).save(tmp_path / "two.png")
    first, second = masks_of_files(scan, [tmp_path / "two.png"])
    assert (first.name, second.name) == ("two 1", "two 2")
    assert np.array_equal(second.levels(0).mask, cavity(0.6))
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / "small.png")
    with pytest.raises(MeasurementError, match="give the mask of this image, not resized"):
        masks_of_files(scan, [tmp_path / "small.png"])
    ramp = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE).astype(np.uint8)
    Image.fromarray(ramp).save(tmp_path / "picture.png")
    with pytest.raises(DataError, match="of 255 values, not a mask"):
        masks_of_files(scan, [tmp_path / "picture.png"])
    Image.fromarray(cavity(1).astype(np.uint8) * 255).save(tmp_path / "m.jpg")
    with pytest.raises(DataError, match="a JPEG, whose values are inexact"):
        masks_of_files(scan, [tmp_path / "m.jpg"])
    with pytest.raises(DataError, match="Cannot read the mask"):
        masks_of_files(scan, [tmp_path / "none.png"])


def test_predictions_are_objects_by_number_or_category_in_all_frames(tmp_path: Path) -> None:
    scan, path = cine(3), tmp_path / "a.tif"
    entries = [entry(path, cavity(1), f, n) for f in range(3) for n in range(2)]
    found = masks_of_predictions(scan, entries)
    assert [(item.name, item.frames) for item in found] == [("0", (0, 1, 2)), ("1", (0, 1, 2))]
    assert [item.frames for item in masks_of_predictions(scan, entries, frame=1)] == [(1,), (1,)]
    named = [entry(path, cavity(1), f, n, category="cyst") for f in range(2) for n in range(2)]
    names = [(item.name, item.frames) for item in masks_of_predictions(scan, named)]
    assert names == [("cyst", (0, 1)), ("cyst #2", (0, 1))]
    with pytest.raises(DataError, match="no frame 7"):
        masks_of_predictions(scan, [entry(path, cavity(1), 7)])
    with pytest.raises(MeasurementError, match="no mask of frame 2"):
        masks_of_predictions(scan, named, frame=2)
    for text, message in (
        ("{}", "is not a predictions.json"),
        ("[", "is not JSON"),
        ('[{"a": 1}]', "is not a"),
    ):
        (tmp_path / "p.json").write_text(text)
        with pytest.raises(DataError, match=message):
            read_predictions(tmp_path / "p.json")


def test_a_file_that_fails_stops_no_other_and_says_why(tmp_path: Path) -> None:
    good, empty = still(tmp_path / "good.png"), still(tmp_path / "empty.png")
    masks = {
        good: [still(tmp_path / "m1.png", mask=cavity(1))],
        empty: [still(tmp_path / "m2.png", mask=np.zeros(SIZE, bool))],
        tmp_path / "gone.png": [],
    }
    first, second, third = measure_files("shape", list(masks), MaskFiles(masks, (0.5, 0.5)))
    assert len(first.results) == 1
    assert first.errors == []
    assert second.errors == [
        f"{empty}: object m2: The mask is empty, so there is nothing to measure."
    ]
    assert third.errors == [f"{tmp_path / 'gone.png'} does not exist."]


def test_planes_are_given_together_in_their_order(tmp_path: Path) -> None:
    paths = [still(tmp_path / f"{name}.png") for name in ("sagittal", "transverse")]
    masks = {path: [still(tmp_path / f"m_{path.name}", mask=cavity(1))] for path in paths}
    (found,) = measure_files("prostate", paths, MaskFiles(masks, (0.5, 0.5)))
    assert found.errors == []
    assert found.results[0].paths == tuple(paths)
    assert found.results[0].measured.value("length") == pytest.approx(50, abs=0.6)
    with pytest.raises(
        MeasurementError, match=r"2 images \(sagittal, transverse\), in this order; 1 given"
    ):
        list(measure_files("prostate", paths[:1], MaskFiles(masks)))
    with pytest.raises(MeasurementError, match=r"or 2 as cines, in this order; 3 given"):
        list(measure_files("ejection-fraction-biplane", [*paths, paths[0]], MaskFiles(masks)))
    (found,) = measure_files("prostate", paths, MaskFiles(masks))
    assert found.errors == [
        f"{paths[0]} + {paths[1]}: prostate needs sizes in mm in every plane, but sagittal has none: "
        "the file states no pixel spacing. State it with --pixel-size."
    ]


def test_a_cine_of_predictions_gives_beats_curves_and_a_plot(tmp_path: Path) -> None:
    path = tmp_path / "c.tif"
    stack = [Image.fromarray(np.full(SIZE, 90 + f, np.uint8)) for f in range(PERIOD)]
    stack[0].save(path, save_all=True, append_images=stack[1:])
    entries = [entry(path, cavity(scale_of(f)), f) for f in range(PERIOD)]
    source = Predictions({path: entries}, (0.5, 0.5))
    (found,) = measure_files("ejection-fraction", [path], source)
    assert found.errors == []
    beat, *frames = found.results
    assert (beat.name, beat.frames) == ("beat 1", (0, 6))
    assert beat.measured.value("ejection fraction") == pytest.approx(100 * (1 - 0.8**3), abs=0.7)
    assert [result.frames for result in frames] == [(f,) for f in range(PERIOD)]
    written = write_results(tmp_path, found.results, [], {"ultrasam": "1", "masks": "p.json"})
    assert [file.name for file in written] == [
        "measurements.csv", "measurements.json", "curves.csv", "curves.png",
    ]  # fmt: skip
    with (tmp_path / "curves.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["volume [ml]"]) for row in rows] == pytest.approx(
        [result.measured.measurements[0].value for result in frames], rel=1e-5
    )
    with (tmp_path / "measurements.csv").open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert table[0]["quantity"] == "ejection fraction"
    assert (table[0]["frame"], table[0]["row_spacing"], table[0]["calibration"]) == (
        "0 + 6", "0.5", "as stated",
    )  # fmt: skip
    content = json.loads((tmp_path / "measurements.json").read_text())
    assert content["masks"] == "p.json"
    assert content["results"][0]["measurements"][0]["unit"] == "%"
    assert Image.open(tmp_path / "curves.png").size[0] > 300


class Discs:
    """Segments an ellipse in the box."""

    def set_image(self, scan: Any, *, frame: int = 0) -> None:
        self.shape = np.asarray(scan).shape[:2]

    def predict(self, prompts: Any) -> Prediction:
        masks = np.stack([[cavity(1)] for _ in prompts])
        ones = np.ones((len(prompts), 1), np.float32)
        return Prediction(masks, ones, ones, np.zeros((len(prompts), 1, 4, 4), np.float32))


def test_a_model_without_levels_gives_numbers_without_doubt(tmp_path: Path) -> None:
    path = still(tmp_path / "a.png")
    prompts = AssignedPrompts({path: [PromptEntry(0, Prompt(box=(10, 10, 90, 120)))]}, {})
    (found,) = measure_files("shape", [path], ModelMasks(Discs(), prompts))
    assert found.errors == []
    assert found.results[0].measured.measurements[0].doubt is None
    why = "the file states no pixel spacing"
    assert found.notes == []
    assert found.mask_notes == [
        f"{path}: object 0: the mask is measured in pixels, taken for square: {why}."
    ]


def test_a_mask_file_of_a_cine_needs_its_frame(tmp_path: Path) -> None:
    path = tmp_path / "c.tif"
    stack = [Image.fromarray(np.full(SIZE, 90 + f, np.uint8)) for f in range(3)]
    stack[0].save(path, save_all=True, append_images=stack[1:])
    masks = MaskFiles({path: [still(tmp_path / "m.png", mask=cavity(1))]})
    (found,) = measure_files("shape", [path], masks, frames=2)
    assert found.results[0].frames == (2,)
    (found,) = measure_files("shape", [path], masks, frames="all")
    assert "an image of masks shows one; give --frame NUMBER" in found.errors[0]
    (found,) = measure_files("shape", [path], masks)
    assert "has 3 frames; frame 0 is used" in found.notes[0]


@pytest.mark.parametrize("one", [MaskFormat.nifti, MaskFormat.seg])
def test_masks_of_a_whole_cine_are_measured_in_each_frame(one: MaskFormat, tmp_path: Path) -> None:
    """The files that track and predict write for a hospital's archive."""
    pytest.importorskip("highdicom")
    path = write_dicom(tmp_path / "a.dcm", 3)
    result = segmentation(path)
    ((file,), _) = write_masks(tmp_path, "r", result, [one])
    (found,) = measure_files("shape", [path], MaskFiles({path: [file]}), frames="all")
    assert not found.errors
    expected = {
        (name, frame): result.masks.masks(frame)[number].any()
        for number, name in enumerate(result.masks.names)
        for frame in range(3)
    }
    seen = {(one.name, one.frames[0]) for one in found.results}
    assert seen == {key for key, shown in expected.items() if shown}
    (only,) = measure_files("shape", [path], MaskFiles({path: [file]}), frames=2)
    assert {one.frames for one in only.results} == {(2,)}
    (none,) = measure_files("shape", [path], MaskFiles({path: [file]}), frames=1)
    assert "has no mask of frame 1; choose another --frame." in none.errors[0]


def test_a_name_that_is_no_text_is_written_with_its_bytes(tmp_path: Path) -> None:
    path = still(tmp_path / "a.png")
    prompts = AssignedPrompts({path: [PromptEntry(0, Prompt(box=(10, 10, 90, 120)))]}, {})
    (found,) = measure_files("shape", [path], ModelMasks(Discs(), prompts))
    odd = [replace(result, paths=(Path("b\udcff.png"),)) for result in found.results]
    table, content = write_results(tmp_path, odd, ["b\udcff.png failed."], {"ultrasam": "1"})
    with table.open(newline="", encoding="utf-8") as file:
        assert {row["image"] for row in csv.DictReader(file)} == {"b\\xff.png"}
    told = json.loads(content.read_text("utf-8"))
    assert told["results"][0]["images"] == ["b\\xff.png"]
    assert told["errors"] == ["b\\xff.png failed."]
