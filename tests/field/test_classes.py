"""Images with classes: tables as spreadsheets save them, class folders, and masks among the images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.datasets.layouts import MAKERS
from tests.datasets.layouts.truth import disc, gray, picture, save
from ultrasam.downstream.class_files import ClassImages
from ultrasam.downstream.images import open_class_images
from ultrasam.errors import DataError

SHARED = Path(__file__).parents[3] / "shared"
Run = Callable[..., int]
LABELS = ("benign", "malignant")


def images(folder: Path, count: int = 6) -> list[str]:
    names = [f"im/p{i}.png" for i in range(count)]
    for i, name in enumerate(names):
        save(folder / name, picture(i, 8, 10))
    return names


def opened(folder: Path, content: str | bytes, name: str = "t.csv") -> ClassImages:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return open_class_images([str(folder / name)])


def rows_of(names: list[str], separator: str = ",", newline: str = "\n") -> str:
    rows = [separator.join((name, LABELS[i % 2])) for i, name in enumerate(names)]
    return newline.join([separator.join(("path", "label")), *rows]) + newline


# Tables


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16", "utf-16-le"]
)
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_a_table_of_any_encoding_and_separator(
    encoding: str, separator: str, tmp_path: Path
) -> None:
    names = images(tmp_path)
    text = rows_of(names, separator, "\r\n").replace("malignant", "bösartig")
    found = opened(tmp_path, text.encode(encoding))
    assert [image.name for image in found.images] == names
    assert found.classes == ["benign", "bösartig"]
    assert found.left_out == ()


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\nPath;Label\nim/p0.png;a\nim/p1.png;b\n",
        "\n\npath , LABEL\n im/p0.png , a\nim/p1.png,b\n,,\n",
        '"path","label"\r"im/p0.png","a"\r"im/p1.png","b"\r',
        '"path;x";label;path\n1;a;im/p0.png\n2;b;im/p1.png\n',
        "path,label\nim\\p0.png,a\n.\\IM\\P1.PNG,b\n",
        "path,label\nim/p0,a\nim/p1,b\n",
        "patient,label,path\ns1,a,im/p0.png\ns1,b,im/p1.png\n",
    ],
    ids=["excel", "blank", "mac", "quoted-header", "windows", "no-suffix", "patient"],
)
def test_spellings_of_tables(text: str, tmp_path: Path) -> None:
    images(tmp_path, 2)
    found = opened(tmp_path, text)
    assert [image.class_label for image in found.images] == ["a", "b"]
    assert found.left_out == ()
    if "patient" in text:
        assert {image.subject for image in found.images} == {"s1"}


@pytest.mark.parametrize(
    ("rows", "reasons"),
    [
        (["im/p4.png,"], ["line 6: no label for im/p4.png"]),
        (["im/p4.png, NaN "], ["line 6: no label for im/p4.png"]),
        ([",benign"], ["line 6: no path"]),
        (["im/p4.png"], ["line 6: 1 cells, but the header has 2"]),
        (["im/p4.png,benign,x"], ["line 6: 3 cells, but the header has 2"]),
        (["im/p9.png,benign"], ["line 6: im/p9.png does not exist"]),
        (["im/p3.png,malignant"], ["line 6: im/p3.png is listed before, in line 5"]),
        (["./im/P3.png,malignant"], ["line 6: ./im/P3.png is listed before, in line 5"]),
        (
            ["im/p4.png,benign", "im/p4.png,malignant"],
            [f"line {n}: im/p4.png has several labels, benign, malignant" for n in (6, 7)],
        ),
        (["im/twin.png,benign"], ["line 6: im/twin.png may be any of Twin.png, tWin.png"]),
        (["broken.png,benign"], ["line 6: "]),
        (["im,benign"], ["line 6: im does not exist"]),
    ],
)
def test_a_row_that_cannot_be_used_is_left_out_with_its_line(
    rows: list[str], reasons: list[str], tmp_path: Path
) -> None:
    names = images(tmp_path)
    for twin in ("Twin", "tWin"):
        save(tmp_path / "im" / f"{twin}.png", picture(1))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    found = opened(tmp_path, rows_of(names[:4]) + "\n".join(rows))
    assert [image.name for image in found.images] == names[:4]
    assert len(found.left_out) == len(reasons)
    for told, reason in zip(found.left_out, reasons, strict=True):
        assert told.startswith(f"t.csv, {reason}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('path,label\n"im/p0.png,a\nim/p1.png,b\n', "line 2: .*quotation"),
        ('path,label\n"im/p0.png,a\nim/p1.png,"b"\n', "line 2: .*quotation"),
        ('path,label\nim/p0.png,a\n"im/p1.png"x,b\n', "line 3: .*quotation"),
        ("path,label,label\nim/p0.png,a,b\n", "2 columns that give the label"),
        ("path,label,subject,patient\nim/p0.png,a,1,2\n", "2 columns that give the subject"),
        (
            "file;class\nim/p0.png;a\n",
            "has the columns file, class; 'path' and 'label' are required",
        ),
        ("", "has the columns none"),
        ("path,label\nim/p0.png,Benign\nim/p1.png,benign\n", "'Benign' and 'benign' differ only"),
        ("path,label\nim/p0.png,a\nim/p1.png,a\nim/p2.png,\n", "1 classes.*line 4: no label"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(text: str, message: str, tmp_path: Path) -> None:
    images(tmp_path, 3)
    with pytest.raises(DataError, match=message):
        opened(tmp_path, text)


@pytest.mark.parametrize("name", ["t.xlsx", "t.ods", "t.parquet"])
def test_a_spreadsheet_is_refused_with_what_to_do(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="save it as CSV, with columns path and label"):
        opened(tmp_path, b"PK", name)


def test_the_tables_reported_by_users() -> None:
    folder = SHARED / "field" / "classes-table"
    if not folder.is_dir():
        pytest.skip("the users' tables are not beside this checkout")
    latin = open_class_images([str(folder / "latin1.csv")])
    assert (len(latin.images), latin.left_out) == (6, ())
    back = open_class_images([str(folder / "backslash.csv")])
    assert (len(back.images), back.left_out) == (6, ())
    empty = open_class_images([str(folder / "empty_label.csv")])
    assert "" not in empty.classes
    assert (len(empty.images), len(empty.left_out)) == (6, 1)
    case = open_class_images([str(folder / "label_case.csv")])
    assert (len(case.images), case.classes) == (6, ["benign", "malignant"])
    assert [told.split(": ")[1] for told in case.left_out] == [
        "im/p0.png is listed before, in line 2", "im/p1.png is listed before, in line 3",
    ]  # fmt: skip


DAMAGES = (
    "missing column", "mark", "semicolon", "encoding", "duplicate", "missing file", "empty label", "ragged",
    "other label", "quote", "blank line", "zero byte", "broken image",
)  # fmt: skip


@settings(
    max_examples=60, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(damages=st.lists(st.sampled_from(DAMAGES), max_size=3), data=st.data())
def test_each_row_of_a_damaged_table_is_used_or_left_out_with_its_line(
    damages: list[str], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("t")
    rows = [[name, LABELS[i % 2], f"pätient{i}"] for i, name in enumerate(images(folder))]
    header, separator, encoding = ["path", "label", "subject"], ",", "utf-8"
    for damage in damages:
        row = data.draw(st.sampled_from([r for r in rows if len(r) == 3] or [["", "", ""]]))
        match damage:
            case "missing column":
                drop = data.draw(st.integers(0, len(header) - 1))
                header = header[:drop] + header[drop + 1 :] or ["path"]
                rows = [r[:drop] + r[drop + 1 :] for r in rows]
            case "mark":
                encoding = data.draw(st.sampled_from(["utf-8-sig", "utf-16"]))
            case "semicolon":
                separator = ";"
            case "encoding":
                encoding = data.draw(st.sampled_from(["latin-1", "cp1252"]))
            case "duplicate":
                rows.append(list(row))
            case "other label":
                rows.append([row[0], "other", row[2]])
            case "missing file":
                row[0] = data.draw(st.sampled_from(["gone.png", "../gone.png", "im", "x" * 300]))
            case "empty label":
                row[1] = data.draw(st.sampled_from(["", " ", "nan", "N/A"]))
            case "ragged":
                row += data.draw(st.sampled_from([["x"], ["x", "y"]]))
            case "quote":
                row[1] = data.draw(st.sampled_from(['"benign', 'be"nign']))
            case "blank line":
                rows.insert(data.draw(st.integers(0, len(rows))), [])
            case "zero byte":
                row[0] = "im/p\0.png"
            case "broken image":
                (folder / "im" / "p0.png").write_bytes(b"no picture")
    text = "\n".join(separator.join(row) for row in [header, *rows]) + "\n"
    filled = [number for number, row in enumerate(rows, 2) if "".join(row).strip()]
    try:
        found = opened(folder, text.encode(encoding, errors="replace"))
    except DataError as error:
        assert "\n" not in str(error)
        return
    assert len(found.images) + len(found.left_out) == len(filled)
    lines = Counter(int(told.split(":")[0].rsplit(" ", 1)[1]) for told in found.left_out)
    assert set(lines.values()) <= {1}
    assert set(lines) <= set(filled)


def test_a_split_that_is_none_is_told(tmp_path: Path) -> None:
    names = images(tmp_path)
    rows = [
        f"{name},{LABELS[i % 2]},{'Training' if i < 4 else 'fold7'}" for i, name in enumerate(names)
    ]
    found = opened(tmp_path, "path,label,Split\n" + "\n".join(rows))
    assert [image.split for image in found.images] == ["train"] * 4
    assert found.left_out[0] == "t.csv, line 6: the split 'fold7' is not train, val or test"


def test_a_file_of_several_frames_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = images(tmp_path, 2)
    pages = [Image.fromarray(picture(i)) for i in range(3)]
    pages[0].save(tmp_path / "im" / "stack.tif", save_all=True, append_images=pages[1:])
    found = opened(tmp_path, rows_of([*names, "im/stack.tif"]))
    assert len(found.images) == 3
    assert (
        "Of 1 files with several frames, only the first frame is used, as in im/stack.tif."
        in caplog.text
    )


# Folders


def breast(folder: Path, *, mask: str = "{}_mask") -> None:
    for i in range(6):
        label = LABELS[i % 2]
        save(folder / label / f"{label} ({i}).png", picture(i))
        save(folder / label / f"{mask.format(f'{label} ({i})')}.png", gray(disc(20 + i, 20, 9)))


@pytest.mark.parametrize("mask", ["{}_mask", "{}-seg", "{}_label", "mask_{}"])
def test_masks_beside_their_images_are_not_images(mask: str, tmp_path: Path) -> None:
    breast(tmp_path / "mine", mask=mask)
    found = open_class_images([str(tmp_path / "mine")])
    assert Counter(image.class_label for image in found.images) == dict.fromkeys(LABELS, 3)
    assert all(mask.replace("{}", "") not in image.name for image in found.images)
    assert found.left_out[0].startswith("6 masks, such as ")


@pytest.mark.parametrize("below", ["", "Dataset_BUSI_with_GT"])
def test_a_published_data_set_is_read_as_such_from_its_folder_and_the_one_above(
    below: str, tmp_path: Path
) -> None:
    made = MAKERS["busi"](tmp_path / "BUSI" / "Dataset_BUSI_with_GT")
    found = open_class_images([str(tmp_path / "BUSI" / below)])
    assert len(found.images) == len(made)
    assert {image.dataset for image in found.images} == {"busi"}
    assert Counter(i.class_label for i in found.images) == Counter(t.class_label for t in made)


def test_images_and_their_masks_are_no_classes(tmp_path: Path) -> None:
    for i in range(4):
        save(tmp_path / "mine" / "images" / f"{i}.png", picture(i))
        save(tmp_path / "mine" / "masks" / f"{i}.png", gray(disc(20, 20, 9)))
    with pytest.raises(
        DataError, match=r"found 0 readable images of 0 classes.*4 images without a"
    ):
        open_class_images([str(tmp_path / "mine")])


def test_folders_of_splits_are_no_classes(tmp_path: Path) -> None:
    for split in ("train", "valid", "Test"):
        for i, label in enumerate(LABELS):
            save(tmp_path / "mine" / split / label / f"{i}.png", picture(i))
    found = open_class_images([str(tmp_path / "mine")])
    assert found.classes == list(LABELS)
    assert Counter(image.split for image in found.images) == {"train": 2, "val": 2, "test": 2}


def test_images_in_folders_of_patients_stay_together(tmp_path: Path) -> None:
    for label in LABELS:
        for patient in ("p1", "p2"):
            for i in range(2):
                save(tmp_path / "mine" / label / patient / f"{i}.png", picture(i))
    found = open_class_images([str(tmp_path / "mine")])
    assert len(found.images) == 8
    assert Counter(image.subject for image in found.images) == {
        f"{label}/{patient}": 2 for label in LABELS for patient in ("p1", "p2")
    }


def test_nothing_in_class_folders_is_passed_over_in_silence(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    for i, label in enumerate(LABELS):
        save(root / label / f"{i}.png", picture(i))
    (root / "benign" / "notes.txt").write_text("x")
    (root / "benign" / "IM000001").write_bytes(b"nothing")
    (root / "malignant" / "cut.png").write_bytes((root / "malignant" / "1.png").read_bytes()[:60])
    save(root / "stray.png", picture(5))
    (root / "benign" / "Thumbs.db").write_bytes(b"x")
    found = open_class_images([str(root)])
    assert len(found.images) == 2
    assert sorted(told.split(":")[0] for told in found.left_out) == [
        "benign/IM000001", "benign/notes.txt", "malignant/cut.png", "stray.png",
    ]  # fmt: skip


def test_dicom_files_without_a_suffix_are_images(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    from pydicom.uid import ExplicitVRLittleEndian

    for i, label in enumerate(LABELS):
        header = pydicom.dataset.FileMetaDataset()
        header.TransferSyntaxUID = ExplicitVRLittleEndian
        made = pydicom.dataset.FileDataset("", {}, file_meta=header, preamble=b"\0" * 128)
        made.Rows, made.Columns, made.SamplesPerPixel = 64, 80, 1
        made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
        made.PhotometricInterpretation = "MONOCHROME2"
        made.PixelData = picture(i).tobytes()
        (tmp_path / label).mkdir()
        made.save_as(tmp_path / label / f"IM00000{i}", enforce_file_format=False)
    found = open_class_images([str(tmp_path)])
    assert [image.name for image in found.images] == ["benign/IM000000", "malignant/IM000001"]
    assert np.array_equal(found.images[0].gray, picture(0))


def test_what_is_left_out_is_said(
    tmp_path: Path, ultrasam: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    names = images(tmp_path)
    table = tmp_path / "t.csv"
    table.write_text(rows_of(names[:4]) + "im/p4.png,\nim/p9.png,benign\n")
    status = ultrasam("finetune", "classify", "--data", table, "--folds", 5, "-o", tmp_path / "out")
    assert status == 1
    error = capsys.readouterr().err
    assert (
        "Left out: t.csv, line 6: no label for im/p4.png; t.csv, line 7: im/p9.png does not"
        in error
    )
    assert "too few subjects" in error
