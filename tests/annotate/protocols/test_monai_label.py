"""3D Slicer and OHIF get what they ask for: volumes that lie on the image voxel for voxel, with the
predictor's masks in them. SimpleITK, nibabel and highdicom read the answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.annotate.protocols.slicer import Slicer
from tests.annotate.serving import CLICK, PHANTOM, SERIES, Served, serving
from ultrasam.images.pixels import gray
from ultrasam.images.reading import read_scan
from ultrasam.inference.predictor import Predictor
from ultrasam.prompts import Prompt

httpx = pytest.importorskip("httpx", reason="the extra client is not installed")
sitk = pytest.importorskip("SimpleITK", reason="the extra volumes is not installed")

VOXEL = [int(CLICK[0]), int(CLICK[1]), 0]
PHANTOM_GRAY = gray(read_scan(PHANTOM).frame())


@pytest.fixture
def slicer(served: Served, tmp_path: Path) -> Slicer:
    return Slicer(f"{served.address}/monai-label", tmp_path)


def expected_mask(predictor: Predictor, *, pixels: Any = None) -> np.ndarray[Any, Any]:
    """Of the click in the middle of the voxel."""
    if pixels is not None:
        predictor = Predictor(predictor.backend, tta=False)
        predictor.set_image(pixels)
    prompt = Prompt(points=[(VOXEL[0] + 0.5, VOXEL[1] + 0.5)])
    return predictor.predict(prompt, multimask=True).masks[0, 0]


def test_slicer_connects(slicer: Slicer) -> None:
    assert slicer.json("GET", "/auth/")["enabled"] is False
    info = slicer.json("GET", "/info/")
    assert info["models"]["ultrasam"]["type"] == "deepgrow"
    assert info["models"]["ultrasam"]["dimension"] == 2
    assert info["labels"][0] == "background"
    assert not info.get("config"), "Slicer refuses servers of its first protocol by this key"
    assert set(info["strategies"]) == {"first", "random", "uncertain"}
    assert info["datastore"]["total"] == 3
    assert slicer.request("GET", "/train/?check_if_running=true")[0] == 404
    assert b"terminal" in slicer.request("GET", "/logs/")[1]


def test_slicer_gets_the_next_image(slicer: Slicer) -> None:
    sample = slicer.json("POST", "/activelearning/first", {"client_id": "user-xyz"})
    assert sample["description"] == "cine.dcm"
    assert sample["name"] == "cine.nii.gz"
    assert sample["path"] == "", "Slicer loads what exists there on its own machine"
    names = {slicer.json("POST", "/activelearning/random", {})["description"] for _ in range(20)}
    assert names <= {"cine.dcm", "phantom.png", "volume.nii.gz"}
    assert slicer.request("POST", "/activelearning/other", {})[0] == 404


def test_a_still_is_a_volume_of_one_slice(slicer: Slicer, served: Served, predictor: Any) -> None:
    id = str(served.id_of("phantom.png"))
    status, content, headers = slicer.request("GET", f"/datastore/image?image={id}")
    assert status == 200
    assert f'filename="{id}.nii.gz"' in headers["content-disposition"]
    volume = slicer.folder / "image.nii.gz"
    volume.write_bytes(content)
    image = sitk.ReadImage(str(volume))
    assert np.array_equal(sitk.GetArrayFromImage(image)[0], PHANTOM_GRAY)
    path, facts = slicer.infer(id, {"foreground": [VOXEL], "background": [], "label": "lesion"})
    labels = sitk.ReadImage(str(path))
    assert labels.GetSize() == image.GetSize()
    assert labels.GetSpacing() == image.GetSpacing()
    assert np.array_equal(sitk.GetArrayFromImage(labels)[0] == 1, expected_mask(predictor))
    assert facts["label_names"] == {"lesion": 1}
    value, x, y, z = facts["centroids"]["lesion"]
    assert (value, z) == (1, 0)
    rows, columns = np.nonzero(expected_mask(predictor))
    assert (x, y) == pytest.approx((columns.mean(), rows.mean()), abs=0.06)


def test_a_volume_keeps_its_geometry(slicer: Slicer, served: Served, predictor: Any) -> None:
    nibabel = pytest.importorskip("nibabel", reason="the extra outputs is not installed")
    id = str(served.id_of("volume.nii.gz"))
    original = served.folder / "volume.nii.gz"
    assert slicer.request("GET", f"/datastore/image?image={id}")[1] == original.read_bytes()
    path, facts = slicer.infer(id, {"foreground": [[*VOXEL[:2], 2]], "background": []})
    image, labels = sitk.ReadImage(str(original)), sitk.ReadImage(str(path))
    for read in ("GetSize", "GetOrigin", "GetSpacing", "GetDirection"):
        assert getattr(labels, read)() == pytest.approx(getattr(image, read)(), abs=1e-5)
    assert np.allclose(nibabel.load(path).affine, nibabel.load(original).affine, atol=1e-5)
    found = sitk.GetArrayFromImage(labels)
    assert not found[:2].any()
    assert np.array_equal(found[2] == 1, expected_mask(predictor, pixels=PHANTOM_GRAY))
    assert facts["slices"] == [2]


def test_points_of_several_slices_segment_each(slicer: Slicer, served: Served) -> None:
    id = str(served.id_of("volume.nii.gz"))
    mirrored = [PHANTOM_GRAY.shape[1] - 1 - VOXEL[0], VOXEL[1], 1]
    path, facts = slicer.infer(
        id, {"foreground": [VOXEL, mirrored], "background": [[5, 5, 1], [5, 5, 2]]}
    )
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    assert facts["slices"] == [0, 1]
    assert labels[0].any()
    assert labels[1].any()
    assert not labels[2].any()


def test_a_session_segments_an_image_of_slicers_own(
    slicer: Slicer, served: Served, predictor: Any
) -> None:
    own = slicer.folder / "own.nii.gz"
    own.write_bytes((served.folder / "volume.nii.gz").read_bytes())
    session = slicer.create_session(own)
    assert slicer.json("GET", f"/session/{session}")["frames"] == 3
    path, _ = slicer.infer("own", {"foreground": [VOXEL], "background": []}, session=session)
    labels = sitk.ReadImage(str(path))
    assert labels.GetDirection() == pytest.approx(sitk.ReadImage(str(own)).GetDirection())
    found = sitk.GetArrayFromImage(labels)
    assert np.array_equal(found[0] == 1, expected_mask(predictor, pixels=PHANTOM_GRAY))
    assert slicer.json("DELETE", f"/session/{session}")["width"] == PHANTOM_GRAY.shape[1]
    assert slicer.request("GET", f"/session/{session}")[0] == 404
    with pytest.raises(RuntimeError, match="send it again"):
        slicer.infer("own", {"foreground": [VOXEL]}, session=session)


def test_ohif_finds_a_cine_by_its_series(served: Served) -> None:
    """The requests of MonaiLabelClient.js, and its way to take the answer apart."""
    answer = httpx.post(
        f"{served.address}/monai-label/infer/ultrasam?image={SERIES}&output=all",
        files={
            "params": (
                None,
                json.dumps(
                    {
                        "foreground": [VOXEL], "background": [], "result_extension": ".nrrd",
                        "result_dtype": "uint16", "result_compress": False, "restore_label_idx": False,
                    }
                ),
            )
        },
        timeout=100,
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    boundary = answer.headers["content-type"].partition("boundary=")[2]
    parts = answer.text.split(f"--{boundary}")
    facts = next(part for part in parts if "Content-Type: application/json" in part)
    nrrd = next(part for part in parts if "Content-Type: application/octet-stream" in part)
    assert (
        json.loads(facts[facts.index("{") : facts.rindex("}") + 1])["centroids"]["object"][0] == 1
    )
    binary = nrrd.split("\r\n\r\n")[1]
    header, _, data = binary[: binary.rindex("\r\n")].partition("\n\n")
    assert header.startswith("NRRD")
    assert "encoding: raw" in header
    voxels = np.frombuffer(data.encode("latin-1"), "<u2").reshape(2, *PHANTOM_GRAY.shape)
    assert set(np.unique(voxels)) == {0, 1}
    assert not voxels[1].any()


def test_a_dicom_image_gets_a_dicom_segmentation(served: Served, tmp_path: Path) -> None:
    hd = pytest.importorskip("highdicom", reason="the extra outputs is not installed")
    fields = {"params": (None, json.dumps({"foreground": [VOXEL], "label": "lesion"}))}
    address = f"{served.address}/monai-label/infer/ultrasam?output=dicom_seg&image="
    answer = httpx.post(address + SERIES, files=fields, timeout=100)
    assert answer.status_code == 200, answer.text
    path = tmp_path / "seg.dcm"
    path.write_bytes(answer.content)
    seg = hd.seg.segread(path)
    assert seg.number_of_segments == 1
    assert seg.get_segment_description(1).SegmentLabel == "lesion"
    assert seg.pixel_array.any()
    refused = httpx.post(address + "phantom.png", files=fields, timeout=100)
    assert refused.status_code == 422
    assert "DICOM" in refused.json()["detail"]


def test_no_identity_leaves_with_a_dicom_image(slicer: Slicer, served: Served) -> None:
    id = served.id_of("cine.dcm")
    _, content, _ = slicer.request("GET", f"/datastore/image?image={id}")
    import gzip

    raw = gzip.decompress(content)
    assert b"4711" not in raw
    assert b"Doe" not in raw
    listed = json.dumps(slicer.json("GET", "/datastore/?output=all"))
    assert "4711" not in listed
    assert SERIES not in listed


def test_slicer_saves_its_segments_as_objects(
    slicer: Slicer, served: Served, tmp_path: Path
) -> None:
    id = served.id_of("volume.nii.gz")
    image = sitk.ReadImage(str(served.folder / "volume.nii.gz"))
    voxels = np.zeros((3, *PHANTOM_GRAY.shape), np.uint8)
    voxels[0, 10:40, 20:60] = 1
    voxels[2, 10:40, 20:60] = 1
    voxels[2, 100:140, 200:260] = 2

    def save(array: Any, *names: str) -> tuple[int, Any]:
        labels = sitk.GetImageFromArray(array)
        labels.CopyInformation(image)
        path = tmp_path / "labels.nii.gz"
        sitk.WriteImage(labels, str(path))
        info = [{"name": name, "idx": k} for k, name in enumerate(names, 1)]
        return slicer.save_label(str(id), path, {"label_info": info})

    status, answer = save(voxels, "lesion", "cyst")
    assert status == 200, answer
    assert answer["objects"] == 2
    _, content, _ = slicer.request("GET", f"/datastore/label?label={id}&tag=final")
    back = tmp_path / "back.nii.gz"
    back.write_bytes(content)
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(back))), voxels)
    # Changed in Slicer and saved again: the same objects, not more.
    voxels[0], voxels[1, 10:20, 20:30] = 0, 1
    assert save(voxels, "lesion", "cyst")[0] == 200
    _, content, _ = slicer.request("GET", f"/datastore/label?label={id}")
    back.write_bytes(content)
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(back))), voxels)
    objects = httpx.get(f"{served.address}/v1/images/{id}/objects?frame=2").json()["objects"]
    assert [one["label"] for one in objects] == ["lesion", "cyst"]
    assert {one["reader"] for one in objects} == {"anna"}
    # What Slicer saved can be undone on the page.
    undone = httpx.post(
        f"{served.address}/v1/images/{id}/undo", json={}, headers={"X-UltraSam": "1"}
    )
    assert undone.status_code == 200


def test_a_label_map_of_another_image_is_refused(slicer: Slicer, served: Served) -> None:
    path = slicer.folder / "labels.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((2, 5, 5), np.uint8)), str(path))
    status, answer = slicer.save_label(str(served.id_of("volume.nii.gz")), path, {})
    assert status == 422
    assert "2 frames of 5 × 5" in answer["detail"]


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"foreground": []}, "no foreground point"),
        ({"background": [[5, 5, 0]]}, "no foreground point"),
        ({"foreground": [[5, 5, 9]]}, "slice 9"),
        ({"foreground": [[50000, 5, 0]]}, "outside"),
        ({"foreground": [["a", 5, 0]]}, "params: foreground"),
        ({"foreground": [VOXEL], "result_extension": ".exe"}, "params: result_extension"),
    ],
)
def test_what_cannot_be_segmented_is_told(
    slicer: Slicer, served: Served, params: Any, says: str
) -> None:
    with pytest.raises(RuntimeError, match=says):
        slicer.infer(str(served.id_of("volume.nii.gz")), params)


def test_other_models_and_images_are_told(slicer: Slicer) -> None:
    with pytest.raises(RuntimeError, match=r"does not exist; use .{1,2}ultrasam"):
        slicer.infer("1", {"foreground": [VOXEL]}, model="deepedit")
    for name in ("999", "../etc/passwd", "1.2.3.4", ""):
        with pytest.raises(RuntimeError, match="Status: 404"):
            slicer.infer(name, {"foreground": [VOXEL]})


def test_a_session_takes_one_image_that_can_be_read(served: Served) -> None:
    address = f"{served.address}/monai-label/session/"
    damaged = httpx.put(address, files=[("files", ("x.nii.gz", b"nothing"))])
    assert damaged.status_code == 422
    assert "/tmp" not in damaged.json()["detail"]
    several = httpx.put(address, files=[("files", ("a.dcm", b"a")), ("files", ("b.dcm", b"b"))])
    assert "2 files" in several.json()["detail"]
    large = httpx.put(address, files=[("files", ("x.nii.gz", bytes(9_000_000)))])
    assert large.status_code == 413


def test_nothing_is_added_or_trained_from_other_tools(slicer: Slicer) -> None:
    status, content, _ = slicer.multipart("PUT", "/datastore/?image=x", {}, {"file": PHANTOM})
    assert status == 422
    assert b"copy the file into its folder" in content
    assert slicer.request("POST", "/train/ultrasam", {"client_id": "x"})[0] == 422


def test_a_token_is_exchanged_for_a_session(tmp_path: Path) -> None:
    with serving(tmp_path, token="right") as running:
        slicer = Slicer(f"{running.address}/monai-label", tmp_path)
        assert slicer.json("GET", "/auth/")["enabled"] is True
        assert slicer.request("GET", "/info/")[0] == 401
        assert slicer.log_in("bea", "wrong") == 401
        assert slicer.log_in("bea", "right") == 200
        assert slicer.json("GET", "/auth/token/valid") == {"username": "bea"}
        assert slicer.request("GET", "/info/")[0] == 200
        slicer.headers["Authorization"] += "x"
        assert slicer.request("GET", "/info/")[0] == 401


def test_only_allowed_viewers_may_ask_from_the_browser(tmp_path: Path) -> None:
    viewer = "http://localhost:3000"
    with serving(tmp_path, origins=(viewer,)) as running:
        info = f"{running.address}/monai-label/info/"
        headers = {"Origin": viewer, "Sec-Fetch-Site": "cross-site"}
        answer = httpx.get(info, headers=headers)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == viewer
        preflight = httpx.options(
            info, headers={**headers, "Access-Control-Request-Method": "POST"}
        )
        assert preflight.status_code == 204
        assert preflight.headers["access-control-allow-origin"] == viewer
        for origin in ("http://localhost:3001", "null", "http://localhost:3000.evil.example"):
            refused = httpx.get(info, headers={"Origin": origin})
            assert refused.status_code == 403
            assert "access-control-allow-origin" not in refused.headers
        # The page's own API stays closed to it.
        assert httpx.get(f"{running.address}/v1/project", headers=headers).status_code == 403
