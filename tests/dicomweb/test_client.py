"""The client against servers that fail, refuse, and claim what is not so."""

from __future__ import annotations

import itertools
import json
import logging
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEGBaseline8Bit

from tests.dicomweb.servers import Answer, Asked, fake, instance, listed, parts, uids
from tests.images.segmentations import masks_of, segmentation, write_dicom
from ultrasam.dicomweb.client import DicomWebClient
from ultrasam.errors import (
    ConfigError,
    DataError,
    MissingDependencyError,
    ScanError,
    UltraSamError,
    UltraSamWarning,
)
from ultrasam.images.reading import read_scan
from ultrasam.images.writing.dicom_seg import write_seg

FRAMES = 5


@pytest.fixture
def cine(tmp_path: Path) -> Path:
    return write_dicom(tmp_path / "cine.dcm", FRAMES)


def metadata(file: Path, **changes: object) -> Answer:
    read = pydicom.dcmread(file)
    del read.PixelData
    for name, value in changes.items():
        setattr(read, name, value)
    return Answer(json.dumps([read.to_json_dict()]).encode())


def frames_of(file: Path, pick: Callable[[int], int] = lambda number: number, **about: Any) -> Any:
    """A server of metadata and frames, which sends the frame that ``pick`` makes of the number asked for."""
    pixels = pydicom.dcmread(file).pixel_array

    def respond(asked: Asked) -> Answer:
        if asked.path.endswith("/metadata"):
            return metadata(file)
        number = pick(int(asked.path.rpartition("/")[2]))
        return parts(pixels[number - 1].tobytes(), kind="application/octet-stream", **about)

    return respond


# Search


def test_a_search_lists_the_ultrasound_of_a_study_over_several_pages() -> None:
    everything = [("1.2", "1.3", f"1.4.{n}") for n in range(7)]

    def respond(asked: Asked) -> Answer:
        start = int(asked.query["offset"][0])
        return listed(*everything[start : start + 3])  # fewer than asked for, as servers may

    with fake(respond) as (root, asked), DicomWebClient(root) as client:
        found = client.search(f"{root}/studies/1.2")
        assert [one.address.instance for one in found] == [uid for *_, uid in everything]
        assert str(found[0].address) == f"{root}/studies/1.2/series/1.3/instances/1.4.0"
        assert asked[0].path == "/studies/1.2/instances"
        assert asked[0].query["Modality"] == ["US"]


def test_a_search_ends_where_a_server_ignores_the_offset() -> None:
    with fake(lambda _: listed(("1.2", "1.3", "1.4"))) as (root, asked):
        with DicomWebClient(root) as client:
            assert len(client.search(root)) == 1
        assert len(asked) == 2


def test_other_modalities_that_a_server_lists_nevertheless_are_left_out() -> None:
    with (
        fake(lambda _: listed(("1.2", "1.3", "1.4"), modality="SR")) as (root, _),
        DicomWebClient(root) as client,
    ):
        assert client.search(f"{root}/studies/1.2") == []
        assert len(client.search(f"{root}/studies/1.2", modality="SR")) == 1


def test_nothing_found_is_an_empty_list() -> None:
    with fake(lambda _: Answer(status=204)) as (root, _), DicomWebClient(root) as client:
        assert client.search(root) == []


@pytest.mark.parametrize("uid", ["../../../etc/passwd", "1.2/../3", "", "1." * 40 + "1"])
def test_uids_that_are_none_are_refused_before_they_become_a_files_name(uid: str) -> None:
    with (
        fake(lambda _: listed(("1.2", "1.3", uid))) as (root, _),
        DicomWebClient(root) as client,
        pytest.raises(UltraSamError, match="without valid UIDs"),
    ):
        client.search(root)


# Retrieve


