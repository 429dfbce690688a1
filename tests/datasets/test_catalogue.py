"""Data sets that the catalog knows beyond the 43, with a reader and without one."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from tests.datasets.layouts import MAKERS
from ultrasam.datasets import beyond, description
from ultrasam.datasets.catalogue import (
    catalogue,
    dataset,
    facts,
    find_facts,
    has_reader,
    recognize,
    without_reader,
)
from ultrasam.datasets.description import UNKNOWN, DatasetInfo
from ultrasam.datasets.discover import find_datasets
from ultrasam.datasets.downloads import how_to_get
from ultrasam.errors import DataError

# Data sets beyond the 43 that are known to exist; a reader may be written for any of them.
KNOWN = {
    "pu2756", "fshd_heckmatt", "lumbar_spine", "iugc", "prostate_mri_us_biopsy",
    "mu_reg_pro_holdout", "bratious", "remind", "resect", "gl261", "porcine_spinal_cord",
    "c_trus", "luminous", "optic_nerve_sheath", "cca", "pfus", "fugc", "cdnet", "cardiacnet",
    "ultrabones100k", "ultrabones_hip", "testiculus", "pleural_line", "oasbud", "mid",
    "tdsc_abus_2023", "uf1990", "normal_kidney", "rvenet", "tn5000", "fpus23", "gbcu", "busis",
    "trusted", "mitea", "echonet_lvh",
}  # fmt: skip
ROWS = beyond.rows()


def names_of(info: DatasetInfo) -> set[str]:
    names = (info.id, info.name, *info.folders, *info.generic_folders)
    return {re.sub(r"[^a-z0-9]", "", name.casefold()) for name in names}


def test_the_catalog_has_the_43_those_with_a_reader_and_those_without() -> None:
    assert set(facts()) == set(catalogue()) | set(ROWS)
    assert not set(catalogue()) & set(ROWS)
    assert set(facts()) >= KNOWN
    assert sum(info.part_of_paper for info in facts().values()) == 43
    assert not any(info.part_of_paper for info in ROWS.values())


def test_no_name_of_a_data_set_without_a_reader_is_that_of_another() -> None:
    for row in ROWS.values():
        for other in facts().values():
            assert other.id == row.id or not names_of(row) & names_of(other), (row.id, other.id)


@pytest.mark.parametrize("info", facts().values(), ids=facts())
def test_what_is_not_known_is_said_to_be_unknown(info: DatasetInfo) -> None:
    assert re.fullmatch(r"[a-z0-9_]{1,40}", info.id)
    for field in fields(info):
        optional = field.default in ("", (), None)  # names of folders, notes and the like
        assert optional or getattr(info, field.name) not in ("", (), None, "?"), field.name
    assert info.url == UNKNOWN or info.url.startswith("http")
    assert info.access in get_args(description.Access)
    assert info.kind in get_args(description.Kind)
    assert info.annotation in get_args(description.Annotation)
    assert all(info.structures)
    assert info.citation == UNKNOWN or re.match(r"@\w+\{[\w.-]+,\n", info.citation)
    assert has_reader(info) is (info.layout != UNKNOWN)


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_data_set_without_a_reader_says_what_to_do(row: DatasetInfo) -> None:
    assert find_facts(row.name) is row
    with pytest.raises(DataError) as refused:
        dataset(row.id)
    said = str(refused.value)
    assert said.startswith(f"UltraSam has no reader for {row.name}; ")
    assert said.count("\n") == 0
    if row.annotation == "boxes":
        assert "needs masks" in said
    else:
        assert f"ultrasam data import FOLDER --format masks --name {row.id} -o STORE" in said
    assert ("frames" in said) is (row.kind == "cine" and row.annotation != "boxes")
    assert ("slices" in said) is (row.kind == "volume" and row.annotation != "boxes")
    told = how_to_get(row)
    assert "folder named" not in told
    assert (row.url in told) is (row.url != UNKNOWN and row.download is None)


def test_a_misspelled_name_is_answered_with_one_that_has_no_reader_either() -> None:
    with pytest.raises(DataError, match="Did you mean bratious"):
        dataset("BraTiUS")
    with pytest.raises(DataError, match="ultrasam data list --all"):
        find_facts("no such thing")


def test_a_folder_name_that_several_data_sets_share_names_none_of_them() -> None:
    """Which of them a folder holds, its reader tells; see also tests/field/test_store.py."""
    owners: dict[str, set[str]] = {}
    for info in facts().values():
        for folder in info.generic_folders:
            owners.setdefault(folder.casefold(), set()).add(info.id)
    shared = {folder: ids for folder, ids in owners.items() if len(ids) > 1}
    assert shared == {"us_data": {"jnu_ifm", "segthy"}}
    for find in (dataset, find_facts):
        with pytest.raises(DataError) as refused:
            find("US_data")
        assert str(refused.value) == (
            "Several data sets have folders named 'US_data'; use jnu_ifm or segthy."
        )


def pair(folder: Path) -> None:
    """An image and its mask."""
    mask = np.zeros((40, 50), np.uint8)
    mask[10:20, 15:35] = 255
    for name, pixels in (("images", np.full_like(mask, 90)), ("masks", mask)):
        (folder / name).mkdir(parents=True)
        Image.fromarray(pixels).save(folder / name / "1.png")


def test_a_folder_of_a_data_set_without_a_reader_is_not_taken_for_another(tmp_path: Path) -> None:
    pair(tmp_path / "TN5000")
    assert recognize(tmp_path / "TN5000") is None
    assert without_reader(tmp_path / "TN5000") is ROWS["tn5000"]
    assert without_reader(tmp_path) is None
    with pytest.raises(DataError) as refused:
        find_datasets([str(tmp_path)])
    assert str(refused.value).startswith(f"{tmp_path / 'TN5000'} cannot be read: UltraSam has no")
    with pytest.raises(DataError, match="UltraSam has no reader for TN5000; it has boxes"):
        find_datasets([f"tn5000={tmp_path}"])
    with pytest.raises(DataError, match="UltraSam has no reader for TN5000"):
        find_datasets([str(tmp_path)], only=["tn5000"])


def test_a_folder_of_an_unknown_name_beside_data_sets_is_said_to_be_left_out(
    tmp_path: Path,
) -> None:
    MAKERS["busi"](tmp_path / "2024" / "BUSI")
    pair(tmp_path / "my scans")
    (tmp_path / ".cache").mkdir()
    left_out: list[str] = []
    find_datasets([str(tmp_path)], left_out=left_out.append)
    (said,) = left_out
    assert said.startswith(
        f"{tmp_path / 'my scans'} is left out: no data set of the catalog has this name."
    )
    assert f"add NAME={tmp_path / 'my scans'};" in said
    left_out.clear()
    find_datasets([str(tmp_path)], only=["busi"], left_out=left_out.append)
    find_datasets([str(tmp_path / "2024" / "BUSI")], left_out=left_out.append)
    assert not left_out  # only one was asked for; and what a data set holds is its reader's to tell


def test_beside_other_data_sets_it_is_left_out_and_said_to_be(tmp_path: Path) -> None:
    MAKERS["busi"](tmp_path / "BUSI")
    pair(tmp_path / "BraTioUS")
    left_out: list[str] = []
    found = find_datasets([str(tmp_path)], left_out=left_out.append)
    assert [spec.info.id for spec, _ in found] == ["busi"]
    (said,) = left_out
    assert said.startswith(f"{tmp_path / 'BraTioUS'} is left out: UltraSam has no reader for BraT")


def test_a_data_set_inside_a_folder_of_that_name_is_found(tmp_path: Path) -> None:
    MAKERS["busi"](tmp_path / "MID" / "BUSI")
    left_out: list[str] = []
    found = find_datasets([str(tmp_path / "MID")], left_out=left_out.append)
    assert [spec.info.id for spec, _ in found] == ["busi"]
    assert not left_out
