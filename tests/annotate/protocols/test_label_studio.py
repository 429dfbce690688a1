"""The backend answers as Label Studio asks: its answers are valid for Label Studio's own SDK, and equal what
the predictor says. The requests are those of label_studio/ml/api_connector.py, Label Studio 1.23."""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.annotate.serving import BOX, CLICK, PHANTOM, Served, serving
from ultrasam.annotate.protocols.label_studio.labeling_config import LabelingConfig
from ultrasam.annotate.protocols.label_studio.media import Media
from ultrasam.annotate.protocols.label_studio.prompts import Context, asked_for
from ultrasam.errors import ConfigError, DataError, PromptError, UltraSamError
from ultrasam.images.masks import bounding_box, polygon_mask
from ultrasam.images.reading import read_scan
from ultrasam.inference.predictor import Predictor
from ultrasam.prompts import Prompt

httpx = pytest.importorskip("httpx", reason="the extra client is not installed")

SCAN = read_scan(PHANTOM)
WIDTH, HEIGHT = SCAN.width, SCAN.height
SMART = """<KeyPointLabels name="click" toName="image" smart="true"><Label value="Lesion"/></KeyPointLabels>
<RectangleLabels name="box" toName="image" smart="true"><Label value="Lesion"/></RectangleLabels>"""
OUTPUTS = {
    "brush": """<BrushLabels name="brush" toName="image">
        <Label value="Cyst"/><Label value="Lesion"/></BrushLabels>""",
    "polygon": '<PolygonLabels name="poly" toName="image"><Label value="Lesion"/></PolygonLabels>',
    "rectangle": "",
}


def config(output: str) -> str:
    return (
        f'<View><Image name="image" value="$picture" zoom="true"/>{OUTPUTS[output]}{SMART}</View>'
    )


def click(x: float, y: float, *, positive: bool = True) -> dict[str, Any]:
    return {
        "id": "a1", "type": "keypointlabels", "from_name": "click", "to_name": "image", "origin": "manual",
        "original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0, "is_positive": positive,
        "value": {
            "x": 100 * x / WIDTH, "y": 100 * y / HEIGHT, "width": 0.3, "keypointlabels": ["Lesion"],
        },
    }  # fmt: skip


def box(x0: float, y0: float, x1: float, y1: float, rotation: float = 0) -> dict[str, Any]:
    return {
        "id": "a2", "type": "rectanglelabels", "from_name": "box", "to_name": "image",
        "original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0,
        "value": {
            "x": 100 * x0 / WIDTH, "y": 100 * y0 / HEIGHT, "width": 100 * (x1 - x0) / WIDTH,
            "height": 100 * (y1 - y0) / HEIGHT, "rotation": rotation, "rectanglelabels": ["Lesion"],
        },
    }  # fmt: skip


def predicted(
    served: Served,
    *clicked: dict[str, Any],
    output: str = "brush",
    image: str = "/data/local-files/?d=phantom.png",
    **request: Any,
) -> Any:
    """Label Studio's request for the mask of what was clicked."""
    context = {"result": clicked} if clicked else None
    return httpx.post(
        f"{served.address}/label-studio/predict",
        json={
            "tasks": [{"id": 7, "data": {"picture": image}, "annotations": [], "predictions": []}],
            "model_version": "", "project": "3.1732000000", "label_config": config(output),
            "params": {"login": None, "password": None, "context": context},
        },
        timeout=100, **request,
    )  # fmt: skip


@pytest.fixture
def sdk() -> Any:
    return pytest.importorskip(
        "label_studio_sdk", reason="label-studio-sdk is not installed: make test-tools"
    )


def test_the_backend_says_that_it_is_up(served: Served) -> None:
    for path in ("health", ""):
        answer = httpx.get(f"{served.address}/label-studio/{path}").json()
        assert answer == {"status": "UP", "model_class": "UltraSam"}