def test_an_instance_is_written_byte_for_byte(cine: Path, tmp_path: Path) -> None:
    def respond(asked: Asked) -> Answer:
        assert asked.headers["Accept"].endswith("transfer-syntax=*")
        return parts(cine.read_bytes())

    with fake(respond) as (root, _), DicomWebClient(root) as client:
        path = client.retrieve(instance(root, cine), tmp_path / "out")
    assert path == tmp_path / "out" / f"{uids(cine)[2]}.dcm"
    assert path.read_bytes() == cine.read_bytes()
    assert np.array_equal(read_scan(path).read_all(), read_scan(cine).read_all())


def test_an_instance_that_is_not_in_parts_is_taken_as_well(cine: Path, tmp_path: Path) -> None:
    answer = Answer(cine.read_bytes(), content_type="application/dicom")
    with fake(lambda _: answer) as (root, _), DicomWebClient(root) as client:
        path = client.retrieve(instance(root, cine), tmp_path / "out")
    assert path.read_bytes() == cine.read_bytes()


def test_another_instance_than_the_one_asked_for_is_refused(cine: Path, tmp_path: Path) -> None:
    other = write_dicom(tmp_path / "other.dcm", 2)
    with (
        fake(lambda _: parts(other.read_bytes())) as (root, _),
        DicomWebClient(root) as client,
        pytest.raises(UltraSamError, match="something else"),
    ):
        client.retrieve(instance(root, cine), tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def endless(first: bytes = b"") -> Iterator[bytes]:
    yield first
    yield from itertools.repeat(b"\0" * (1 << 16))


FAULTS = {
    "no credentials": (Answer(status=401), UltraSamError, r"does not let you .*\(401\); set ULTRASAM"),
    "not allowed": (Answer(status=403), UltraSamError, r"does not let you .*\(403\)"),
    "not there": (Answer(status=404), DataError, r"cannot retrieve .*\(404\): it is not there"),
    "elsewhere": (
        Answer(status=302, headers={"Location": "http://127.0.0.1:9/"}), UltraSamError, "redirects",
    ),
    "busy": (Answer(status=503), UltraSamError, "too busy"),
    "broken": (Answer(b"Patient Moeller is locked", status=500), UltraSamError, "answers 500"),
    "a page": (Answer(b"<html>Log in", content_type="text/html"), UltraSamError, "other than DICOM"),
    "cut off by its length": (
        Answer(b"DICM", content_type="application/dicom", headers={"Content-Length": "99"}),
        UltraSamError, "connection to .* broke",
    ),
    "cut off": (replace(parts(b"DICM"), body=parts(b"DICM" * 9).body[:60]), UltraSamError, "ends before"),
    "no boundary": (Answer(b"x", content_type="multipart/related"), UltraSamError, "no boundary"),
    "another boundary": (
        replace(parts(b"x"), content_type="multipart/related; boundary=other"), UltraSamError, "damaged",
    ),
    "no parts": (
        Answer(b"--edge--", content_type="multipart/related; boundary=edge"), UltraSamError, "nothing",
    ),
    "several": (parts(b"a", b"b"), UltraSamError, "several"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_that_fails_is_one_sentence_and_leaves_no_file(
    fault: str, cine: Path, tmp_path: Path
) -> None:
    answer, kind, text = FAULTS[fault]
    with fake(lambda _: answer) as (root, asked), DicomWebClient(root) as client:
        with pytest.raises(kind, match=text) as caught:
            client.retrieve(instance(root, cine), tmp_path / "out")
        assert len(asked) == 1
    message = str(caught.value)
    assert message.endswith(".")
    assert "Moeller" not in message
    assert not list((tmp_path / "out").iterdir())


def test_a_body_without_an_end_is_not_read_on(cine: Path, tmp_path: Path) -> None:
    head = parts(b"").body
    assert isinstance(head, bytes)

    def respond(_: Asked) -> Answer:
        return replace(parts(b""), body=endless(head.partition(b"\r\n--edge--")[0]))

    with (
        fake(respond) as (root, _),
        DicomWebClient(root, max_bytes=10**6) as client,
        pytest.raises(UltraSamError, match=r"more than 1\.0 MB.*--max-gb"),
    ):
        client.retrieve(instance(root, cine), tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_body_that_drips_ends_at_the_deadline(cine: Path, tmp_path: Path) -> None:
    def drip() -> Iterator[bytes]:
        while True:
            time.sleep(0.02)
            yield b" "

    answer = Answer(content_type="application/dicom")
    with (
        fake(lambda _: replace(answer, body=drip())) as (root, _),
        DicomWebClient(root, deadline=0.2) as client,
        pytest.raises(UltraSamError, match="still sends after"),
    ):
        client.retrieve(instance(root, cine), tmp_path / "out")


def test_a_search_without_an_end_is_not_read_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ultrasam.dicomweb.transport._MAX_JSON", 10**6)
    with (
        fake(lambda _: Answer(endless(b"["))) as (root, _),
        DicomWebClient(root) as client,
        pytest.raises(UltraSamError, match="more than") as caught,
    ):
        client.search(root)
    assert "--max-gb" not in str(caught.value)


def test_a_server_that_is_silent_and_one_that_is_not_there_are_sentences() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        root = f"http://127.0.0.1:{listening.getsockname()[1]}/dicom-web"
        with (
            DicomWebClient(root, timeout=0.2) as client,
            pytest.raises(UltraSamError, match="did not answer in time"),
        ):
            client.search(root)
    with (
        DicomWebClient(root) as client,
        pytest.raises(UltraSamError, match="No DICOMweb server answers at"),
    ):
        client.search(root)


@pytest.mark.parametrize("body", [b"<html>", b"3", b"[3]", b"{" * 99_999])
def test_a_search_that_is_not_answered_in_json_is_refused(body: bytes) -> None:
    with (
        fake(lambda _: Answer(body)) as (root, _),
        DicomWebClient(root) as client,
        pytest.raises(UltraSamError, match="other than DICOM"),
    ):
        client.search(root)


# Frames


@pytest.mark.parametrize("index", range(FRAMES))
def test_a_frame_equals_that_of_the_whole_instance(index: int, cine: Path) -> None:
    with fake(frames_of(cine)) as (root, _), DicomWebClient(root) as client:
        scan = client.retrieve_frame(instance(root, cine), index)
    assert scan.num_frames == 1
    assert np.array_equal(scan.frame(), read_scan(cine).frame(index))
    assert scan.spacing == read_scan(cine).spacing
    assert scan.source is None


def test_a_server_that_sends_the_first_frame_each_time_is_refused(cine: Path) -> None:
    with fake(frames_of(cine, lambda _: 1)) as (root, _), DicomWebClient(root) as client:
        assert client.retrieve_frame(instance(root, cine), 0).num_frames == 1
        with pytest.raises(DataError, match="may ignore the number; retrieve the whole instance"):
            client.retrieve_frame(instance(root, cine), 3)


def test_a_server_that_sends_all_frames_is_refused(cine: Path) -> None:
    def respond(asked: Asked) -> Answer:
        if asked.path.endswith("/metadata"):
            return metadata(cine)
        return parts(
            *map(bytes, pydicom.dcmread(cine).pixel_array), kind="application/octet-stream"
        )

    with (
        fake(respond) as (root, _),
        DicomWebClient(root) as client,
        pytest.raises(DataError, match="sends 5 frames; retrieve the whole"),
    ):
        client.retrieve_frame(instance(root, cine), 3)


def test_a_frame_that_does_not_exist_is_never_asked_for(cine: Path) -> None:
    with fake(frames_of(cine)) as (root, asked), DicomWebClient(root) as client:
        for index in (-1, FRAMES):
            with pytest.raises(ScanError, match="has 5 frames, numbered from 0"):
                client.retrieve_frame(instance(root, cine), index)
        assert {one.path.rpartition("/")[2] for one in asked} == {"metadata"}


def test_a_frame_larger_than_its_header_says_is_not_read_on(cine: Path) -> None:
    def respond(asked: Asked) -> Answer:
        if asked.path.endswith("/metadata"):
            return metadata(cine)
        return Answer(endless(), content_type="application/octet-stream")

    with (
        fake(respond) as (root, _),
        DicomWebClient(root) as client,
        pytest.raises(UltraSamError, match=r"more than 0\.1 MB"),
    ):
        client.retrieve_frame(instance(root, cine), 1)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"BitsAllocated": 16}, "range of all frames"),
        (
            {"PhotometricInterpretation": "YBR_FULL_422", "SamplesPerPixel": 3},
            "converted the colors",
        ),
        ({"Rows": None}, "lack Rows"),
        ({"SOPInstanceUID": "1.2.3"}, "another instance"),
    ],
)
def test_a_frame_that_takes_more_than_itself_to_show_is_refused(
    changes: dict[str, Any], text: str, cine: Path
) -> None:
    def respond(asked: Asked) -> Answer:
        if asked.path.endswith("/metadata"):
            return metadata(cine, **changes)
        number = int(asked.path.rpartition("/")[2])
        return parts(bytes([number]) * 999, kind="application/octet-stream")

    with (
        fake(respond) as (root, _),
        DicomWebClient(root) as client,
        pytest.raises(DataError, match=text),
    ):
        client.retrieve_frame(instance(root, cine), 1)


