"""`ultrasam dicomweb` against a server of our own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.dicomweb.servers import Answer, Asked, fake, instance, listed, parts, uids
from tests.images.segmentations import write_dicom

Run = Callable[..., int]


def test_the_ultrasound_of_a_study_is_retrieved_each_to_a_file(
    tmp_path: Path, ultrasam: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    files = [write_dicom(tmp_path / f"{n}.dcm", 2) for n in range(3)]
    by_uid = {uids(file)[2]: file for file in files}

    def respond(asked: Asked) -> Answer:
        if asked.path.endswith("/instances"):
            return listed(*map(uids, files))
        uid = asked.path.rpartition("/")[2]
        return Answer(status=500) if uid == uids(files[1])[2] else parts(by_uid[uid].read_bytes())

    with fake(respond) as (root, _):
        study = f"{root}/studies/{uids(files[0])[0]}"
        assert ultrasam("dicomweb", "retrieve", study, "-o", tmp_path / "out") == 1
        told = capfd.readouterr()
        assert told.out.split() == [
            str(tmp_path / "out" / f"{uids(files[n])[2]}.dcm") for n in (0, 2)
        ]
        assert f"asked to retrieve instance 2 of 3 of {study} and answers 500" in told.err
        assert not any(uids(file)[2] in told.err for file in files)
        assert "1 of 3 instances failed." in told.err
        assert ultrasam("dicomweb", "retrieve", study, "-o", tmp_path / "out") == 1
        assert "--overwrite" in capfd.readouterr().err
    assert (tmp_path / "out" / f"{uids(files[0])[2]}.dcm").read_bytes() == files[0].read_bytes()


def test_files_that_are_not_stored_are_named_and_the_others_stored(
    tmp_path: Path, ultrasam: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    good = write_dicom(tmp_path / "good.dcm", 2)
    (tmp_path / "bad.dcm").write_bytes(b"no")

    def respond(asked: Asked) -> Answer:
        return Answer(b"{}") if asked.method == "POST" else listed(uids(good))

    with fake(respond) as (root, asked):
        assert ultrasam("dicomweb", "store", root, tmp_path / "bad.dcm", good) == 1
        told = capfd.readouterr()
        assert told.out.strip() == instance(root, good)
        assert "bad.dcm is not DICOM" in told.err
        assert [one.method for one in asked] == ["POST", "GET"]


def test_nothing_of_the_patient_is_shown(ultrasam: Run, capfd: pytest.CaptureFixture[str]) -> None:
    with fake(lambda _: listed(("1.2", "1.3", "1.4"))) as (root, _):
        for more in ([], ["--json"]):
            assert ultrasam("dicomweb", "search", root, *more) == 0
            told = capfd.readouterr()
            assert "1.4" in told.out
            assert "Möller" not in told.out + told.err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("retrieve", "https://host/dicom-web"), "is a whole server"),
        (("store", "https://host/dicom-web/studies/1.2", "a.dcm"), "give the server"),
        (("search", "host/dicom-web"), "is not the address"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: tuple[str, ...], text: str, ultrasam: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    assert ultrasam("dicomweb", *arguments) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert text in line
