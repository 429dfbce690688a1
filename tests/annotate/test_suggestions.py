"""Suggestions: prompts of another image, the order by uncertainty, and jobs that are canceled in between."""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.annotate.conftest import Page
from tests.annotate.test_strokes import mask_of


def test_prompts_of_another_image_become_drafts_which_are_undone_at_once(page: Page) -> None:
    first, second = page.id("a.png"), page.id("b.png")
    page.post("/labels", {"name": "cyst"})
    page.stroke(first, "prompt", prompt={"points": [[60, 60, 1]]}, label="cyst")
    page.draw(first, (110, 80), 10)
    answer = page.post(f"/images/{second}/reuse", {"from": first})
    assert answer.status_code == 200, answer.json()
    made = page.get(f"/images/{second}/objects").json()["objects"]
    assert [one["id"] for one in made] == answer.json()["objects"]
    assert made[0]["label"] == "cyst"
    assert {(one["mask"]["state"], one["mask"]["source"]) for one in made} == {
        ("draft", "suggested")
    }
    # The pictures are the same, so the click's mask is; what was drawn is prompted by its box.
    there = page.get(f"/images/{first}/objects").json()["objects"]
    assert made[0]["mask"]["hash"] == there[0]["mask"]["hash"]
    if len(made) == 2:
        assert made[1]["mask"]["prompts"] == [{"points": [], "box": [100, 70, 120, 90]}]
    page.post(f"/images/{second}/undo")
    assert page.get(f"/images/{second}/objects").json()["objects"] == []
    assert len(page.get(f"/images/{first}/objects").json()["objects"]) == 2


def test_prompts_are_not_reused_from_nothing_or_from_another_size(page: Page, folder: Path) -> None:
    first = page.id("a.png")
    answer = page.post(f"/images/{page.id('b.png')}/reuse", {"from": first})
    assert (answer.status_code, "no object of yours" in answer.json()["detail"]) == (422, True)
    cv2.imwrite(str(folder / "small.png"), np.zeros((60, 80), np.uint8))
    page.post("/project/refresh")
    page.draw(first)
    answer = page.post(f"/images/{page.id('small.png')}/reuse", {"from": first})
    assert (answer.status_code, "images of one size" in answer.json()["detail"]) == (422, True)
    assert page.post(f"/images/{first}/reuse", {"from": 999}).status_code == 404


def test_images_are_rated_and_listed_by_uncertainty(page: Page, folder: Path) -> None:
    (folder / "broken.png").write_bytes(b"no picture")
    cv2.imwrite(str(folder / "black.png"), np.zeros((120, 160), np.uint8))
    page.post("/project/refresh")
    done = page.stroke(page.id("b.png"), "state", state="done")
    assert done.status_code == 200
    job = page.finished(page.post("/rank", {"limit": 100}).json())
    assert (job["state"], job["result"]["rated"]) == ("done", 3), job
    assert "1 file cannot be read" in job["sentence"]
    rows = page.annotator.project.rows("SELECT path, uncertainty FROM images")
    rated = {row["path"]: row["uncertainty"] for row in rows}
    assert {name for name, value in rated.items() if value is not None} == {
        "a.png", "black.png", "cine.avi",
    }  # fmt: skip
    listed = page.get("/images", params={"order": "uncertainty"}).json()["images"]
    names = [one["name"] for one in listed if rated[one["name"]] is not None]
    assert names == sorted(names, key=lambda name: -rated[name])
    assert {one["name"] for one in listed[3:]} == {"b.png", "broken.png"}
    # Those that are rated are not rated again.
    assert page.finished(page.post("/rank", {"limit": 100}).json())["result"]["rated"] == 0