def test_a_frame_that_is_cut_off_or_of_an_unknown_kind_is_refused_without_a_path(
    cine: Path,
) -> None:
    about = {"cut off": "application/octet-stream", "unknown": "image/jpeg; transfer-syntax=1.2.3"}
    for fault, inner in about.items():

        def respond(asked: Asked, inner: str = inner) -> Answer:
            if asked.path.endswith("/metadata"):
                return metadata(cine)
            number = int(asked.path.rpartition("/")[2])
            return parts(bytes([number]) * 99, kind="application/octet-stream", inner=inner)

        with fake(respond) as (root, _), DicomWebClient(root) as client:
            kind = ScanError if fault == "cut off" else DataError
            with pytest.raises(kind, match="Cannot retrieve frame 1 of") as caught:
                client.retrieve_frame(instance(root, cine), 1)
            assert "frame.dcm" not in str(caught.value)


def test_a_compressed_frame_is_decoded_by_the_syntax_that_comes_with_it(
    cine: Path, tmp_path: Path
) -> None:
    import cv2

    pixels = read_scan(cine).read_all()
    coded = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in pixels]
    about = f"image/jpeg; transfer-syntax={JPEGBaseline8Bit}"

    def respond(asked: Asked) -> Answer:
        if asked.path.endswith("/metadata"):
            return metadata(cine)
        number = int(asked.path.rpartition("/")[2])
        return parts(coded[number - 1], kind="image/jpeg", inner=about)

    with fake(respond) as (root, _), DicomWebClient(root) as client:
        found = client.retrieve_frame(instance(root, cine), 2).frame()
    wanted = cv2.imdecode(np.frombuffer(coded[2], np.uint8), cv2.IMREAD_GRAYSCALE)
    assert np.abs(found.astype(int) - wanted).max() <= 2