def test_a_project_is_set_up(served: Served) -> None:
    body = {
        "project": "3.1732000000", "schema": config("brush"), "hostname": "http://evil.example",
        "access_token": "x", "extra_params": None,
    }  # fmt: skip
    while not httpx.get(f"{served.address}/v1/project").json()["model"]["ready"]:
        time.sleep(0.05)
    answer = httpx.post(f"{served.address}/label-studio/setup", json=body)
    assert answer.status_code == 200
    version = answer.json()["model_version"]
    # The hash of the weights, so that predictions of other weights are told apart.
    assert re.fullmatch(r"nano [0-9a-f]{12}", version)
    versions = httpx.get(f"{served.address}/label-studio/versions").json()["versions"]
    assert versions == [version]


@pytest.mark.parametrize(
    "action",
    ["ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATION_DELETED", "START_TRAINING"],
)
def test_events_are_taken_note_of(served: Served, action: str) -> None:
    answer = httpx.post(
        f"{served.address}/label-studio/webhook",
        json={"action": action, "project": {"id": 3}, "annotation": {"id": 5}},
    )
    assert answer.status_code == 201
    assert answer.json()["status"] == "ignored"


@pytest.mark.parametrize(
    ("clicked", "prompt"),
    [
        ([click(*CLICK)], Prompt(points=[CLICK])),
        ([box(*BOX)], Prompt(box=BOX)),
        (
            [box(*BOX), click(*CLICK), click(20, 20, positive=False)],
            Prompt(points=[CLICK, (20, 20)], labels=[1, 0], box=BOX),
        ),
    ],
    ids=["click", "box", "all"],
)
def test_clicks_and_boxes_become_a_brush(
    served: Served, predictor: Predictor, sdk: Any, clicked: Any, prompt: Prompt
) -> None:
    answer = predicted(served, *clicked)
    assert answer.status_code == 200, answer.text
    (result,) = answer.json()["results"]
    (region,) = result["result"]
    from label_studio_sdk.converter.brush import decode_rle

    drawn = decode_rle(region["value"]["rle"]).reshape(HEIGHT, WIDTH, 4)[..., 3] > 0
    expected = predictor.predict(prompt, multimask=prompt.is_single_click)
    assert np.array_equal(drawn, expected.masks[0, 0])
    assert result["score"] == pytest.approx(float(expected.predicted_iou[0, 0]), abs=1e-3)
    assert region["value"]["brushlabels"] == ["Lesion"]
    assert (region["from_name"], region["type"]) == ("brush", "brushlabels")


@pytest.mark.parametrize("output", ["brush", "polygon", "rectangle"])
def test_label_studios_own_check_accepts_the_answer(served: Served, sdk: Any, output: str) -> None:
    from label_studio_sdk.label_interface import LabelInterface

    (result,) = predicted(served, box(*BOX), output=output).json()["results"]
    interface = LabelInterface(config(output))
    assert interface.validate_prediction(result), interface.validate_prediction(
        result, return_errors=True
    )


def test_a_mask_becomes_polygons(served: Served, predictor: Predictor) -> None:
    (result,) = predicted(served, box(*BOX), output="polygon").json()["results"]
    expected = predictor.predict(Prompt(box=BOX)).masks[0, 0]
    lines = [
        np.array(region["value"]["points"]) * (WIDTH / 100, HEIGHT / 100)
        for region in result["result"]
    ]
    drawn = polygon_mask(lines, (HEIGHT, WIDTH))
    assert (drawn & expected).sum() / (drawn | expected).sum() > 0.97
    assert all(region["value"]["closed"] for region in result["result"])


def test_a_mask_becomes_the_rectangle_around_it(served: Served, predictor: Predictor) -> None:
    (result,) = predicted(served, box(*BOX), output="rectangle").json()["results"]
    value = result["result"][0]["value"]
    x, y = value["x"] * WIDTH / 100, value["y"] * HEIGHT / 100
    found = (x, y, x + value["width"] * WIDTH / 100, y + value["height"] * HEIGHT / 100)
    assert found == pytest.approx(bounding_box(predictor.predict(Prompt(box=BOX)).masks[0, 0]))


def test_without_clicks_each_task_has_an_empty_answer(served: Served) -> None:
    answer = predicted(served).json()
    assert [one["result"] for one in answer["results"]] == [[]]


