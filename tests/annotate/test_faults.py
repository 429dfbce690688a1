"""What goes wrong in practice: killed programs, full disks, damaged and lost files, clocks set back."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.annotate.conftest import Page, page_over
from ultrasam.annotate.annotator import Annotator
from ultrasam.annotate.project import project as project_module
from ultrasam.annotate.project.history import stroke_by_key
from ultrasam.annotate.project.images import update_images
from ultrasam.annotate.project.masks import mask_of
from ultrasam.annotate.project.project import Project
from ultrasam.annotate.project.schema import SCHEMA_VERSION
from ultrasam.errors import DataError

# Labels without end; says each stroke once it is acknowledged, with its object and the mask's hash.
_LABELER = """
import sys, uuid
from pathlib import Path
from ultrasam.annotate import requests
from ultrasam.annotate.project.masks import mask_of
from ultrasam.annotate.project.project import Project
from ultrasam.annotate.scans import Scans
from ultrasam.annotate.segmentation import Segmentation
from ultrasam.annotate.strokes import Tools, apply_stroke

project = Project(Path(sys.argv[1]))
scans = Scans(project)
tools = Tools(project, scans, Segmentation(scans, "random:nano"))
object = version = None
print("ready", flush=True)
for number in range(100_000):
    if number % 20 == 0:
        object = version = None
    key = str(uuid.uuid4())
    x, y = 10 + number * 7 % 140, 10 + number * 11 % 100
    apply_stroke(tools, 1, "anna", requests.BrushStroke(
        key=key, kind="brush", mode="add", path=((x, y),), radius=4, object=object, base_version=version))
    from ultrasam.annotate.project.history import stroke_by_key
    object = stroke_by_key(project, key).object
    mask = mask_of(project, object, 0)
    version = mask.id
    print(key, object, mask.id, mask.hash, flush=True)