# Store


@pytest.fixture
def seg(cine: Path, tmp_path: Path) -> Path:
    write_seg(tmp_path / "seg.dcm", segmentation(cine))
    return tmp_path / "seg.dcm"


def test_what_is_stored_arrives_byte_for_byte_and_is_looked_for(seg: Path) -> None:
    def respond(asked: Asked) -> Answer:
        return Answer(b"{}") if asked.method == "POST" else listed(uids(seg), modality="SEG")

    with fake(respond) as (root, asked), DicomWebClient(root) as client:
        assert client.store(seg).address.instance == uids(seg)[2]
    sent, query = asked
    boundary = re.search("boundary=(.+)", sent.headers["Content-Type"])
    assert boundary
    assert (
        sent.body.split(f"--{boundary[1]}".encode())[1]
        .strip(b"\r\n")
        .endswith(seg.read_bytes().strip(b"\r\n"))
    )
    assert seg.read_bytes() in sent.body
    assert sent.headers["Content-Length"] == str(len(sent.body))  # not in chunks
    assert query.query["SOPInstanceUID"] == [uids(seg)[2]]


@pytest.mark.parametrize("afterwards", [Answer(b"[]"), Answer(status=204), Answer(status=404)])
def test_success_without_the_instance_afterwards_is_an_error(afterwards: Answer, seg: Path) -> None:
    with (
        fake(lambda asked: Answer(b"{}") if asked.method == "POST" else afterwards) as (root, _),
        DicomWebClient(root) as client,
        pytest.raises(UltraSamError, match=r"stored .*seg\.dcm \(200\), but does not list it"),
    ):
        client.store(seg, settle=0.3)


