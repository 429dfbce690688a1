"""Several pages on one image: nobody's stroke is lost, overwritten or counted twice."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tests.annotate.conftest import HOST, Page, disc
from tests.annotate.test_strokes import mask_of


def another(page: Page, reader: str = "anna") -> Page:
    """Another browser on the same server."""
    client = TestClient(page.client.app, base_url=f"http://{HOST}", raise_server_exceptions=False)
    other = Page(client, page.annotator)
    assert other.post("/session", {"reader": reader}).status_code == 200
    return other


def at_once(*actions: Callable[[], None]) -> None:
    """Do things in a thread each, and raise what one raises."""
    errors: list[BaseException] = []

    def guarded(action: Callable[[], None]) -> None:
        try:
            action()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(one,)) for one in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_a_page_that_has_not_seen_the_latest_mask_is_told_and_overwrites_nothing(
    page: Page,
) -> None:
    image, other = page.id("a.png"), another(page)
    object = page.draw(image, (40, 60), 10)
    seen = object["mask"]["version"]
    moved = other.stroke(
        image,
        "brush",
        mode="add",
        path=[[60, 60]],
        radius=10,
        object=object["id"],
        base_version=seen,
    ).json()["object"]
    late = page.stroke(
        image,
        "brush",
        mode="erase",
        path=[[40, 60]],
        radius=12,
        object=object["id"],
        base_version=seen,
    )
    assert late.status_code == 409
    assert "another tab" in late.json()["detail"]
    assert late.json()["object"]["mask"]["version"] == moved["mask"]["version"]
    assert np.array_equal(mask_of(late.json()["object"]), disc((40, 60), 10) | disc((60, 60), 10))
    again = page.stroke(
        image, "brush", mode="erase", path=[[40, 60]], radius=12, object=object["id"],
        base_version=moved["mask"]["version"],
    )  # fmt: skip
    assert again.status_code == 200


def test_two_pages_that_draw_on_one_object_at_once_lose_no_stroke(page: Page) -> None:
    image, other = page.id("a.png"), another(page)
    object = page.draw(image, (80, 60), 3)["id"]
    expected = disc((80, 60), 3)
    places = {1: [(20 + 6 * k, 30) for k in range(12)], 2: [(20 + 6 * k, 90) for k in range(12)]}

    def draw(mine: Page, where: list[tuple[int, int]]) -> None:
        for place in where:
            key = str(uuid.uuid4())
            version = None
            while True:  # as the page does: with the mask that is there now
                body = {
                    "key": key, "kind": "brush", "mode": "add", "path": [place], "radius": 4,
                    "object": object, "base_version": version,
                }  # fmt: skip
                answer = mine.post(f"/images/{image}/strokes", body)
                if answer.status_code == 200:
                    break
                assert answer.status_code == 409
                version = answer.json()["object"]["mask"]["version"]

    at_once(lambda: draw(page, places[1]), lambda: draw(other, places[2]))
    for place in (*places[1], *places[2]):
        expected |= disc(place, 4)
    (found,) = page.get(f"/images/{image}/objects").json()["objects"]
    assert np.array_equal(mask_of(found), expected)
    entries = page.get(f"/images/{image}").json()["history"]["entries"]
    assert len(entries) == 1 + 24
    for _ in entries:
        assert other.post(f"/images/{image}/undo").status_code == 200
    assert page.get(f"/images/{image}/objects").json()["objects"] == []


def test_one_stroke_that_two_connections_send_at_once_counts_once(page: Page) -> None:
    image, other = page.id("a.png"), another(page)
    body = {"key": "one-stroke", "kind": "brush", "mode": "add", "path": [[50, 50]], "radius": 9}
    answers = []

    def send(mine: Page) -> None:
        answers.append(mine.post(f"/images/{image}/strokes", body))

    at_once(lambda: send(page), lambda: send(other), lambda: send(page))
    assert [answer.status_code for answer in answers] == [200] * 3
    assert len({answer.json()["object"]["id"] for answer in answers}) == 1
    assert len(page.get(f"/images/{image}/objects").json()["objects"]) == 1


def test_readers_at_once_have_each_their_own_objects_and_history(page: Page) -> None:
    image = page.id("a.png")
    pages = {name: another(page, name) for name in ("bob", "carla", "dora")}

    def draw(mine: Page, radius: int) -> None:
        for _ in range(6):
            mine.draw(image, (60, 60), radius)

    at_once(*(lambda p=p, r=r: draw(p, r) for r, p in enumerate(pages.values(), 5)))
    for radius, mine in enumerate(pages.values(), 5):
        objects = mine.get(f"/images/{image}/objects").json()["objects"]
        assert [one["number"] for one in objects] == list(range(1, 7))
        assert all(np.array_equal(mask_of(one), disc((60, 60), radius)) for one in objects)
        mine.post(f"/images/{image}/undo")
        assert len(mine.get(f"/images/{image}/objects").json()["objects"]) == 5


def test_a_clock_that_is_set_back_ends_no_session_and_no_lease(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, bob = page.id("a.png"), another(page, "bob")
    assert page.post(f"/images/{image}/lease", {"seconds": 60}).status_code == 200
    real = time.time
    for shift in (-10 * 365 * 86_400, 3600):
        monkeypatch.setattr(time, "time", lambda shift=shift: real() + shift)
        assert bob.get("/project").json()["reader"] == "bob"
        assert bob.stroke(image, "note", text="x").status_code == 423
        assert page.stroke(image, "note", text=f"shift {shift}").status_code == 200