def test_a_rotated_rectangle_is_the_box_around_it() -> None:
    context = Context.model_validate({"result": [box(100, 50, 140, 70, rotation=90)]})
    assert asked_for(context, WIDTH, HEIGHT).prompt.box == pytest.approx([80, 50, 100, 90])


@pytest.mark.parametrize(
    ("clicked", "says"),
    [
        ({**click(1, 1), "image_rotation": 90}, "rotated"),
        ({**click(1, 1), "value": {"x": 3}}, "per cent"),
        ({**click(1, 1), "type": "brushlabels"}, "no click"),
        (click(1, 1, positive=False), "only background clicks"),
    ],
)
def test_what_is_no_prompt_is_refused(served: Served, clicked: Any, says: str) -> None:
    answer = predicted(served, clicked)
    assert answer.status_code == 422
    assert says in answer.json()["detail"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<View><Image name='image' value='$picture'/></View>", "nothing that takes a mask"),
        ("<View>", "no XML"),
        ("<!DOCTYPE x [<!ENTITY a 'b'>]><View>&a;</View>", "entities"),
        ("", "no XML"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused(text: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        LabelingConfig.parse(text).control_for("image", "Lesion")


def test_a_brush_comes_before_what_asks_a_backend_itself() -> None:
    parsed = LabelingConfig.parse(config("brush"))
    assert parsed.control_for("image", "Cyst").name == "brush"
    assert parsed.images == {"image": "picture"}
    with pytest.raises(DataError, match="with the label 'Bone'"):
        parsed.control_for("image", "Bone")


class FakeLabelStudio(BaseHTTPRequestHandler):
    """Serves one picture to who has the key, and misbehaves on request."""

    asked: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        type(self).asked.append((self.path, self.headers.get("Authorization")))
        if self.headers.get("Authorization") not in ("Token secret", "Bearer access"):
            self.send_error(401)
        elif self.path.startswith("/away"):
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:1/stolen.png")
            self.end_headers()
        elif self.path.startswith("/round"):
            self.send_response(302)
            self.send_header("Location", self.path)
            self.end_headers()
        elif self.path.startswith("/moved"):
            self.send_response(302)
            self.send_header("Location", "/data/upload/1/phantom.png")
            self.end_headers()
        elif self.path.startswith("/large"):
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):  # who asks hangs up
                for _ in range(100):
                    self.wfile.write(bytes(200_000))
        elif self.path.startswith(("/data/upload", "/data/local-files")):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(PHANTOM.read_bytes())
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).asked.append((self.path, given.get("refresh")))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"access": "access"}')

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def label_studio() -> Iterator[tuple[str, type[FakeLabelStudio]]]:
    handler = type("Handler", (FakeLabelStudio,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()
    server.server_close()


def media(tmp_path: Path, address: str | None, key: str | None = "secret") -> Media:
    return Media(tmp_path, address, key, most_bytes=1_000_000)


@pytest.mark.parametrize("path", ["/data/upload/1/phantom.png", "/moved"])
def test_an_uploaded_image_is_fetched_with_the_key(
    tmp_path: Path, label_studio: Any, path: str
) -> None:
    address, handler = label_studio
    content, name = media(tmp_path, address).fetch(path)
    assert content == PHANTOM.read_bytes()
    assert name == "phantom.png"
    assert {key for _, key in handler.asked} == {"Token secret"}


def test_a_personal_token_is_exchanged_once(tmp_path: Path, label_studio: Any) -> None:
    address, handler = label_studio
    payload = base64.urlsafe_b64encode(b'{"token_type": "refresh"}').decode().rstrip("=")
    fetching = media(tmp_path, address, f"x.{payload}.y")
    for _ in range(2):
        fetching.fetch(f"{address}/data/upload/1/phantom.png")
    assert handler.asked[0] == ("/api/token/refresh", f"x.{payload}.y")
    assert [key for _, key in handler.asked[1:]] == ["Bearer access"] * 2


@pytest.mark.parametrize(
    "reference",
    [
        "http://127.0.0.1:1/x.png", "http://169.254.169.254/latest/meta-data", "//evil.example/x.png",
        "file:///etc/passwd", "s3://bucket/x.png", "http://{host}@evil.example/x.png",
        "http://evil.example#@{host}/", "http://{host}.evil.example/x.png", "ftp://{host}/x.png",
        "http://user:password@{host}/data/upload/1/phantom.png", "/\\evil.example/x.png", "x.png",
    ],
)  # fmt: skip
def test_nothing_is_fetched_from_elsewhere(
    tmp_path: Path, label_studio: Any, reference: str
) -> None:
    address, handler = label_studio
    with pytest.raises(DataError, match="is not on"):
        media(tmp_path, address).fetch(reference.format(host=address.removeprefix("http://")))
    assert handler.asked == []


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/away", "on elsewhere"), ("/round", "without an end"), ("/large", "larger than 1 MB"),
        ("/missing", "answers 404"),
    ],
)  # fmt: skip
def test_a_misbehaving_label_studio_is_told(
    tmp_path: Path, label_studio: Any, path: str, says: str
) -> None:
    with pytest.raises(UltraSamError, match=says):
        media(tmp_path, label_studio[0]).fetch(path)


