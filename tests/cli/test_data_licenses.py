"""`ultrasam data licenses`, and what other commands say of licenses and of data sets without a reader."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.test_data_cli import Run, data
from tests.datasets.layouts import MAKERS
from tests.datasets.test_catalogue import ROWS, pair
from ultrasam.datasets.catalogue import catalogue, facts
from ultrasam.datasets.licenses import MEANING, Tier, terms_of
from ultrasam.store.store import Store

__all__ = ["data"]  # a fixture
DOCS = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
BY_TIER = {tier: [i for i in facts().values() if terms_of(i).tier is tier] for tier in Tier}


@pytest.fixture
def store(data: Run, tmp_path: Path) -> Path:
    """Two published data sets, one of them for noncommercial research, and one of a user's own."""
    for name in ("busi", "camus"):
        MAKERS[name](tmp_path / "raw" / name)
    pair(tmp_path / "mine")
    out = tmp_path / "store"
    assert data("build", tmp_path / "raw", "-o", out, "--workers", 0).status == 0
    assert add(data, tmp_path, "mine").status == 0
    return out


def add(data: Run, base: Path, name: str, *options: str):  # type: ignore[no-untyped-def]
    return data("import", base / "mine", "--format", "masks", "--name", name, "-o", base / "store",
                "--workers", 0, *options)  # fmt: skip


def test_the_licenses_of_a_store_are_told_with_counts_and_citations(data: Run, store: Path) -> None:
    told = data("licenses", store)
    assert told.status == 0
    found = json.loads(data("licenses", store, "--json").out)
    rows = {row["id"]: row for row in found["datasets"]}
    assert {name: row["tier"] for name, row in rows.items()} == {
        "busi": "ship", "camus": "research", "mine": "measure",
    }  # fmt: skip
    assert rows["mine"]["license"] == "unknown"
    assert rows["mine"]["license_in_catalog"] is None
    assert rows["camus"]["share_alike"]
    opened = Store.open(store)
    images, objects = opened.images_df(), opened.instances_df()
    for name, row in rows.items():
        assert row["images"] == len(images.filter(images["dataset"].cast(str) == name))
        assert row["objects"] == len(objects.filter(objects["dataset"].cast(str) == name))
        assert re.search(rf"^\s*{name}\s", told.out, re.MULTILINE)
    assert found["totals"] == {
        group: {
            "datasets": len(names),
            "images": sum(rows[name]["images"] for name in names),
            "objects": sum(rows[name]["objects"] for name in names),
        }
        for group, names in {
            "trained_on": ["busi", "camus"], "noncommercial_only": ["camus"], "shipped": ["busi"],
            "only_measured_with": ["mine"],
        }.items()
    }  # fmt: skip
    lines = told.out.splitlines()
    assert any(line.startswith("May be trained on: 2 data sets, ") for line in lines)
    assert f"May be shipped: 1 data set, {rows['busi']['images']} images" in told.out
    assert "Only measured with: 1 data set, 1 image, 1 object" in lines
    assert "This is a reading of the stated licenses, not legal advice." in lines
    assert rows["busi"]["citation"].startswith("@article{aldhabyani2020,")
    assert rows["busi"]["citation"] in told.out
    assert "mine: no citation is known." in lines


def test_a_license_that_has_changed_since_a_store_was_built_is_told_and_the_stricter_counts(
    data: Run, store: Path
) -> None:
    path = store / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["datasets"]["busi"]["license"] = "CC BY-NC 4.0"
    manifest["datasets"]["camus"]["license"] = "CC0"
    path.write_text(json.dumps(manifest), encoding="utf-8")
    told = data("licenses", store)
    for name, old, new in (("busi", "CC BY-NC 4.0", "busi"), ("camus", "CC0", "camus")):
        license_now = facts()[new].license
        assert (
            f"{name}: the store says '{old}', the catalog '{license_now}'; the stricter counts."
            in told.out.splitlines()
        )
    rows = {r["id"]: r for r in json.loads(data("licenses", store, "--json").out)["datasets"]}
    assert rows["busi"]["tier"] == rows["camus"]["tier"] == "research"


