"""Images that a client names by their UIDs, which the server retrieves from a DICOMweb server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.dicomweb.servers import PASSWORD, USER, Answer, Asked, fake, orthanc, parts, uids
from tests.images.segmentations import write_dicom
from tests.serve.conftest import BOX, Api, Unmeasured, api_over
from ultrasam.runtimes.torch_backend import TorchBackend
from ultrasam.serve.archive import Archive

Serve = Callable[[Callable[[Asked], Answer]], tuple[Api, list[Asked]]]


@pytest.fixture
def cine(tmp_path: Path) -> Path:
    return write_dicom(tmp_path / "cine.dcm", 3)


@pytest.fixture
def served(
    backend: TorchBackend, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ExitStack() as stack:

        def serve(respond: Callable[[Asked], Answer]) -> tuple[Api, list[Asked]]:
            root, asked = stack.enter_context(fake(respond))
            archive = Archive(root, most_bytes=64_000_000)
            api = stack.enter_context(api_over(Unmeasured(backend, name="small"), archive=archive))
            return api, asked

        yield serve


def request_of(file: Path, **more: Any) -> dict[str, Any]:
    study, series, instance = uids(file)
    source = {"dicomweb": {"study": study, "series": series, "instance": instance}}
    return {**BOX, "source": source, **more}


def test_an_instance_is_retrieved_once_and_predicted_as_if_it_was_sent(
    served: Serve, cine: Path
) -> None:
    api, asked = served(lambda _: parts(cine.read_bytes()))
    found = [api.post("/v1/predict", request_of(cine)) for _ in range(3)]
    assert [answer.status_code for answer in found] == [200, 200, 200]
    study, series, instance = uids(cine)
    assert [one.path for one in asked] == [f"/studies/{study}/series/{series}/instances/{instance}"]
    sent = api.predict(cine.read_bytes(), name="x.dcm").json()
    assert found[0].json()["predictions"] == found[2].json()["predictions"] == sent["predictions"]


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        (Answer(status=404), 404, "The archive does not have this instance."),
        (Answer(status=503), 502, "The archive"),
        (Answer(b"<html>", content_type="text/html"), 502, "The archive"),
        (parts(b"no DICOM"), 502, "sends something else"),
    ],
)
def test_what_the_archive_does_wrong_is_told(
    served: Serve, cine: Path, answer: Answer, status: int, said: str
) -> None:
    api, _ = served(lambda _: answer)
    refused = api.post("/v1/predict", request_of(cine))
    assert refused.status_code == status, refused.text
    assert said in refused.json()["detail"]
    assert "127.0.0.1" not in refused.text
    assert api.client.get("/ready").status_code == 200


@pytest.mark.parametrize("uid", ["../../1", "1.2/3", "", "1" * 65])
def test_what_is_no_uid_is_refused_before_the_archive_is_asked(
    served: Serve, cine: Path, uid: str
) -> None:
    api, asked = served(lambda _: parts(cine.read_bytes()))
    request = request_of(cine)
    request["source"]["dicomweb"]["study"] = uid
    assert api.post("/v1/predict", request).status_code == 422
    assert not asked


def test_without_an_archive_the_option_is_named(api: Api, cine: Path) -> None:
    refused = api.post("/v1/predict", request_of(cine))
    assert refused.status_code == 404
    assert "start it with --dicomweb ADDRESS" in refused.json()["detail"]


@pytest.mark.slow
def test_a_cine_in_orthanc_is_segmented_by_its_uids(
    backend: TorchBackend, cache_folder: Path, cine: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("ULTRASAM_DICOMWEB_USER", USER)
    monkeypatch.setenv("ULTRASAM_DICOMWEB_PASSWORD", PASSWORD)
    folder = tmp_path / "orthanc"
    folder.mkdir()
    with orthanc(folder) as server:
        server.add(cine.read_bytes())
        archive = Archive(server.dicomweb, most_bytes=64_000_000)
        with api_over(Unmeasured(backend, name="small"), archive=archive) as api:
            found = api.post("/v1/predict", request_of(cine, frame=2)).json()
            missing = request_of(cine)
            missing["source"]["dicomweb"]["instance"] = "1.2.3"
            assert api.post("/v1/predict", missing).status_code == 404
            sent = api.predict(cine.read_bytes(), {**BOX, "frame": 2}, name="x.dcm").json()
    assert found["predictions"] == sent["predictions"]
