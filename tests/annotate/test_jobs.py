"""Work beyond a click: propagation, interpolation, suggestions, exports and imports."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.annotate.conftest import Page, disc, page_over
from tests.annotate.test_strokes import mask_of
from ultrasam.annotate.annotator import Annotator
from ultrasam.annotate.project.project import Project

FRAMES = 12


def shown(page: Page, image: int) -> dict[str, str]:
    return {k: v["state"] for k, v in page.get(f"/images/{image}").json()["frame_states"].items()}


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def object_at(page: Page, image: int, frame: int) -> dict:
    return page.get(f"/images/{image}/objects", params={"frame": frame}).json()["objects"][0]


@pytest.fixture
def cine(page: Page) -> tuple[int, dict]:
    """A cine with the moving disc marked in frame 4, and propagated from there."""
    image = page.id("cine.avi")
    object = page.draw(image, (52, 60), 20, frame=4)
    job = page.finished(page.post(f"/images/{image}/propagate", {"frame": 4}).json())
    assert job["state"] == "done", job
    return image, object


def test_propagation_follows_a_disc_that_moves_in_both_directions(
    page: Page, cine: tuple[int, dict]
) -> None:
    image, _ = cine
    assert shown(page, image) == {
        str(t): "drawn" if t == 4 else "propagated" for t in range(FRAMES)
    }
    for t in range(FRAMES):
        assert dice(mask_of(object_at(page, image, t)), disc((40 + 3 * t, 60), 20)) > 0.9, t


def test_a_correction_makes_the_drafts_stale_and_propagates_to_the_next_key_only(
    page: Page, cine: tuple[int, dict]
) -> None:
    image, object = cine
    at = object_at(page, image, 8)
    page.stroke(
        image, "brush", mode="add", path=[[64, 30]], radius=6, frame=8, object=object["id"],
        base_version=at["mask"]["version"],
    )  # fmt: skip
    before = {t: object_at(page, image, t)["mask"]["version"] for t in range(FRAMES)}
    states = shown(page, image)
    assert [t for t in states if states[t] == "stale"] == ["5", "6", "7", "9", "10", "11"]
    page.finished(page.post(f"/images/{image}/propagate", {"frame": 8}).json())
    after = {t: object_at(page, image, t)["mask"]["version"] for t in range(FRAMES)}
    assert [t for t in after if after[t] == before[t]] == [0, 1, 2, 3, 4, 8]
    assert "stale" not in shown(page, image).values()


def test_accepted_frames_are_keys_and_propagation_is_undone_at_once(
    page: Page, cine: tuple[int, dict]
) -> None:
    image, _ = cine
    page.stroke(image, "accept", frames=[6, 7], frame=6)
    assert shown(page, image)["6"] == "accepted"
    assert "stale" not in shown(page, image).values()
    assert page.post(f"/images/{image}/undo").json()["which"] == "Accept object 1 in 2 frames"
    undone = page.post(f"/images/{image}/undo").json()
    assert (undone["which"], undone["all"]) == ("Propagate object 1 from frame 4", True)
    assert shown(page, image) == {"4": "drawn"}
    page.post(f"/images/{image}/redo")
    assert len(shown(page, image)) == FRAMES


def test_interpolation_fills_between_accepted_masks(page: Page) -> None:
    image = page.id("cine.avi")
    first = page.draw(image, (50, 60), 20, frame=2)
    page.draw(image, (62, 60), 20, frame=6, object=first["id"], base_version=None)
    frames = page.post(f"/images/{image}/interpolate", {"object": first["id"], "from": 0, "to": 11})
    assert frames.json() == {"frames": [3, 4, 5]}
    middle = object_at(page, image, 4)["mask"]
    assert (middle["state"], middle["source"]) == ("draft", "interpolated")
    assert dice(mask_of(object_at(page, image, 4)), disc((56, 60), 20)) > 0.95


def test_a_job_that_ran_when_the_program_ended_is_interrupted(page: Page, folder: Path) -> None:
    with page.annotator.project.write() as connection:
        connection.execute(
            "INSERT INTO jobs (kind, reader, state, request, created) "
            "VALUES ('x', 'anna', 'running', '{}', '')"
        )
    page.annotator.close()
    opened = Annotator.open(folder, model="random:nano", device="cpu")
    try:
        assert opened.jobs.all()[0]["state"] == "interrupted"
    finally:
        opened.close()


def test_a_canceled_propagation_keeps_what_it_has_and_ends(page: Page) -> None:
    image = page.id("cine.avi")
    page.draw(image, (40, 60), 20, frame=0)
    job = page.post(f"/images/{image}/propagate", {"frame": 0}).json()
    assert page.send("DELETE", f"/jobs/{job['id']}").status_code == 200
    assert page.finished(job)["state"] in ("cancelled", "done")


def test_propagation_without_anything_to_propagate_says_so(page: Page) -> None:
    job = page.finished(page.post(f"/images/{page.id('a.png')}/propagate", {}).json())
    assert (job["state"], "one frame only" in job["sentence"]) == ("failed", True)
    job = page.finished(page.post(f"/images/{page.id('cine.avi')}/propagate", {}).json())
    assert "mark one there first" in job["sentence"]


def exported(page: Page, *formats: str, **more: object) -> tuple[dict, zipfile.ZipFile]:
    job = page.finished(page.post("/export", {"formats": formats, **more}).json())
    assert job["state"] == "done", job
    content = page.get(f"/exports/{job['result']['name']}").content
    return job, zipfile.ZipFile(io.BytesIO(content))


def test_an_export_holds_the_accepted_masks_alone_and_pycocotools_reads_them(
    page: Page, cine: tuple[int, dict]
) -> None:
    coco_mask = pytest.importorskip("pycocotools.mask")
    _, object = cine
    _, archive = exported(page, "coco")
    content = json.loads(archive.read("coco/annotations.json"))
    (entry,) = content["annotations"]
    assert np.array_equal(coco_mask.decode(entry["segmentation"]).astype(bool), mask_of(object))
    _, archive = exported(page, "coco", which="all")
    assert len(json.loads(archive.read("coco/annotations.json"))["annotations"]) == FRAMES


def test_exports_opened_by_other_readers_are_the_masks_drawn(page: Page) -> None:
    nibabel = pytest.importorskip("nibabel")
    from PIL import Image

    drawn = mask_of(page.draw(page.id("a.png"), (50, 70), 17, label="cyst"))
    _, archive = exported(page, "png", "nifti", "csv", "yolo")
    png = np.asarray(Image.open(io.BytesIO(archive.read("png/a_mask_0.png"))))
    assert np.array_equal(png > 0, drawn)
    nifti = nibabel.Nifti1Image.from_bytes(
        __import__("gzip").decompress(archive.read("nifti/a_masks.nii.gz"))
    )
    assert np.array_equal(np.squeeze(np.asarray(nifti.dataobj)).T > 0, drawn)
    assert "cyst" in archive.read("csv/a_masks.csv").decode()
    assert str(page.annotator.project.folder) not in archive.read("csv/a_masks.csv").decode()


def test_an_export_comes_back_without_loss(page: Page, folder: Path) -> None:
    image = page.id("a.png")
    page.draw(image, (50, 70), 17, label="cyst")
    page.stroke(image, "prompt", prompt={"points": [[60, 60, 1]], "box": [30, 30, 90, 90]})
    before = page.get(f"/images/{image}/objects").json()["objects"]
    job, _ = exported(page, "coco")
    second = Project(folder, folder.parent / "second.sqlite")
    second.close()
    page.annotator.close()
    opened = Annotator.open(folder, project=folder.parent / "second.sqlite", model="random:nano")
    try:
        other = page_over(opened)
        path = f"ultrasam-export/{job['result']['name']}/coco/annotations.json"
        done = other.finished(other.post("/import", {"path": path, "state": "accepted"}).json())
        assert done["state"] == "done", done
        after = other.get(f"/images/{other.id('a.png')}/objects").json()["objects"]
        for kept in ("label",):
            assert [one[kept] for one in after] == [one[kept] for one in before]
        for kept in ("hash", "prompts", "state", "model"):
            assert [one["mask"][kept] for one in after] == [one["mask"][kept] for one in before]
    finally:
        opened.close()


def test_masks_of_another_tool_become_drafts(page: Page, folder: Path) -> None:
    coco_mask = pytest.importorskip("pycocotools.mask")
    mask = disc((70, 50), 15)
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    rle["counts"] = rle["counts"].decode()
    (folder / "labels.json").write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "a.png", "width": 160, "height": 120}],
                "annotations": [
                    {"id": 1, "image_id": 1, "category_id": 1, "segmentation": rle, "iscrowd": 0,
                     "bbox": [55, 35, 30, 30], "area": int(mask.sum())}
                ],
                "categories": [{"id": 1, "name": "nodule"}],
            }
        )
    )  # fmt: skip
    job = page.finished(page.post("/import", {"path": "labels.json"}).json())
    assert job["state"] == "done", job
    (object,) = page.get(f"/images/{page.id('a.png')}/objects").json()["objects"]
    assert (object["label"], object["mask"]["state"]) == ("nodule", "draft")
    assert np.array_equal(mask_of(object), mask)


def test_an_export_of_nothing_says_why(page: Page) -> None:
    job = page.finished(page.post("/export", {"formats": ["coco"]}).json())
    assert (job["state"], "no accepted mask" in job["sentence"]) == ("failed", True)


def test_dicom_exports_name_no_patient_unless_asked(page: Page, folder: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    from pydicom.data import get_testdata_file

    source = pydicom.dcmread(get_testdata_file("examples_rgb_color.dcm"))
    source.PatientName, source.PatientID = "Doe^Jane", "12345"
    source.save_as(folder / "scan.dcm")
    page.post("/project/refresh")
    page.draw(page.id("scan.dcm"), (60, 60), 20)
    for identity, expected in ((False, ""), (True, "Doe^Jane")):
        _, archive = exported(page, "seg", "coco", identity=identity)
        seg = pydicom.dcmread(io.BytesIO(archive.read("seg/scan_seg.dcm")))
        assert str(seg.PatientName or "") == expected
        assert seg.pixel_array.sum() == disc((60, 60), 20, (source.Rows, source.Columns)).sum()
        assert b"Doe" not in archive.read("coco/annotations.json")
    stored = page.annotator.project.file.read_bytes()
    assert b"Doe" not in stored
    assert b"12345" not in stored


def test_readers_agree_and_decide_without_changing_each_other(page: Page) -> None:
    image = page.id("a.png")
    mine = page.draw(image, (60, 60), 20, label="cyst")
    assert "two readers" in page.get(f"/images/{image}/agreement").json()["detail"]
    page.post("/readers", {"name": "bob"})
    page.draw(image, (64, 60), 20, label="cyst")
    (found,) = page.get(f"/images/{image}/agreement").json()["agreement"]
    expected = dice(disc((60, 60), 20), disc((64, 60), 20))
    assert found["dice"] == pytest.approx(expected, abs=1e-4)
    assert found["hd95"] == pytest.approx(4, abs=1)
    answer = page.post(f"/images/{image}/adjudicate", {"choices": [mine["id"]]}).json()
    (decided,) = answer["adjudications"]
    assert (decided["reader"], decided["judge"]) == ("anna", "bob")
    reads = {one["reader"]: one for one in page.get(f"/images/{image}/reads").json()["reads"]}
    assert set(reads) == {"anna", "bob", "adjudication"}
    assert reads["adjudication"]["objects"][0]["mask"]["hash"] == mine["mask"]["hash"]
    assert page.post(f"/images/{image}/adjudicate", {"choices": [mine["id"]]}).status_code == 422


def test_an_image_that_another_reader_has_open_is_locked(page: Page) -> None:
    image = page.id("a.png")
    assert page.post(f"/images/{image}/lease", {"seconds": 60}).status_code == 200
    page.post("/readers", {"name": "bob"})
    listed = {one["name"]: one["locked_by"] for one in page.get("/images").json()["images"]}
    assert listed == {"a.png": "anna", "b.png": None, "cine.avi": None}
    answer = page.stroke(image, "note", text="x")
    assert (answer.status_code, "anna has this image open" in answer.json()["detail"]) == (
        423,
        True,
    )
    page.post("/readers", {"name": "anna"})
    assert page.send("DELETE", f"/images/{image}/lease").status_code == 204
    page.post("/readers", {"name": "bob"})
    assert page.stroke(image, "note", text="x").status_code == 200