def test_an_import_records_a_license_and_keeps_it(data: Run, store: Path, tmp_path: Path) -> None:
    def recorded(name: str) -> str:
        text = (store / "manifest.json").read_text(encoding="utf-8")
        return str(json.loads(text)["datasets"][name]["license"])

    assert recorded("mine") == "unknown"
    told = add(data, tmp_path, "mine", "--license", "CC BY 4.0")
    assert told.status == 0
    assert "mine: license CC BY 4.0: may be trained on and shipped (with attribution)." in told.err
    assert recorded("mine") == "CC BY 4.0"
    assert add(data, tmp_path, "mine").status == 0
    assert recorded("mine") == "CC BY 4.0"
    assert add(data, tmp_path, "mine", "--license", "").status == 0
    assert recorded("mine") == "unknown"


def test_a_data_set_without_a_reader_is_imported_under_its_id_with_its_facts(
    data: Run, store: Path, tmp_path: Path
) -> None:
    row = next(row for row in ROWS.values() if terms_of(row).tier is Tier.SHIP)
    told = add(data, tmp_path, row.id)
    assert told.status == 0
    assert f"{row.id} is recorded as the published data set {row.name}" in told.err
    entry = json.loads((store / "manifest.json").read_text(encoding="utf-8"))["datasets"][row.id]
    assert (entry["name"], entry["license"], entry["citation"], entry["url"]) == (
        row.name, row.license, row.citation, row.url,
    )  # fmt: skip
    add(data, tmp_path, "testiculus", "--license", "CC0")
    rows = {r["id"]: r for r in json.loads(data("licenses", store, "--json").out)["datasets"]}
    assert rows[row.id]["tier"] == "ship"
    assert rows["testiculus"]["tier"] == "measure"  # it is given on request, whatever one says
    told = data("licenses", store)
    assert (
        "testiculus: the store says 'CC0', the catalog 'CC BY-NC-SA 4.0'; the stricter" in told.out
    )
    refused = add(data, tmp_path, "busi")
    assert (refused.status, "choose another --name" in refused.err) == (1, True)


def test_a_data_set_of_ones_own_is_not_taken_for_a_published_one_of_that_id(
    data: Run, store: Path
) -> None:
    path = store / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    own = manifest["datasets"].pop("mine") | {"license": "CC BY 4.0"}
    manifest["datasets"]["trusted"] = own
    path.write_text(json.dumps(manifest), encoding="utf-8")
    rows = {r["id"]: r for r in json.loads(data("licenses", store, "--json").out)["datasets"]}
    assert (rows["trusted"]["tier"], rows["trusted"]["license_in_catalog"]) == ("ship", None)
    own["name"] = facts()["trusted"].name
    path.write_text(json.dumps(manifest), encoding="utf-8")
    rows = {r["id"]: r for r in json.loads(data("licenses", store, "--json").out)["datasets"]}
    assert rows["trusted"]["tier"] == "measure"


