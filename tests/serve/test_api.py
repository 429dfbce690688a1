"""The HTTP API: images by upload, by id and by path; what is wrong is told with a status and a sentence."""

from __future__ import annotations

import base64
import io
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from tests.serve.conftest import BOX, CLICK, Api, FakeModel, Unmeasured, api_over, picture, png
from ultrasam.images.rle import decode
from ultrasam.inference.predictor import Predictor
from ultrasam.prompts import Prompt
from ultrasam.runtimes.torch_backend import TorchBackend
from ultrasam.serve.app import Limits
from ultrasam.serve.requests import PredictRequest, SourcedRequest

FRAMES = 5


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of images; beside it lies what clients must not see."""
    folder = tmp_path / "images"
    (folder / "study").mkdir(parents=True)
    (folder / "a.png").write_bytes(png(1))
    (folder / "study" / "b.png").write_bytes(png(2))
    (tmp_path / "secret.png").write_bytes(png(3))
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "out").symlink_to(tmp_path)
    return folder


@pytest.fixture
def rooted(backend: TorchBackend, cache_folder: Path, root: Path) -> Iterator[Api]:
    with api_over(Unmeasured(backend, name="small"), root=root) as running:
        yield running


def mask_of(answer: Any) -> np.ndarray:
    wire = answer.json()["predictions"][0][0]["mask"]
    return decode(wire["counts"], tuple(wire["size"]))


def expected(backend: TorchBackend, seed: int, **prompt: Any) -> np.ndarray:
    predictor = Predictor(backend)
    predictor.set_image(picture(seed))
    return predictor.predict(Prompt(**prompt)).best[0]


def test_an_image_with_prompts_gives_the_predictors_masks(api: Api, backend: TorchBackend) -> None:
    for request, prompt in ((BOX, {"box": (20, 20, 70, 60)}), (CLICK, {"points": [(40, 40)]})):
        answer = api.predict(png(1), request)
        assert answer.status_code == 200, answer.text
        assert np.array_equal(mask_of(answer), expected(backend, 1, **prompt))
        found = answer.json()
        assert (found["width"], found["height"]) == (120, 90)
        one = found["predictions"][0][0]
        assert one["area"] == mask_of(answer).sum()
        assert set(one) == {"mask", "box", "area", "predicted_iou", "stability_score"}


def test_candidates_logits_measures_and_png_are_given_if_asked_for(api: Api) -> None:
    asked = {**CLICK, "multimask": True, "logits": True, "measure": True, "encoding": "png"}
    found = api.predict(png(1), asked).json()["predictions"][0]
    assert len(found) == 3
    for one in found:
        mask = np.asarray(PillowImage.open(io.BytesIO(base64.b64decode(one["mask"]["png"]))))
        assert mask.shape == (90, 120)
        assert mask.sum() == one["area"]
        size = 2 * np.prod(one["logits"]["shape"])
        assert len(zlib.decompress(base64.b64decode(one["logits"]["data"]))) == size
        assert "area" in one["measure"] or not one["area"]


def test_an_image_is_sent_once_and_predicted_in_by_its_id(api: Api, backend: TorchBackend) -> None:
    sent, again = api.upload(png(1)), api.upload(png(1), "other.png")
    assert sent.status_code == 201
    assert sent.json() == again.json()
    assert sent.json()["frames"] == 1
    answer = api.post(f"/v1/uploads/{sent.json()['id']}/predict", BOX)
    assert np.array_equal(mask_of(answer), expected(backend, 1, box=(20, 20, 70, 60)))
    assert api.predict(png(1)).json()["image"] == sent.json()["id"]
    assert api.metric('ultrasam_embeddings_total{source="encoded"}') == 1


def test_an_unknown_image_is_404_and_a_forgotten_one_410(api: Api) -> None:
    id = api.upload(png(1)).json()["id"]
    assert api.client.delete(f"/v1/uploads/{id}").status_code == 204
    gone = api.post(f"/v1/uploads/{id}/predict", BOX)
    assert (gone.status_code, gone.json()["detail"]) == (
        410, "This image is forgotten by now; send it again.",
    )  # fmt: skip
    assert api.post("/v1/uploads/nothing/predict", BOX).status_code == 404
    assert api.upload(png(1)).json()["id"] == id
    assert api.post(f"/v1/uploads/{id}/predict", BOX).status_code == 200


def test_frames_of_a_cine_are_chosen_by_number(
    api: Api, backend: TorchBackend, tmp_path: Path
) -> None:
    path = tmp_path / "cine.avi"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 20, (120, 90))
    for seed in range(FRAMES):
        video.write(cv2.cvtColor(picture(seed), cv2.COLOR_GRAY2BGR))
    video.release()
    id = api.upload(path.read_bytes(), "cine.avi").json()["id"]
    predictor = Predictor(backend)
    for frame in (3, 0):
        predictor.set_image(path, frame=frame)
        wanted = predictor.predict(Prompt(box=(20, 20, 70, 60))).best[0]
        answer = api.post(f"/v1/uploads/{id}/predict", {**BOX, "frame": frame})
        assert np.array_equal(mask_of(answer), wanted)
    beyond = api.post(f"/v1/uploads/{id}/predict", {**BOX, "frame": FRAMES})
    assert beyond.status_code == 422
    assert "Frame 5 does not exist; the image has 5" in beyond.json()["detail"]


def test_measures_are_in_millimeters_where_the_file_is_calibrated(api: Api, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    volume = sitk.GetImageFromArray(picture()[None])
    volume.SetSpacing((0.2, 0.3, 1.0))
    sitk.WriteImage(volume, str(tmp_path / "v.mha"))
    asked = {**BOX, "measure": True}
    answer = api.predict((tmp_path / "v.mha").read_bytes(), asked, name="v.mha")
    measure = answer.json()["predictions"][0][0]["measure"]
    assert measure["area"]["unit"].startswith("mm")
    plain = api.predict(png(0), asked).json()["predictions"][0][0]["measure"]
    assert "not calibrated" in plain["why"]  # though the pixels are the same


def test_a_path_below_the_root_is_read(rooted: Api, backend: TorchBackend) -> None:
    answer = rooted.post("/v1/predict", {**BOX, "source": {"path": "study/b.png"}})
    assert answer.status_code == 200, answer.text
    assert np.array_equal(mask_of(answer), expected(backend, 2, box=(20, 20, 70, 60)))


@pytest.mark.parametrize(
    "path",
    ["../secret.png", "study/../../secret.png", "link.png", "out/secret.png", "/etc/passwd", "study",
     "nothing.png", "a.png\0", ".", "a.png/b", "x" * 900],
)  # fmt: skip
def test_nothing_outside_the_root_is_told_of(rooted: Api, path: str) -> None:
    answer = rooted.post("/v1/predict", {**BOX, "source": {"path": path}})
    assert answer.status_code == 404
    assert answer.json()["detail"] == (
        "There is no such file below the folder that the server was given."
    )


def test_without_a_root_no_path_is_read(api: Api) -> None:
    answer = api.post("/v1/predict", {**BOX, "source": {"path": "a.png"}})
    assert answer.status_code == 404
    assert "--root" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("request_body", "status", "sentence"),
    [
        ({"prompts": []}, 422, "prompts"),
        ({"prompts": [{}]}, 422, "The prompt is empty"),
        ({"prompts": [{"box": [5, 5, 4, 4]}]}, 422, "is invalid"),
        ({"prompts": [{"points": [[5000, 5, 1]]}]}, 422, "outside"),
        ({"prompts": [{"points": [[5, 5, 2]]}]}, 422, "prompts.0"),
        ({"prompts": [{"box": [1, 1, 9, 9]}] * 101}, 422, "prompts"),
        ({**BOX, "other": 1}, 422, "other"),
        ({**BOX, "frame": 1}, 422, "Frame 1 does not exist"),
        ([], 422, "The body"),
    ],
)
def test_malformed_requests_are_told_what_is_wrong(
    api: Api, request_body: Any, status: int, sentence: str
) -> None:
    answer = api.client.post(
        "/v1/predict", files={"image": ("x.png", png(1))}, data={"request": json.dumps(request_body)}
    )  # fmt: skip
    assert answer.status_code == status
    assert sentence in answer.json()["detail"]


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"--x\r\n", "multipart/form-data; boundary=x", 422),
        (b"x", "multipart/form-data", 400),
        (b"[" * 50_000, "application/json", 422),
        (b"\xff", "application/json", 422),
        (b"", "application/json", 422),
        (b"x", "text/plain", 415),
    ],
)
def test_damaged_bodies_are_refused(api: Api, content: bytes, kind: str, status: int) -> None:
    answer = api.client.post("/v1/predict", content=content, headers={"content-type": kind})
    assert answer.status_code == status
    assert isinstance(answer.json()["detail"], str)


def test_what_is_no_image_is_refused_without_its_name(api: Api) -> None:
    for answer in (api.predict(b"nothing", name="Doe_Jane.png"), api.upload(b"no", "Doe_Jane.png")):
        assert answer.status_code == 422
        assert "Doe" not in answer.text
        assert "/" not in answer.json()["detail"].replace("MHA/MHD", "")
    assert api.upload(b"").status_code == 422


@pytest.fixture
def small(cache_folder: Path) -> Iterator[Api]:
    """A server that takes little."""
    model = FakeModel()
    model.gate.set()
    limits = Limits(upload_bytes=20_000, pixels=5000, frames=3, bodies=100_000)
    with api_over(model, limits=limits) as running:
        yield running


def test_a_body_that_is_too_large_is_refused(small: Api) -> None:
    for answer in (small.upload(b"x" * 20_001), small.predict(b"x" * 20_001)):
        assert answer.status_code == 413
        assert answer.headers["connection"] == "close"
    big = small.client.post(
        "/v1/predict", content=b"{" + b" " * 1_000_001, headers={"content-type": "application/json"}
    )
    assert big.status_code == 413


def test_pixels_are_counted_by_the_header_before_anything_is_decoded(
    small: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ultrasam.images import raster

    def decoded(*_: object) -> None:
        raise AssertionError("it is decoded")

    large = io.BytesIO()
    PillowImage.fromarray(np.zeros((100, 51), np.uint8)).save(large, "PNG")
    monkeypatch.setattr(raster, "pixels_of", decoded)
    for answer in (small.predict(large.getvalue()), small.upload(large.getvalue())):
        assert answer.status_code == 413
        assert "at most" in answer.json()["detail"]


def test_frames_are_counted_by_the_header(small: Api) -> None:
    frames = [PillowImage.fromarray(np.full((20, 20), 40 * i, np.uint8)) for i in range(4)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "TIFF", save_all=True, append_images=frames[1:])
    assert small.upload(buffer.getvalue(), "x.tif").status_code == 413


def test_too_much_at_once_is_put_off(cache_folder: Path) -> None:
    model = FakeModel()
    model.gate.set()
    with api_over(model, limits=Limits(bodies=1000)) as running:
        answer = running.upload(b"x" * 1001)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert running.upload(png(0, size=(8, 10))).status_code == 201  # nothing is held any more


def test_state_is_told(api: Api) -> None:
    assert api.client.get("/health").json()["status"] == "ok"
    assert api.client.get("/ready").json()["status"] == "ready"
    model = api.client.get("/v1/model").json()
    assert (model["name"], model["prompts"]) == ("small", ["box", "mask", "point"])
    api.predict(png(1))
    text = api.client.get("/metrics").text
    for name in (
        'ultrasam_requests_total{method="POST",route="/v1/predict",status="200"} 1.0',
        "ultrasam_encode_seconds_count 1.0", "ultrasam_decode_seconds_count 1.0",
        "ultrasam_queued_seconds 0.0", "process_resident_memory_bytes",
    ):  # fmt: skip
        assert name in text
    assert "ultrasam_cache_frames 1.0" in text


def test_unknown_addresses_make_no_new_series(api: Api) -> None:
    for path in ("/v1/Doe^Jane", "/nothing", "/v1/uploads/Doe/predict/x"):
        answer = api.client.get(path)
        assert answer.status_code == 404
    text = api.client.get("/metrics").text
    assert "Doe" not in text
    assert 'route="none"' in text


def test_the_requests_in_the_docs_are_valid() -> None:
    text = (Path(__file__).parents[2] / "docs" / "serve.md").read_text()
    bodies = re.findall(r"(?:-d|-F) '(?:request=)?(\{.*\})'", text)
    assert len(bodies) == 4
    for body in bodies:
        kind = SourcedRequest if "source" in body else PredictRequest
        kind.model_validate_json(body)
