"""The client is a segmenter that answers as the predictor on the server does."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.annotate.serving import BOX, CLICK, PHANTOM, Served, predictor, served, serving
from ultrasam.client import Client, ConflictError
from ultrasam.errors import DataError, PromptError, UltraSamError, UltraSamWarning
from ultrasam.images.pixels import gray
from ultrasam.images.reading import read_scan
from ultrasam.inference.predictor import Predictor
from ultrasam.inference.segmenter import Segmenter
from ultrasam.prompts import Prediction, Prompt

__all__ = ["predictor", "served"]  # fixtures
pytest.importorskip("httpx", reason="the extra client is not installed")


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with Client(served.address) as connected:
        yield connected


def assert_same(found: Prediction, expected: Prediction) -> None:
    assert np.array_equal(found.masks, expected.masks)
    assert np.allclose(found.predicted_iou, expected.predicted_iou, atol=1e-4)
    assert np.allclose(found.stability_score, expected.stability_score, atol=1e-4)
    assert np.allclose(found.low_res_logits, expected.low_res_logits, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("multimask", [None, False, True])
@pytest.mark.parametrize("source", ["number", "file", "array"])
def test_it_predicts_as_the_predictor(
    client: Client, served: Served, predictor: Predictor, source: str, multimask: bool | None
) -> None:
    segmenter: Segmenter = client
    sources: dict[str, Any] = {
        "number": served.id_of("phantom.png"), "file": PHANTOM, "array": read_scan(PHANTOM).frame(),
    }  # fmt: skip
    segmenter.set_image(sources[source])
    prompts = [Prompt(points=[CLICK]), Prompt(box=BOX)]
    assert_same(
        client.predict(prompts, multimask=multimask),
        predictor.predict(prompts, multimask=multimask),
    )


def test_a_mask_is_corrected(client: Client, served: Served, predictor: Predictor) -> None:
    client.set_image(served.id_of("phantom.png"))
    first = predictor.predict(Prompt(points=[CLICK]))
    binary = Prompt(points=[CLICK, (20, 20)], labels=[1, 0], mask=first.best[0])
    if "mask" not in predictor.accepts:
        with pytest.raises(PromptError):
            client.predict(binary)
        return
    assert_same(client.predict(binary), predictor.predict(binary))
    logits = first.low_res_logits[0, 0].astype(np.float16).astype(np.float32)
    again = Prompt(points=[CLICK, (20, 20)], labels=[1, 0], mask=logits)
    assert_same(client.predict(again), predictor.predict(again))


def test_a_frame_of_a_cine_is_chosen(client: Client, served: Served) -> None:
    id = served.id_of("cine.dcm")
    with pytest.warns(UltraSamWarning, match="2 frames"):
        client.set_image(id)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        client.set_image(id, frame=1)
    mirrored = gray(read_scan(PHANTOM).frame())[:, ::-1]
    assert np.array_equal(client.frame(id, 1), mirrored)
    with pytest.raises(PromptError, match="Frame 2 does not exist"):
        client.set_image(id, frame=2)


def test_it_labels_undoes_and_redoes(client: Client, served: Served) -> None:
    id = served.id_of("phantom.png")
    prompt = {"points": [[*CLICK, 1]], "box": None}
    made = client.stroke(id, "prompt", object=None, prompt=prompt)["object"]
    assert [one["id"] for one in client.objects(id)] == [made["id"]]
    row = client.image(id)
    mask = client.mask(made["mask"], (row["height"], row["width"]))
    assert mask[int(CLICK[1]), int(CLICK[0])]
    with pytest.raises(ConflictError) as conflict:
        client.stroke(id, "prompt", object=made["id"], base_version=0, prompt=prompt)
    assert conflict.value.object["mask"]["version"] == made["mask"]["version"]
    client.undo(id)
    assert client.objects(id) == []
    client.redo(id)
    assert len(client.objects(id)) == 1
    client.undo(id)
    with pytest.raises(DataError):
        client.undo(id, object=made["id"])


def test_it_lists_the_images(client: Client) -> None:
    assert [one["name"] for one in client.images()] == ["cine.dcm", "phantom.png", "volume.nii.gz"]
    assert client.project()["reader"] == "anna"


def test_what_is_wrong_is_told(client: Client, served: Served) -> None:
    with pytest.raises(PromptError, match="set_image first"):
        client.predict(Prompt(points=[CLICK]))
    with pytest.raises(DataError, match="Image 999 is not in this project"):
        client.set_image(999)
    client.set_image(PHANTOM)
    with pytest.raises(PromptError, match="outside"):
        client.predict(Prompt(points=[(50_000, 5)]))
    with pytest.raises(PromptError, match="at least one"):
        client.predict([])


def test_a_missing_server_is_told() -> None:
    with pytest.raises(UltraSamError, match=r"No annotator answers at http://127.0.0.1:1 "):
        Client("http://127.0.0.1:1")


def test_the_token_may_stand_in_the_address(tmp_path: Path) -> None:
    with serving(tmp_path, token="right") as running:
        with pytest.raises(UltraSamError, match="token"):
            Client(running.address)
        with pytest.raises(UltraSamError, match="token is missing or wrong"):
            Client(running.address, token="wrong")
        with Client(f"{running.address}/#token=right", reader="bea") as client:
            assert client.project()["reader"] == "bea"


@pytest.mark.parametrize(
    "mask",
    [
        {"shape": [20000, 20000], "data": "eJztwQENAAAAwqD3T20ON6AAAAAAAAAAAL4NIQAAAQ=="},
        {"shape": [2, 2], "data": "!"},
        {"shape": [2, 2], "data": ""},
    ],
)
def test_damaged_logits_are_refused(served: Served, mask: Any) -> None:
    import httpx

    answer = httpx.post(
        f"{served.address}/v1/images/{served.id_of('phantom.png')}/predict",
        json={"prompts": [{"mask": mask}]}, headers={"X-UltraSam": "1"}, timeout=60,
    )  # fmt: skip
    assert answer.status_code == 422
    assert "mask" in answer.json()["detail"]


def test_it_needs_no_torch() -> None:
    code = "import sys, ultrasam.client; print('torch' in sys.modules, 'fastapi' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "False"]