def test_a_canceled_rating_keeps_what_it_has(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    from ultrasam.annotate import suggestions

    rated, go_on = threading.Event(), threading.Event()
    set_facts = suggestions.set_facts

    def slowly(*values: object) -> None:
        set_facts(*values)  # type: ignore[arg-type]
        rated.set()
        go_on.wait(30)

    monkeypatch.setattr(suggestions, "set_facts", slowly)
    job = page.post("/rank", {"limit": 100}).json()
    assert rated.wait(60)
    page.send("DELETE", f"/jobs/{job['id']}")
    go_on.set()
    ended = page.finished(job)
    assert (ended["state"], ended["result"]) == ("cancelled", {"rated": 1})
    assert ended["sentence"] == "Canceled; 1 image rated."
    row = page.annotator.project.row("SELECT count(uncertainty) AS rated FROM images")
    assert row is not None
    assert row["rated"] == 1


def test_a_propagation_that_is_canceled_on_its_way_keeps_the_frames_it_has(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ultrasam.annotate import propagation

    monkeypatch.setattr(propagation, "_EVERY_S", 0.0)
    image = page.id("cine.avi")
    drawn = page.draw(image, (40, 60), 20, frame=0)
    written, go_on = threading.Event(), threading.Event()
    flush = propagation._Writer.flush

    def slowly(writer: object, *values: object, **more: object) -> None:
        flush(writer, *values, **more)  # type: ignore[arg-type]
        if len(writer._written) >= 3:  # type: ignore[attr-defined]
            written.set()
            go_on.wait(30)

    monkeypatch.setattr(propagation._Writer, "flush", slowly)
    job = page.post(f"/images/{image}/propagate", {"frame": 0}).json()
    assert written.wait(60)
    assert page.send("DELETE", f"/jobs/{job['id']}").status_code == 200
    go_on.set()
    ended = page.finished(job)
    assert ended["state"] == "cancelled", ended
    states = page.get(f"/images/{image}").json()["frame_states"]
    propagated = [int(frame) for frame, one in states.items() if one["state"] == "propagated"]
    assert propagated == list(range(1, len(propagated) + 1))
    assert 3 <= len(propagated) < 11
    assert ended["result"]["frames"] == {drawn["id"]: len(propagated)}
    # What it has is undone as one, and it can be done again.
    page.post(f"/images/{image}/undo")
    assert list(page.get(f"/images/{image}").json()["frame_states"]) == ["0"]
    monkeypatch.setattr(propagation._Writer, "flush", flush)
    assert (
        page.finished(page.post(f"/images/{image}/propagate", {"frame": 0}).json())["state"]
        == "done"
    )
    assert len(page.get(f"/images/{image}").json()["frame_states"]) == 12


def test_a_job_that_waits_is_canceled_before_it_begins(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ultrasam.annotate import suggestions

    begun, go_on = threading.Event(), threading.Event()
    set_facts = suggestions.set_facts

    def slowly(*values: object) -> None:
        begun.set()
        go_on.wait(30)
        set_facts(*values)  # type: ignore[arg-type]

    monkeypatch.setattr(suggestions, "set_facts", slowly)
    runs = page.post("/rank", {"limit": 1}).json()
    assert begun.wait(60)
    waits = page.post("/export", {"formats": ["coco"]}).json()
    answer = page.send("DELETE", f"/jobs/{waits['id']}").json()
    assert (answer["state"], answer["sentence"]) == ("cancelled", "Canceled before it began.")
    go_on.set()
    assert page.finished(runs)["state"] == "done"
    assert page.get(f"/jobs/{waits['id']}").json()["state"] == "cancelled"


def test_automatic_masks_leave_out_what_an_object_covers(page: Page) -> None:
    image = page.id("a.png")
    first = page.finished(page.post(f"/images/{image}/automatic", {"points_per_side": 4}).json())
    assert first["state"] == "done"
    count = len(first["result"]["objects"])
    again = page.finished(page.post(f"/images/{image}/automatic", {"points_per_side": 4}).json())
    assert again["result"]["objects"] == []
    assert ("covers" in again["sentence"] or "cover" in again["sentence"]) == (count > 0)
    masks = [mask_of(one) for one in page.get(f"/images/{image}/objects").json()["objects"]]
    assert len(masks) == count
    for number, mask in enumerate(masks):
        for other in masks[:number]:
            assert (mask & other).sum() <= 0.5 * (mask | other).sum()
