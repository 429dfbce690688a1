"""Who may ask for what: hosts, origins, tokens, sizes, paths."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.annotate.conftest import HOST, Page, page_over
from ultrasam.annotate.annotator import Annotator
from ultrasam.annotate.server.security import Access
from ultrasam.serve.http.access import is_loopback


@pytest.fixture
def locked(folder: Path) -> Iterator[Page]:
    """A page of a server that demands a token."""
    annotator = Annotator.open(folder, model="random:nano", device="cpu")
    access = Access(
        "0.0.0.0", 8417, annotator.project.secret, "anna", token="the-token", one_time=True
    )  # fmt: skip
    try:
        yield page_over(annotator, access)
    finally:
        annotator.close()


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8417", "127.0.0.1:1", "", "localhost.evil.example"]
)
def test_another_host_is_refused_as_by_dns_rebinding(page: Page, host: str) -> None:
    answer = page.client.get("/v1/project", headers={"host": host})
    assert answer.status_code == 421
    assert "--allow-host" in answer.json()["detail"]


@pytest.mark.parametrize("host", ["localhost:8417", "127.0.0.1:8417", "[::1]:8417"])
def test_the_names_of_this_machine_are_answered(page: Page, host: str) -> None:
    assert page.client.get("/v1/project", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": f"https://{HOST}"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_requests_of_other_sites_are_refused(page: Page, headers: dict[str, str]) -> None:
    for method in ("GET", "POST"):
        answer = page.client.request(
            method, "/v1/images", headers={"x-ultrasam": "1", **headers},
            json={} if method == "POST" else None,
        )  # fmt: skip
        assert answer.status_code == 403


def test_a_change_needs_the_header_that_forms_cannot_send(page: Page) -> None:
    assert page.client.post("/v1/labels", json={"name": "cyst"}).status_code == 403
    form = page.client.post("/v1/labels", data={"name": "cyst"}, headers={"x-ultrasam": "1"})
    assert form.status_code == 415
    assert page.get("/project").json()["labels"] == []


def test_without_a_token_nothing_is_told(locked: Page) -> None:
    for path in (
        "/project",
        "/images",
        "/images/1/frames/0.png",
        "/events",
        "/openapi.json",
        "/jobs",
    ):
        answer = locked.get(path)
        assert answer.status_code == 401, path
        assert "no session" in answer.json()["detail"]


def test_a_token_is_exchanged_for_a_cookie_that_scripts_cannot_read(locked: Page) -> None:
    assert locked.post("/session", {"token": "wrong"}).status_code == 401
    assert locked.post("/session", {}).status_code == 401
    answer = locked.post("/session", {"token": "the-token", "reader": "bob"})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "the-token" not in cookie
    assert locked.get("/project").json()["reader"] == "bob"


def test_a_token_for_one_login_cannot_be_replayed(locked: Page) -> None:
    assert locked.post("/session", {"token": "the-token"}).status_code == 200
    locked.client.cookies.clear()
    assert "used already" in locked.post("/session", {"token": "the-token"}).json()["detail"]


def test_guessing_is_slowed_down(locked: Page) -> None:
    for _ in range(10):
        assert locked.post("/session", {"token": "guess"}).status_code == 401
    answer = locked.post("/session", {"token": "the-token"})
    assert answer.status_code == 429
    assert "retry-after" in answer.headers


def test_a_forged_cookie_is_no_session(locked: Page) -> None:
    own = locked.annotator.project.secret
    other = Access("0.0.0.0", 8417, own, "anna", token="another").signed("anna")
    for value in (other, "x", "x.y", ".", "é.é", other[:-1] + "0"):
        answer = locked.client.get(
            "/v1/project", headers={"cookie": f"ultrasam-8417={value}".encode("latin-1")}
        )
        assert answer.status_code == 401


def test_a_body_that_is_too_large_is_refused_before_it_is_read(page: Page) -> None:
    answer = page.client.post(
        "/v1/labels", content=b"{" + b" " * 1_100_000,
        headers={"x-ultrasam": "1", "content-type": "application/json"},
    )  # fmt: skip
    assert answer.status_code == 413


def test_a_body_without_end_is_cut_off(page: Page) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += 100_000
            yield b" " * 100_000

    answer = page.client.post(
        "/v1/labels", content=endless(), headers={"x-ultrasam": "1", "content-type": "application/json"}
    )  # fmt: skip
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "path",
    ["/../pyproject.toml", "/shared/../../export.py", "/shared/%2e%2e/export.py", "/shared//etc/passwd"],
)  # fmt: skip
def test_files_outside_the_page_are_not_served(page: Page, path: str) -> None:
    assert page.client.get(path).status_code == 404


@pytest.mark.parametrize("path", ["../outside.json", "/etc/passwd", "link.json", "a\0b", "x" * 999])
def test_imports_stay_in_the_folder(page: Page, folder: Path, path: str) -> None:
    (folder.parent / "outside.json").write_text("{}")
    (folder / "link.json").symlink_to(folder.parent / "outside.json")
    answer = page.post("/import", {"path": path})
    assert answer.status_code == 422
    assert answer.json()["detail"].endswith(".") or "first" in answer.json()["detail"]


def test_images_that_lead_out_of_the_folder_are_not_listed(folder: Path) -> None:
    secret = folder.parent / "secret.png"
    secret.write_bytes((folder / "a.png").read_bytes())
    (folder / "link.png").symlink_to(secret)
    annotator = Annotator.open(folder, model="random:nano", device="cpu")
    try:
        names = [one["name"] for one in page_over(annotator).get("/images").json()["images"]]
        assert names == ["a.png", "b.png", "cine.avi"]
        assert "1 link that leads out of the folder" in annotator.listing.notes[0]
    finally:
        annotator.close()


def test_an_archive_that_leads_out_of_itself_or_is_a_bomb_is_refused(page: Page) -> None:
    for name, size, sentence in (
        ("../../x.json", 10, "lead out"),
        ("x.json", 2_100_000_000, "more than"),
    ):
        content = io.BytesIO()
        with (
            zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as entry,
        ):
            if size < 100:
                entry.write(b"{}")
        data = content.getvalue()
        if size >= 100:  # an entry that says that it unpacks to 2.1 GB
            place = data.rindex(b"PK\x01\x02") + 24
            data = data[:place] + size.to_bytes(4, "little") + data[place + 4 :]
        answer = page.client.post(
            "/v1/import/upload", files={"file": ("x.zip", data)}, headers={"x-ultrasam": "1"}
        )
        job = page.finished(answer.json())
        assert (job["state"], sentence in job["sentence"]) == ("failed", True), job


def test_html_in_names_stays_text(folder: Path) -> None:
    name = "<img src=x onerror=alert(1)>.png"
    (folder / name).write_bytes((folder / "a.png").read_bytes())
    annotator = Annotator.open(folder, model="random:nano", device="cpu")
    try:
        page = page_over(annotator)
        answer = page.get("/images")
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert name in [one["name"] for one in answer.json()["images"]]
        assert page.post("/labels", {"name": "<script>"}).json()["name"] == "<script>"
    finally:
        annotator.close()


def test_every_answer_forbids_what_is_not_ours(page: Page) -> None:
    for path in ("/", "/v1/project", "/nowhere", "/v1/images/1/frames/0.png"):
        policy = page.client.get(path).headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'")
        assert "frame-ancestors 'none'" in policy


def test_the_description_of_the_api_names_no_other_site(page: Page) -> None:
    assert "://" not in json.dumps(page.get("/openapi.json").json()).replace(
        "http://json-schema.org", ""
    )


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True), ("127.0.0.1", True), ("::1", True), ("0.0.0.0", False), ("10.0.0.1", False),
        ("example.org", False),
    ],
)  # fmt: skip
def test_only_this_machine_is_trusted_without_a_token(host: str, local: bool) -> None:
    assert is_loopback(host) is local


def zipped(entries: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in entries.items():
            archive.writestr(name, value)
    return content.getvalue()


def imported(page: Page, name: str, data: bytes) -> dict:
    answer = page.client.post(
        "/v1/import/upload", files={"file": (name, data)}, headers={"x-ultrasam": "1"}
    )
    return page.finished(answer.json())


def test_an_archive_that_unpacks_to_more_than_it_says_is_refused(page: Page) -> None:
    data = zipped({"annotations.json": b" " * 30_000_000})
    place = data.rindex(b"PK\x01\x02") + 24
    lying = data[:place] + (10).to_bytes(4, "little") + data[place + 4 :]
    for one in (lying, data[: len(data) // 2], b"PK\x03\x04" + b"\0" * 100):
        job = imported(page, "x.zip", one)
        assert job["state"] == "failed", job
        assert "Internal error" not in job["sentence"]


def test_an_archive_of_very_many_files_is_refused(page: Page) -> None:
    job = imported(page, "x.zip", zipped({f"{number}": b"" for number in range(20_001)}))
    assert (job["state"], "20,000 files" in job["sentence"]) == ("failed", True)


def test_a_compressed_volume_that_unpacks_without_end_is_refused(page: Page) -> None:
    """200 kB that say that they are 32,767³ voxels, and unpack to 200 MB."""
    header = bytearray(348)
    header[:4] = (348).to_bytes(4, "little")
    for axis, size in enumerate((3, 32_767, 32_767, 32_767)):
        header[40 + 2 * axis : 42 + 2 * axis] = size.to_bytes(2, "little")
    header[70:74] = bytes([2, 0, 8, 0])  # uint8
    header[108:112] = b"\0\0\xb0\x43"  # the data begin at 352
    header[344:348] = b"n+1\0"
    packer = zlib.compressobj(9, wbits=31)
    data = packer.compress(bytes(header) + b"\0" * 4)
    for _ in range(200):
        data += packer.compress(b"\0" * 1_000_000)
    data += packer.flush()
    assert len(data) < 400_000
    answer = page.client.post(
        "/v1/uploads?name=x.nii.gz", content=data,
        headers={"x-ultrasam": "1", "content-type": "application/octet-stream"},
    )  # fmt: skip
    assert 400 <= answer.status_code < 500, answer.text
    job = imported(page, "x.nii.gz", data)
    assert (job["state"], "Internal error" in job["sentence"]) == ("failed", False), job


def test_a_picture_that_says_that_it_is_huge_is_refused_before_it_is_unpacked(
    page: Page, folder: Path
) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
        )

    size = (200_000).to_bytes(4, "big")
    packed = zlib.compress(b"\0" * 50_000_000, 9)
    png = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size + size + bytes([8, 0, 0, 0, 0]))
        + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    )  # fmt: skip
    (folder / "huge.png").write_bytes(png)
    page.post("/project/refresh")
    answer = page.get(f"/images/{page.id('huge.png')}/frames/0.png")
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("huge.png")


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 900_000, b'{"name":' * 100_000, b'{"name": 1e999}', b"\xff\xfe{}", b'{"name": "\\ud800"}',
        b'{"name": "' + b"x" * 900_000 + b'"}', b'{"name": NaN}', b"", b"null", b"9" * 100_000,
    ],
    ids=range(10),
)  # fmt: skip
def test_json_that_is_meant_to_hurt_is_refused(page: Page, body: bytes) -> None:
    answer = page.client.post(
        "/v1/labels", content=body, headers={"x-ultrasam": "1", "content-type": "application/json"}
    )
    assert 400 <= answer.status_code < 500, answer.text[:200]
    assert isinstance(answer.json()["detail"], str)
    assert len(answer.content) < 2000
    assert page.get("/project").json()["labels"] == []


def test_html_in_labels_notes_and_readers_comes_back_as_it_is_and_as_json_alone(page: Page) -> None:
    evil = "</script><img src=x onerror=alert(1)>\"'&"
    image = page.id("a.png")
    page.draw(image, label=evil)
    page.stroke(image, "note", text=evil)
    page.post("/readers", {"name": evil})
    for path in ("/project", f"/images/{image}", f"/images/{image}/objects", "/readers", "/images"):
        answer = page.get(path)
        assert answer.headers["content-type"] == "application/json", path
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert page.get("/project").json()["labels"][0]["name"] == evil
    refused = page.get(f"/images/{evil.replace('/', '')}")
    assert refused.headers["content-type"] == "application/json"
    missing = page.client.get("/<script>alert(1)</script>")
    assert "<script>" not in missing.text or not missing.headers["content-type"].startswith(
        "text/html"
    )