def test_a_download_says_that_there_is_no_reader(
    data: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = data("fetch", "gl261", "-o", tmp_path)
    assert told.status == 1
    assert told.err.strip() == (
        "ultrasam: Mouse brain tumor GL261 cannot be downloaded automatically: download it from "
        "https://doi.org/10.6084/m9.figshare.27237894."
    )
    monkeypatch.setattr("ultrasam.datasets.downloads.list_files", lambda _info: [])
    (tmp_path / "oasbud").mkdir()
    told = data("fetch", "oasbud", "-o", tmp_path)
    assert told.status == 0
    assert "UltraSam has no reader for OASBUD; import its images and masks with:" in told.err


def test_without_a_store_the_whole_catalog_is_listed_by_tier(data: Run) -> None:
    told = data("licenses")
    assert told.status == 0
    parts = re.split(r"^(ship|research|measure): ", told.out, flags=re.MULTILINE)[1:]
    assert parts[::2] == [tier.value for tier in Tier]
    for tier, part in zip(Tier, parts[1::2], strict=True):
        assert part.startswith(MEANING[tier])
        shown = set(re.findall(r"^\s*([a-z0-9_]+)\s.*\s(?:yes|no)\s*$", part, re.MULTILINE))
        assert shown == {info.id for info in BY_TIER[tier]}
    assert f"May be shipped: {len(BY_TIER[Tier.SHIP])} data sets" in told.out
    assert f"Only measured with: {len(BY_TIER[Tier.MEASURE])} data sets" in told.out
    found = json.loads(data("licenses", "--json").out)
    assert {row["id"]: row["tier"] for row in found["datasets"]} == {
        name: terms_of(info).tier.value for name, info in facts().items()
    }
    assert found["totals"]["shipped"] == {"datasets": len(BY_TIER[Tier.SHIP])}


def test_the_other_spelling_is_understood_and_not_shown(data: Run) -> None:
    assert data("licences").out == data("licenses").out
    assert "licences" not in data("--help").out
    nowhere = data("licenses", "nowhere")
    assert nowhere.status == 1
    assert len(nowhere.err.strip().splitlines()) == 1


def test_the_list_tells_tiers_and_readers(data: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = json.loads(data("list", "--all", "--json").out)
    assert {row["id"]: row["reader"] for row in rows} == {
        name: name in catalogue() for name in facts()
    }
    for tier in Tier:
        listed = json.loads(data("list", "--all", "--json", "--tier", tier.value).out)
        assert {row["id"] for row in listed} == {info.id for info in BY_TIER[tier]}
        assert {row["tier"] for row in listed} == {tier.value}
    monkeypatch.setenv("COLUMNS", "100")
    shown = data("list", "--all").out
    assert max(map(len, shown.splitlines())) <= 100
    assert "…" not in shown
    assert re.search(r"^\s*tn5000\s.*\smeasure\s+no\s*$", shown, re.MULTILINE)
    assert re.search(r"^\s*busi\s.*\sship\s+yes\s*$", shown, re.MULTILINE)


def test_info_tells_the_use_in_a_line_and_what_to_do_without_a_reader(data: Run) -> None:
    for name, info in facts().items():
        told = data("info", name)
        assert told.status == 0, name
        assert f"Use:            {terms_of(info)}" in told.out.splitlines(), name
        assert ("UltraSam has no reader for" in told.out) is (name in ROWS), name
        assert ("ultrasam data build" in told.out) is (name in catalogue()), name
    found = json.loads(data("info", "TN5000", "--json").out)
    assert (found["reader"], found["tier"]) == (False, "measure")


def test_a_build_refuses_a_data_set_without_a_reader_in_one_sentence(
    data: Run, tmp_path: Path
) -> None:
    (tmp_path / "x").mkdir()
    told = data("build", f"tn5000={tmp_path / 'x'}", "-o", tmp_path / "store")
    assert told.status == 1
    assert told.err.strip() == (
        "ultrasam: UltraSam has no reader for TN5000; it has boxes without outlines, and UltraSam needs "
        "masks."
    )
    assert not (tmp_path / "store").exists()


def test_a_build_tells_which_folder_it_leaves_out(data: Run, tmp_path: Path) -> None:
    MAKERS["busi"](tmp_path / "raw" / "BUSI")
    pair(tmp_path / "raw" / "BraTioUS")
    told = data("build", tmp_path / "raw", "-o", tmp_path / "store", "--workers", 0)
    assert told.status == 0
    assert f"{tmp_path / 'raw' / 'BraTioUS'} is left out: UltraSam has no reader for" in told.err


def test_the_documentation_counts_as_the_commands_do() -> None:
    """Where this fails: write the numbers of 'ultrasam data licenses' into docs/data.md."""
    for what, count in (
        ("all", len(facts())),
        ("beyond the 43, with a reader", len(catalogue()) - 43),
        ("beyond the 43, without a reader", len(ROWS)),
    ):
        assert f"| {what} | {count} |" in DOCS
    for tier in Tier:
        assert f"| `{tier.value}` | {len(BY_TIER[tier])} |" in DOCS