def test_other_instances_do_not_stand_for_the_one_that_was_sent(seg: Path) -> None:
    """A server that ignores what it is asked for lists whatever it has."""
    study, series, _ = uids(seg)

    def respond(asked: Asked) -> Answer:
        return Answer(b"{}") if asked.method == "POST" else listed((study, series, "1.2.3"))

    with (
        fake(respond) as (root, _),
        DicomWebClient(root) as client,
        pytest.raises(UltraSamError, match="does not list it"),
    ):
        client.store(seg, settle=0.3)


def test_a_server_that_lists_late_is_waited_for(seg: Path) -> None:
    answers = iter([Answer(b"{}"), Answer(b"[]"), Answer(b"[]"), listed(uids(seg))])
    with fake(lambda _: next(answers)) as (root, asked), DicomWebClient(root) as client:
        client.store(seg)
        assert len(asked) == 4


@pytest.mark.parametrize(
    ("reason", "text"),
    [(0x0122, "does not store objects of this kind"), (0x1234, "failure reason 4660")],
)
@pytest.mark.parametrize("status", [200, 202, 409])
def test_a_refusal_inside_the_answer_is_told(
    status: int, reason: int, text: str, seg: Path
) -> None:
    failed = {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [reason]}}]}}
    answer = Answer(json.dumps(failed).encode(), status)
    with (
        fake(lambda _: answer) as (root, _),
        DicomWebClient(root) as client,
        pytest.raises(UltraSamError, match=text),
    ):
        client.store(seg)


def test_a_search_that_fails_afterwards_leaves_it_open_whether_it_was_stored(seg: Path) -> None:
    def respond(asked: Asked) -> Answer:
        return Answer(b"{}") if asked.method == "POST" else Answer(status=500)

    with (
        fake(respond) as (root, _),
        DicomWebClient(root) as client,
        pytest.raises(UltraSamError, match=r"is unknown: .* answers 500") as caught,
    ):
        client.store(seg)
    assert not any(uid in str(caught.value) for uid in uids(seg))