def test_a_wrong_key_is_told(tmp_path: Path, label_studio: Any) -> None:
    with pytest.raises(UltraSamError, match="LABEL_STUDIO_API_KEY"):
        media(tmp_path, label_studio[0], "wrong").fetch("/data/upload/1/phantom.png")


def test_without_an_address_nothing_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--label-studio ADDRESS"):
        media(tmp_path, None).fetch("/data/upload/1/phantom.png")
    with pytest.raises(ConfigError, match="give the address"):
        media(tmp_path, "localhost:8080")


def test_local_files_stay_in_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"a")
    (tmp_path / "secret.png").write_bytes(b"b")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    fetching = media(folder.resolve(), None)
    assert fetching.local_path("/data/local-files/?d=a.png") == folder / "a.png"
    for named in (
        "../secret.png",
        "link.png",
        "/etc/passwd",
        "",
        "b.png",
        "%00",
        "a.png/../../secret.png",
    ):
        assert fetching.local_path(f"/data/local-files/?d={named}") is None
    assert fetching.local_path("http://evil.example/data/local-files/?d=a.png") is None


def test_an_image_of_label_studio_is_segmented(
    served: Served, label_studio: Any, predictor: Predictor
) -> None:
    fetching = Media(served.folder, label_studio[0], "secret", most_bytes=8_000_000)
    before, served.app.state.media = served.app.state.media, fetching
    try:
        answer = predicted(served, box(*BOX), image="/data/upload/1/phantom.png")
    finally:
        served.app.state.media = before
    (result,) = answer.json()["results"]
    assert result["result"][0]["type"] == "brushlabels"
    expected = predictor.predict(Prompt(box=BOX))
    assert result["score"] == pytest.approx(float(expected.predicted_iou[0, 0]), abs=1e-3)


def test_a_cine_is_refused(served: Served) -> None:
    answer = predicted(served, box(*BOX), image="/data/local-files/?d=cine.dcm")
    assert answer.status_code == 422
    assert "several frames" in answer.json()["detail"]


def test_another_site_is_refused(served: Served) -> None:
    answer = predicted(served, box(*BOX), headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403
    answer = httpx.get(
        f"{served.address}/label-studio/health", headers={"Sec-Fetch-Site": "cross-site"}
    )
    assert answer.status_code == 403


def test_a_token_is_the_password(tmp_path: Path) -> None:
    with serving(tmp_path, token="right") as running:
        health = f"{running.address}/label-studio/health"
        refused = httpx.get(health)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Basic")
        assert httpx.get(health, auth=("anna", "wrong")).status_code == 401
        assert httpx.get(health, headers={"Authorization": "Basic %"}).status_code == 401
        assert httpx.get(health, auth=("anna", "right")).status_code == 200
        for _ in range(10):
            httpx.get(health, auth=("anna", "wrong"))
        assert httpx.get(health, auth=("anna", "right")).status_code == 429


def test_a_prompt_needs_a_click_or_a_rectangle() -> None:
    with pytest.raises(PromptError, match="no click and no rectangle"):
        asked_for(Context(), 10, 10)
