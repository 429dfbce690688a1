"""The key of a shard depends on the raw data, not on where they are or how the code is organized."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.datasets.layouts import MAKERS
from tests.store.test_store import SEVERAL, make, make_store
from ultrasam.datasets.catalogue import dataset
from ultrasam.datasets.readers import paired_images
from ultrasam.store.journal import shards_of
from ultrasam.store.store import Store


def keys(name: str, root: Path, *, version: str = "1") -> list[str]:
    cases, _ = dataset(name).list_cases(root)
    return [shard.key for shard in shards_of(cases, version=version)]


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_moving_the_raw_folder_keeps_the_keys(name: str, tmp_path: Path) -> None:
    MAKERS[name](tmp_path / "here" / "raw")
    before = keys(name, tmp_path / "here" / "raw")
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert keys(name, tmp_path / "there" / "raw") == before


def test_renaming_the_readers_module_keeps_the_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    MAKERS["busi"](tmp_path)
    before = keys("busi", tmp_path)
    monkeypatch.setitem(sys.modules, "somewhere.else", paired_images)
    for function in (paired_images.read_pair, paired_images.paired):
        monkeypatch.setattr(function, "__module__", "somewhere.else")
    monkeypatch.setattr(paired_images.MaskOptions, "__module__", "somewhere.else")
    assert keys("busi", tmp_path) == before


def test_a_changed_file_changes_the_key(tmp_path: Path) -> None:
    MAKERS["busi"](tmp_path)
    before = keys("busi", tmp_path)
    image = next(tmp_path.rglob("*_mask.png"))
    stat = image.stat()
    os.utime(image, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert keys("busi", tmp_path) != before
    os.utime(image, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert keys("busi", tmp_path) == before
    image.write_bytes(image.read_bytes() + b"\0")
    os.utime(image, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert keys("busi", tmp_path) != before


def test_a_changed_table_changes_the_key(tmp_path: Path) -> None:
    """Tracings are read while cases are listed; the table is no file of any case."""
    MAKERS["echonet_dynamic"](tmp_path)
    before = keys("echonet_dynamic", tmp_path)
    table = next(tmp_path.rglob("VolumeTracings.csv"))
    text = table.read_text()
    assert "0X1A.avi,10,8,40,8,0" in text
    table.write_text(text.replace("0X1A.avi,10,8,40,8,0", "0X1A.avi,10,8,41,8,0"))
    assert keys("echonet_dynamic", tmp_path) != before


def test_another_version_of_the_reader_changes_the_key(tmp_path: Path) -> None:
    MAKERS["busi"](tmp_path)
    assert keys("busi", tmp_path, version="1") != keys("busi", tmp_path, version="2")


def test_a_moved_raw_folder_is_not_read_again(tmp_path: Path) -> None:
    make(tmp_path / "raw", *SEVERAL)
    make_store(tmp_path / "raw", tmp_path / "store")
    files = sorted((tmp_path / "store" / "journal").rglob("*.arrow"))
    written = [(file, file.stat().st_mtime_ns) for file in files]
    shutil.move(tmp_path / "raw", tmp_path / "elsewhere" / "raw")
    make_store(tmp_path / "elsewhere" / "raw", tmp_path / "store")
    assert [(file, file.stat().st_mtime_ns) for file in files] == written
    assert sorted((tmp_path / "store" / "journal").rglob("*.arrow")) == files


def test_a_store_with_the_keys_of_an_earlier_journal_opens_and_is_renewed(tmp_path: Path) -> None:
    make(tmp_path / "raw", "busi")
    make_store(tmp_path / "raw", tmp_path / "store")
    before = Store.open(tmp_path / "store").images
    for file in (tmp_path / "store" / "journal").rglob("*.arrow"):
        file.rename(file.with_name("0" * 32 + ".arrow"))
    assert Store.open(tmp_path / "store").images.equals(before)
    make_store(tmp_path / "raw", tmp_path / "store")
    assert Store.open(tmp_path / "store").images.equals(before)
    assert not list((tmp_path / "store" / "journal").rglob("0000*.arrow"))