def test_only_dicom_with_uids_is_sent(tmp_path: Path, cine: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    nameless = write_dicom(tmp_path / "b.dcm", 1, StudyInstanceUID="")
    with fake(lambda _: Answer()) as (root, asked), DicomWebClient(root) as client:
        for file, text in (
            (tmp_path / "a.png", "not DICOM"), (tmp_path / "none.dcm", "does not exist"),
            (nameless, "no valid StudyInstanceUID"),
        ):  # fmt: skip
            with pytest.raises(ScanError, match=text):
                client.store(file)
        assert not asked


# Credentials and identity


@pytest.mark.parametrize("package", ["httpx", "pydicom", "python_multipart"])
def test_a_missing_package_is_told_before_anything_is_sent(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=r"DICOMweb needs the extra 'dicomweb'"):
        DicomWebClient("https://host/dicom-web")


def test_credentials_of_the_environment_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake(lambda _: Answer(status=204)) as (root, asked):
        monkeypatch.setenv("ULTRASAM_DICOMWEB_TOKEN", "abc")
        with DicomWebClient(root) as client:
            client.search(root)
        monkeypatch.delenv("ULTRASAM_DICOMWEB_TOKEN")
        monkeypatch.setenv("ULTRASAM_DICOMWEB_USER", "reader")
        monkeypatch.setenv("ULTRASAM_DICOMWEB_PASSWORD", "secret")
        with DicomWebClient(root) as client:
            client.search(root)
    sent = [one.headers["Authorization"] for one in asked]
    assert sent == ["Bearer abc", "Basic cmVhZGVyOnNlY3JldA=="]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"TOKEN": "a", "USER": "b", "PASSWORD": "c"}, "not both"),
        ({"USER": "b"}, "one of them is missing"),
        ({"TOKEN": "a\nb"}, "no token has"),
    ],
)
def test_credentials_that_contradict_each_other_are_refused(
    given: dict[str, str], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(f"ULTRASAM_DICOMWEB_{name}", value)
    with pytest.raises(ConfigError, match=text):
        DicomWebClient("https://host/dicom-web")


def test_credentials_that_would_travel_unencrypted_are_warned_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ULTRASAM_DICOMWEB_TOKEN", "abc")
    with pytest.warns(UltraSamWarning, match="unencrypted"):
        DicomWebClient("http://pacs.example/dicom-web").close()


def test_a_certificate_that_nobody_vouches_for_is_refused_unless_the_user_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificate, is not installed")
    file = tmp_path / "certificate.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=pacs",
            "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", tmp_path / "key.pem", "-out", file,
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    both = tmp_path / "both.pem"
    both.write_bytes(file.read_bytes() + (tmp_path / "key.pem").read_bytes())
    with fake(lambda _: Answer(status=204), certificate=both) as (root, asked):
        with (
            DicomWebClient(root) as client,
            pytest.raises(UltraSamError, match=r"is not trusted; .* SSL_CERT_FILE"),
        ):
            client.search(root)
        assert not asked
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        with DicomWebClient(root) as client:
            assert client.search(root) == []


def test_no_log_tells_uids_or_names(
    seg: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    def respond(asked: Asked) -> Answer:
        if asked.method == "POST":
            return Answer(b"{}")
        return listed(uids(seg)) if "offset" in asked.query else parts(seg.read_bytes())

    with caplog.at_level(logging.INFO), fake(respond) as (root, _), DicomWebClient(root) as client:
        client.retrieve(client.store(seg).address, tmp_path / "out")
    assert not [text for text in caplog.messages if uids(seg)[2] in text or "Möller" in text]


def test_the_headers_of_a_frame_are_not_kept_as_its_source(cine: Path) -> None:
    """A segmentation of it would refer to the first frame of the instance."""
    with fake(frames_of(cine)) as (root, _), DicomWebClient(root) as client:
        scan = client.retrieve_frame(instance(root, cine), 2)
    masks = masks_of(scan)
    result = replace(segmentation(cine), scan=scan, masks=masks, measurements=())
    with pytest.raises(DataError, match="refers to a DICOM image"):
        write_seg(cine.with_name("x.dcm"), result)


def test_the_json_of_a_server_may_lack_bulk_data() -> None:
    from ultrasam.dicomweb.frames import header_of

    content = {
        "00080016": {"vr": "UI", "Value": ["1.2"]}, "00080018": {"vr": "UI", "Value": ["1.3"]},
        "00280010": {"vr": "US", "Value": [4]}, "00280011": {"vr": "US", "Value": [5]},
        "00280100": {"vr": "US", "Value": [8]}, "7FE00010": {"vr": "OW", "BulkDataURI": "http://x/y"},
    }  # fmt: skip
    header = header_of(content)
    assert isinstance(header, Dataset)
    assert (header.Rows, header.Columns) == (4, 5)
