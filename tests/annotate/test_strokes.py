"""Strokes through HTTP: what they change, what is refused, and what undo brings back."""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
import pytest

from tests.annotate.conftest import Page, disc, page_over
from ultrasam.annotate.annotator import Annotator
from ultrasam.annotate.wire import mask_from_json
from ultrasam.images.rle import encode

SHAPE = (120, 160)


def mask_of(object: dict) -> np.ndarray:
    wire = object["mask"]["mask"]
    return mask_from_json(wire["box"], wire["runs"], SHAPE)


def test_a_brush_stroke_covers_the_pixels_whose_centers_it_passes(page: Page) -> None:
    object = page.draw(page.id("a.png"), (60, 60), 12)
    assert np.array_equal(mask_of(object), disc((60, 60), 12))
    assert (object["mask"]["source"], object["mask"]["state"]) == ("hand", "accepted")


def test_the_hash_is_that_of_the_rle_which_the_page_can_make_itself(page: Page) -> None:
    import hashlib

    object = page.draw(page.id("a.png"))
    rle = encode(mask_of(object))
    assert object["mask"]["hash"] == hashlib.sha256(rle.encode()).hexdigest()[:16]


def test_a_click_makes_an_object_with_candidates(page: Page) -> None:
    image = page.id("a.png")
    page.post("/labels", {"name": "cyst"})
    answer = page.stroke(image, "prompt", prompt={"points": [[60, 60, 1]]}, label="cyst").json()
    entry = answer["object"]["mask"]
    assert answer["object"]["label"] == "cyst"
    assert entry["candidates"] == 3
    assert answer["history"]["undo"] == "Click at 60, 60 on cyst"
    other = page.stroke(
        image, "candidate", index=1, object=answer["object"]["id"], base_version=entry["version"]
    ).json()
    assert other["object"]["mask"]["candidate"] == 1
    assert other["object"]["mask"]["prompts"] == entry["prompts"]


def test_a_click_keeps_what_a_hand_has_drawn(page: Page) -> None:
    image = page.id("a.png")
    object = page.draw(image, (120, 30), 8)
    drawn = mask_of(object)
    answer = page.stroke(
        image, "prompt", prompt={"points": [[60, 60, 1]]}, object=object["id"],
        base_version=object["mask"]["version"],
    ).json()  # fmt: skip
    assert (mask_of(answer["object"]) >= drawn).all()
    assert answer["object"]["mask"]["edited"]


def test_an_object_that_a_stroke_erases_has_no_mask_any_more(page: Page) -> None:
    image = page.id("a.png")
    object = page.draw(image, (60, 60), 8)
    answer = page.stroke(
        image, "brush", mode="erase", path=[[60, 60]], radius=20, object=object["id"],
        base_version=object["mask"]["version"],
    ).json()  # fmt: skip
    assert answer["object"]["mask"] is None


def test_the_same_key_gives_the_same_answer_and_changes_nothing_more(page: Page) -> None:
    image = page.id("a.png")
    body = {
        "key": str(uuid.uuid4()), "kind": "brush", "mode": "add", "path": [[30, 30]], "radius": 5.0,
    }  # fmt: skip
    first, second = (page.post(f"/images/{image}/strokes", body).json() for _ in range(2))
    assert (first["object"], first["saved"]) == (second["object"], second["saved"])
    assert len(page.get(f"/images/{image}").json()["objects"]) == 1
    body["radius"] = 6.0
    assert "used for another stroke" in page.post(f"/images/{image}/strokes", body).json()["detail"]


def test_a_stroke_on_a_mask_that_another_tab_changed_is_refused_with_the_mask_as_it_is(
    page: Page,
) -> None:
    image = page.id("a.png")
    object = page.draw(image)
    version = object["mask"]["version"]
    more = {"mode": "add", "radius": 5, "object": object["id"], "base_version": version}
    newer = page.stroke(image, "brush", path=[[90, 60]], **more).json()["object"]
    answer = page.stroke(image, "brush", path=[[20, 20]], **more)
    assert answer.status_code == 409
    assert answer.json()["object"]["mask"]["hash"] == newer["mask"]["hash"]
    unknown = page.stroke(image, "brush", path=[[20, 20]], **{**more, "base_version": None})
    assert unknown.status_code == 409


def test_a_stroke_that_changes_nothing_is_not_recorded(page: Page) -> None:
    image = page.id("a.png")
    object = page.draw(image, (60, 60), 12)
    answer = page.stroke(
        image, "brush", mode="add", path=[[60, 60]], radius=3, object=object["id"],
        base_version=object["mask"]["version"],
    ).json()  # fmt: skip
    assert answer["stroke"] is None
    assert len(page.get(f"/images/{image}").json()["history"]["entries"]) == 1