"""


def kill_while_labeling(folder: Path, seconds: float) -> int:
    """Label in another process, kill it, and check what it acknowledged; returns how many strokes."""
    process = subprocess.Popen(
        [sys.executable, "-c", _LABELER, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(seconds)
    os.kill(process.pid, signal.SIGKILL)
    lines = process.stdout.read().splitlines()
    process.wait()
    process.stdout.close()
    told = [line.split() for line in lines if len(line.split()) == 4 and len(line.split()[3]) == 16]
    project = Project(folder)
    try:
        latest: dict[str, tuple[int, str]] = {}
        for key, object, version, hash_ in told:
            assert stroke_by_key(project, key) is not None, "an acknowledged stroke is lost"
            latest[object] = int(version), hash_
        for object, (version, hash_) in latest.items():
            mask = mask_of(project, object, 0)
            assert mask is not None
            # One stroke more may be on disk than the process had time to say.
            assert (mask.id, mask.hash) == (version, hash_) or mask.id > version
        assert project.row("PRAGMA integrity_check")[0] == "ok"  # type: ignore[index]
    finally:
        project.close()
    return len(told)


@pytest.fixture
def listed(folder: Path) -> Path:
    project = Project(folder)
    update_images(project)
    project.close()
    return folder


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_every_acknowledged_stroke_survives_a_kill(listed: Path) -> None:
    moments = random.Random(0)
    assert sum(kill_while_labeling(listed, moments.uniform(0, 0.4)) for _ in range(4)) > 0


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_every_acknowledged_stroke_survives_fifty_kills(listed: Path) -> None:
    moments = random.Random(1)
    assert sum(kill_while_labeling(listed, moments.uniform(0, 0.5)) for _ in range(50)) > 100


def test_a_full_disk_is_told_and_the_stroke_is_not_acknowledged(page: Page) -> None:
    image = page.id("a.png")
    page.draw(image)
    worker = page.annotator.worker
    pages = worker.submit(
        0,
        lambda: page.annotator.project.row("PRAGMA page_count")[0],  # type: ignore[arg-type, index]
    ).result()
    set_limit = lambda limit: worker.submit(  # noqa: E731
        0,
        lambda: page.annotator.project.row(f"PRAGMA max_page_count = {limit}"),  # type: ignore[arg-type]
    ).result()
    set_limit(pages)  # SQLite's own way to say SQLITE_FULL, which is what a full disk gives
    path = [[x % 150 + 1, x * 7 % 110 + 1] for x in range(2000)]
    answers = [page.stroke(image, "brush", mode="add", path=path, radius=1) for _ in range(12)]
    full = [answer for answer in answers if answer.status_code == 507]
    assert full
    assert "No space left" in full[0].json()["detail"]
    kept = len([answer for answer in answers if answer.status_code == 200])
    set_limit(1_000_000)
    assert len(page.get(f"/images/{image}").json()["objects"]) == kept + 1
    assert page.stroke(image, "note", text="goes on").status_code == 200


def test_a_damaged_image_has_its_problem_and_hinders_no_other(page: Page, folder: Path) -> None:
    whole = (folder / "a.png").read_bytes()
    (folder / "a.png").write_bytes(whole[: len(whole) // 2])
    page.post("/project/refresh")
    image = page.id("a.png")
    answer = page.get(f"/images/{image}/frames/0.png")
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("a.png")
    assert str(folder) not in answer.json()["detail"]
    assert page.get(f"/images/{image}").status_code in (200, 422)
    assert page.get(f"/images/{page.id('b.png')}/frames/0.png").status_code == 200


def test_an_image_that_is_gone_is_told(page: Page, folder: Path) -> None:
    image = page.id("a.png")
    page.draw(image)
    (folder / "a.png").rename(folder.parent / "a.png")
    answer = page.get(f"/images/{image}")
    assert answer.status_code == 404
    assert "not in the folder any more" in answer.json()["detail"]
    page.post("/project/refresh")
    assert [one["name"] for one in page.get("/images").json()["images"]] == ["b.png", "cine.avi"]
    (folder.parent / "a.png").rename(folder / "a.png")
    page.post("/project/refresh")
    assert len(page.get(f"/images/{image}/objects").json()["objects"]) == 1


def test_a_clock_that_is_set_back_changes_neither_order_nor_undo(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = page.id("a.png")
    page.draw(image, (40, 40))
    monkeypatch.setattr(project_module, "now", lambda: "1999-01-01T00:00:00.000+00:00")
    from ultrasam.annotate.project import history

    monkeypatch.setattr(history, "now", lambda: "1999-01-01T00:00:00.000+00:00")
    second = page.draw(image, (100, 80))
    entries = page.get(f"/images/{image}").json()["history"]["entries"]
    assert [one["time"][:4] == "1999" for one in entries] == [False, True]
    assert page.post(f"/images/{image}/undo").json()["deleted"] == second["id"]


def test_two_programs_cannot_open_one_project(page: Page, folder: Path) -> None:
    with pytest.raises(DataError, match="open in another 'ultrasam annotate'"):
        Project(folder)


def test_a_project_of_a_newer_version_is_refused(folder: Path) -> None:
    Project(folder).close()
    file = folder / "ultrasam.project.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(DataError, match="install a newer one"):
        Project(folder)


@pytest.mark.parametrize(
    "content", [b"not a database at all, but text" * 100, b"SQLite format 3\0" + b"x" * 5000]
)
def test_a_file_that_is_no_project_is_refused_and_left_as_it_is(
    folder: Path, content: bytes
) -> None:
    file = folder / "ultrasam.project.sqlite"
    file.write_bytes(content)
    with pytest.raises(DataError, match="not a project file"):
        Project(folder)
    assert file.read_bytes() == content


def test_another_programs_database_is_refused(folder: Path) -> None:
    with sqlite3.connect(folder / "ultrasam.project.sqlite") as connection:
        connection.execute("CREATE TABLE patients (name TEXT)")
    connection.close()
    with pytest.raises(DataError, match="not a project file"):
        Project(folder)


def test_ten_thousand_images_are_listed_without_opening_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ULTRASAM_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "many"
    for part in range(10):
        (folder / f"p{part}").mkdir(parents=True)
        for number in range(1000):
            (folder / f"p{part}" / f"{number:04}.png").touch()  # a look inside would fail
    project = Project(folder)
    try:
        assert update_images(project).images == 10_000
        assert update_images(project).added == 0
    finally:
        project.close()


def test_a_folder_that_does_not_exist_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="give the folder that holds the images"):
        Annotator.open(tmp_path / "nowhere")


def test_a_model_that_cannot_be_loaded_is_told_and_drawing_goes_on(folder: Path) -> None:
    (folder / "broken.safetensors").write_bytes(b"x")
    annotator = Annotator.open(folder, model=str(folder / "broken.safetensors"))
    try:
        page = page_over(annotator)
        image = page.id("a.png")
        page.draw(image)
        answer = page.stroke(image, "prompt", prompt={"points": [[60, 60, 1]]})
        assert answer.status_code == 503
        assert page.get("/project").json()["model"]["problem"]
    finally:
        annotator.close()
