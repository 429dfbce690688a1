"""Which files are meant: folders as scanners write them, names in other files, names for results."""

from __future__ import annotations

import logging
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.images.files import dicom_bytes
from ultrasam.errors import ScanError
from ultrasam.inference.inputs import ResultNames, find_inputs, match_names, stem_of

DICOM = dicom_bytes(np.arange(600, dtype=np.uint8).reshape(20, 30))
# A directory of files, as on a CD: the preamble, then its own SOP class.
DICOMDIR = bytes(128) + b"DICM" + bytes(60) + b"1.2.840.10008.1.3.10\0" + bytes(200)


def put(root: Path, *names: str, data: bytes = b"") -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def names_in(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in find_inputs([str(root)])]


def test_a_folder_gives_dicom_files_of_any_name(tmp_path: Path) -> None:
    dicom = ["IM000001", "S1/IM_0002", "1.2.840.113619.2.1", "1.2.840.113619.2.2", "a.DCM", "x.v2"]
    put(tmp_path, *dicom, data=DICOM)
    put(tmp_path, "DICOMDIR", "S1/dicomdir.bak", data=DICOMDIR)
    put(tmp_path, "readme", "viewer.exe", "S1/notes.txt", data=b"MZ not an image" * 20)
    put(tmp_path, "empty")
    assert sorted(names_in(tmp_path)) == sorted(dicom)


def test_what_is_no_image_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(tmp_path, "a.png", "b.webp", "c.webp", "notes", ".hidden.png", ".cache/d.png", data=b"x")
    with caplog.at_level(logging.INFO, "ultrasam"):
        assert names_in(tmp_path) == ["a.png"]
    assert "left out 3 files that are not images (2 × .webp, 1 × no suffix)" in caplog.text
    (tmp_path / "e").mkdir()
    with pytest.raises(ScanError, match="holds no images"):
        find_inputs([str(tmp_path / "e")])


def test_links_are_followed_once_and_broken_ones_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, "data/p1/a.png", "elsewhere/b.png")
    try:
        (tmp_path / "data/p2").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "data/p2/again").symlink_to(tmp_path / "data")  # a circle
        (tmp_path / "data/gone.png").symlink_to(tmp_path / "nowhere.png")
    except OSError:
        pytest.skip("this file system has no links")
    with caplog.at_level(logging.INFO, "ultrasam"):
        assert names_in(tmp_path / "data") == ["p1/a.png", "p2/b.png"]
    assert "left out 1 file that is not an image (1 × broken link)" in caplog.text


def test_results_of_an_earlier_prediction_are_not_segmented(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, "a.png", "x_overlay.png", "kidney_mask_1.png")
    put(tmp_path / "runs/predict/in", "a_mask_0.png", "a_mask_12.png", "a_overlay.png")
    put(tmp_path / "runs/predict/in", "a_labels.png", "predictions.json", "b.png")
    put(tmp_path / "runs/predict/in", "a_mask_0_small.png", "a_candidates_0.png")
    with caplog.at_level(logging.INFO, "ultrasam"):
        found = names_in(tmp_path)
    # Without a table of results beside them, such names are the user's own.
    assert found == ["a.png", "kidney_mask_1.png", "runs/predict/in/b.png", "x_overlay.png"]
    assert "left out 6 results of earlier predictions" in caplog.text


def test_a_file_given_twice_is_one_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a.png")
    monkeypatch.chdir(tmp_path)
    given = ["a.png", "./a.png", str(tmp_path), "*.png", str(tmp_path / "a.png")]
    assert find_inputs(given) == [Path("a.png")]
    (tmp_path / "only_folders.d").mkdir()
    with pytest.raises(ScanError, match="No file matches"):
        find_inputs(["only*"])


def meant(names: list[str], files: list[str], folder: str = "elsewhere") -> dict[str, str]:
    found = match_names([Path(f) for f in files], names, folder=Path(folder))
    for name in found.unused:
        assert name in names
    return {
        **{str(path): name for path, name in found.names.items()},
        **{str(path): f"? {reason}" for path, reason in found.ambiguous.items()},
    }


NFC, NFD = (unicodedata.normalize(form, "Schädel.png") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("name", "file"),
    [
        (NFC, NFD),
        (NFD, NFC),
        ("./p.png", "p.png"),
        ("p.png", "./p.png"),
        ("x/img.png", "a/x/img.png"),
        ("x\\img.png", "a/x/img.png"),
        ("X/Img.PNG", "a/x/img.png"),
        ("img.png", "/data/a/x/img.png"),
        ("a//x/./img.png", "/data/a/x/img.png"),
        ("/data/x.png", "/data/x.png"),
        ("../x/a.png", "x/../../x/a.png"),
    ],
)
def test_a_name_means_the_file_however_it_is_written(name: str, file: str) -> None:
    assert meant([name], [file]) == {str(Path(file)): name}