def test_undo_and_redo_are_by_image_and_by_object(page: Page) -> None:
    image = page.id("a.png")
    first, second = page.draw(image, (40, 40)), page.draw(image, (100, 80))
    page.stroke(image, "label", object=first["id"], label="cyst")
    undone = page.post(f"/images/{image}/undo", {"object": second["id"]}).json()
    assert undone["deleted"] == second["id"]
    undone = page.post(f"/images/{image}/undo").json()
    assert (undone["which"], undone["object"]["label"]) == ("Label object 1 as cyst", None)
    assert page.post(f"/images/{image}/redo").json()["object"]["label"] == "cyst"
    again = page.post(f"/images/{image}/redo", {"object": second["id"]}).json()["object"]
    assert again["mask"]["hash"] == second["mask"]["hash"]
    assert page.post(f"/images/{image}/redo").status_code == 409


def test_a_new_stroke_on_an_object_ends_what_could_be_redone_of_it_alone(page: Page) -> None:
    image = page.id("a.png")
    first, second = page.draw(image, (40, 40)), page.draw(image, (100, 80))
    for object in (first, second):
        page.stroke(image, "color", object=object["id"], color="#123456")
        page.post(f"/images/{image}/undo", {"object": object["id"]})
    page.stroke(image, "color", object=first["id"], color="#654321")
    assert page.post(f"/images/{image}/redo", {"object": first["id"]}).status_code == 409
    assert page.post(f"/images/{image}/redo", {"object": second["id"]}).status_code == 200


def test_history_and_masks_survive_a_restart(page: Page, folder: Path) -> None:
    image = page.id("a.png")
    object = page.draw(image)
    page.stroke(image, "note", text="<b>seen</b>")
    page.annotator.close()
    opened = Annotator.open(folder, model="random:nano", device="cpu")
    try:
        later = page_over(opened)
        assert later.get(f"/images/{image}").json()["note"] == "<b>seen</b>"
        assert later.post(f"/images/{image}/undo").json()["which"] == "Note"
        found = later.get(f"/images/{image}/objects").json()["objects"]
        assert found[0]["mask"]["hash"] == object["mask"]["hash"]
    finally:
        opened.close()


def test_nothing_here_is_an_image_that_is_done(page: Page) -> None:
    image = page.id("b.png")
    answer = page.stroke(image, "empty", value=True).json()["image"]
    assert (answer["state"], answer["empty"]) == ("done", True)
    assert page.get("/project").json()["counts"]["done"] == 1
    page.post(f"/images/{image}/undo")
    assert page.get("/project").json()["counts"]["done"] == 0
    page.draw(image)
    assert page.stroke(image, "empty", value=True).status_code == 422


def test_a_preview_keeps_nothing(page: Page) -> None:
    image = page.id("a.png")
    answer = page.post(f"/images/{image}/preview", {"prompts": [{"points": [[60, 60, 1]]}]}).json()
    assert len(answer["candidates"]) == 3
    assert page.get(f"/images/{image}").json()["objects"] == []


@pytest.mark.parametrize(
    ("kind", "body", "sentence"),
    [
        ("prompt", {"prompt": {"points": [[60, 60, 0]]}}, "only background clicks"),
        ("prompt", {"prompt": {"points": [[600, 60, 1]]}}, "outside the scan"),
        ("brush", {"mode": "add", "path": [[900, 900]], "radius": 2}, "covers no pixel"),
        ("brush", {"mode": "add", "path": [[9, 9]], "radius": 2, "frame": 3}, "Frame 3 does not exist"),
        ("mask", {"mask": {"box": [0, 0, 4, 4], "runs": [3]}}, "do not fill its box"),
        ("mask", {"mask": {"box": [0, 0, 400, 4], "runs": [1600]}}, "not inside the frame"),
        ("label", {"object": "no-such-object", "label": "x"}, "There is no object"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_in_one_sentence(
    page: Page, kind: str, body: dict, sentence: str
) -> None:
    answer = page.stroke(page.id("a.png"), kind, **body)
    assert answer.status_code in (404, 422)
    assert sentence in answer.json()["detail"]


def test_a_reader_cannot_change_the_objects_of_another(page: Page) -> None:
    image = page.id("a.png")
    object = page.draw(image)
    page.post("/readers", {"name": "bob"})
    assert page.get(f"/images/{image}").json()["objects"] == []
    answer = page.stroke(image, "delete", object=object["id"])
    assert answer.status_code == 422
    assert "only anna can change it" in answer.json()["detail"]


def test_a_measure_names_its_unit_and_why_it_is_not_millimeters(page: Page) -> None:
    measure = page.draw(page.id("a.png"), (60, 60), 12)["mask"]["measure"]
    assert measure["area"]["value"] == disc((60, 60), 12).sum()
    assert measure["area"]["unit"] == "px²"
    assert "no pixel spacing" in measure["why"]
    (x0, y0), (x1, y1) = measure["long_axis"]["ends"]
    # The length is settled by more of the outline than its ends, which moves it by a pixel at most.
    assert np.hypot(x1 - x0, y1 - y0) == pytest.approx(measure["long_axis"]["value"], abs=1)