@pytest.mark.parametrize(
    ("name", "file"),
    [("mg.png", "img.png"), ("y/img.png", "x/img.png"), ("/x/img.png", "a/x/img.png"),
     ("img", "img.png"), ("", "img.png"), ("..", "img.png"), ("img.png/", "a/img.png.png")],
)  # fmt: skip
def test_a_part_of_a_name_means_nothing(name: str, file: str) -> None:
    assert meant([name], [file]) == {}


def test_the_longer_of_two_names_wins_and_files_of_one_name_are_told_apart() -> None:
    files = ["p1/img.png", "p2/img.png"]
    assert meant(["p1/img.png", "p2/img.png"], files) == {f: f for f in files}
    assert meant(["p1/img.png", "img.png"], files) == {files[0]: files[0], files[1]: "img.png"}
    told = meant(["img.png"], files)
    assert set(told) == set(files)
    assert told["p1/img.png"] == "? 'img.png' may mean p1/img.png or p2/img.png"
    # Relative to the current folder or to the file that holds the names, it is one of them.
    assert meant(["img.png"], ["img.png", "p1/img.png"]) == {"img.png": "img.png"}
    assert meant(["img.png"], files, folder="p2") == {"p2/img.png": "img.png"}


def test_case_tells_files_apart_where_it_must() -> None:
    assert meant(["A.png", "a.png"], ["A.png", "a.png"]) == {"A.png": "A.png", "a.png": "a.png"}
    assert meant(["a.png"], ["A.png", "a.png"]) == {"a.png": "a.png"}
    assert meant(["A.png", "a.png"], ["a.png"]) == {"a.png": "a.png"}
    assert meant(["A.PNG", "A.png"], ["a.png"]) == {
        "a.png": "? 'A.PNG' and 'A.png' both mean a.png"
    }
    assert meant(["./a.png", "a.png"], ["a.png"])["a.png"].startswith("? ")


PARTS = st.lists(st.sampled_from(["a", "b", "A", "ä", "x.png", "X.png"]), min_size=1, max_size=4)


@given(st.lists(PARTS, max_size=5), st.lists(PARTS, max_size=5))
def test_every_file_has_one_name_or_a_reason_and_every_name_is_used_or_told(
    files: list[list[str]], names: list[list[str]]
) -> None:
    paths = [Path("/", *parts) for parts in files]
    texts = ["/".join(parts) for parts in names]
    found = match_names(list(dict.fromkeys(paths)), texts, folder=Path("/f"))
    assert not set(found.names) & set(found.ambiguous)
    for path, name in found.names.items():
        assert path.as_posix().casefold().endswith("/" + name.casefold())
    in_doubt = " ".join(found.ambiguous.values())
    for name in texts:
        assert name in found.unused or name in found.names.values() or f"'{name}'" in in_doubt


def test_result_names_are_never_used_twice() -> None:
    names = ResultNames()
    paths = ["x/a.png", "y/a.png", "z/a_2.png", "z/A.bmp", "a_2_2.png", "a"]
    found = [names.take(stem_of(Path(path))) for path in paths]
    assert found == ["a", "a_2", "a_2_2", "A_3", "a_2_2_2", "a_4"]


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a.png", "a"), ("v.NII.GZ", "v"), ("1.2.840.113619.2.1", "1.2.840.113619.2.1"),
     ("IM000001", "IM000001"), ("a.b.tiff", "a.b"), (".png", ".png"), ("x.0012.dcm", "x.0012")],
)  # fmt: skip
def test_only_the_suffix_of_a_format_is_dropped(name: str, stem: str) -> None:
    assert stem_of(Path("in", name)) == stem


@given(st.lists(st.sampled_from(["a", "A", "a_2", "a_2_2", "ä", "a_3"]), max_size=9))
def test_result_names_differ_on_any_disk(wanted: list[str]) -> None:
    names = ResultNames()
    found = [unicodedata.normalize("NFC", names.take(name)).casefold() for name in wanted]
    assert len(set(found)) == len(found)


def test_masks_beside_images_are_not_segmented(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, "x.jpg", "x_mask.png", "y.png", "images/z.png", "masks/z.png", "only_mask.png")
    with caplog.at_level(logging.INFO, "ultrasam"):
        assert names_in(tmp_path) == ["images/z.png", "x.jpg", "y.png"]
    assert "left out 3 masks, such as masks/z.png" in caplog.text
    assert find_inputs([str(tmp_path / "x_mask.png")]) == [tmp_path / "x_mask.png"]
    assert names_in(tmp_path / "masks") == ["z.png"]


def test_an_image_beside_results_of_ours_is_still_an_image(tmp_path: Path) -> None:
    put(tmp_path, "a_mask.png", "predictions.json")
    assert names_in(tmp_path) == ["a_mask.png"]
