"""What is known to be wrong in the data sets has no effect, or is told."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.datasets.layouts import MAKERS
from tests.datasets.layouts.truth import disc, gray, picture, save
from tests.store.test_store import make_store
from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.datasets.catalogue import catalogue, dataset, facts
from ultrasam.datasets.file_tree import Skip
from ultrasam.datasets.overlaps import seen_by
from ultrasam.store.splits import EXCLUDED, SplitFractions
from ultrasam.store.store import Store
from ultrasam.store.validate import validate_store

THIRDS = SplitFractions(val=0.3, test=0.3)


def images(name: str, root: Path) -> list[AnnotatedImage]:
    return list(dataset(name).images(root))


def splits_of_sources(store: Path) -> dict[str, str]:
    """The split of each image, by the name of its file."""
    table = Store.open(store).images
    names = [source.rsplit("/", 1)[-1] for source in table["source"].to_pylist()]
    return dict(zip(names, table["split"].to_pylist(), strict=True))


def test_the_inner_validation_flags_of_bus_bra_split_no_patient(tmp_path: Path) -> None:
    base = tmp_path / "raw" / "bus_bra" / "BUSBRA"
    rows, patients = ["ID,Pathology,kFold,Valid1,Valid2"], ["ID,Case,Pathology,BBOX"]
    for case in range(1, 41):
        for side in ("l", "r"):
            name = f"{case:04d}-{side}"
            save(base / "Images" / f"bus_{name}.png", picture(2 * case + (side == "r")))
            save(base / "Masks" / f"mask_{name}.png", gray(disc(40, 30, 10)))
            fold, flag = 1 + case % 5, int(side == "l")  # the flags part left from right
            rows.append(f"bus_{name},benign,{fold},{flag},{1 - flag}")
            patients.append(f"bus_{name},{case},benign,[900 900 9 9]")  # a box outside of the mask
    (base / "5-fold-cv.csv").write_text("\n".join(rows))
    (base / "bus_data.csv").write_text("\n".join(patients))
    make_store(tmp_path / "raw", tmp_path / "store", split_fractions=THIRDS)
    found = splits_of_sources(tmp_path / "store")
    for case in range(1, 41):
        left, right = found[f"bus_{case:04d}-l.png"], found[f"bus_{case:04d}-r.png"]
        assert left == right != EXCLUDED
        assert (left == "test") == (case % 5 == 0)  # fold 1
    assert {"train", "val", "test"} == set(found.values())
    for image in images("bus_bra", tmp_path / "raw"):
        assert np.array_equal(image.mask(0), disc(40, 30, 10))


@pytest.mark.parametrize("official", [False, True])
def test_patients_33_and_68_of_camus_are_one_subject(tmp_path: Path, official: bool) -> None:
    raw = tmp_path / "raw" / "camus"
    MAKERS["camus"](raw)
    first = raw / "database_nifti" / "patient0007"
    (raw / "subgroup_validation.txt").unlink()
    for number in ("0033", "0068"):
        copy = first.with_name(f"patient{number}")
        shutil.copytree(first, copy)
        for file in list(copy.iterdir()):
            file.rename(copy / file.name.replace("0007", number))
    shutil.rmtree(first)
    if official:
        (raw / "subgroup_training.txt").write_text("patient0033\n")
        (raw / "subgroup_testing.txt").write_text("patient0068\n")
    subjects = {image.subject for image in images("camus", raw)}
    assert subjects == {"patient0033"}
    make_store(tmp_path / "raw", tmp_path / "store", split_fractions=THIRDS)
    store = Store.open(tmp_path / "store")
    assert not list(validate_store(store))
    table = store.images
    pairs = zip(table["source"].to_pylist(), table["split"].to_pylist(), strict=True)
    of_patient: dict[str, set[str]] = {"0033": set(), "0068": set()}
    for source, split in pairs:
        of_patient["0033" if "patient0033" in source else "0068"].add(split)
    if official:  # the published test images stay
        assert of_patient == {"0033": {EXCLUDED}, "0068": {"test"}}
    else:
        assert of_patient["0033"] == of_patient["0068"] != {EXCLUDED}
        assert len(of_patient["0033"]) == 1


def busi_with_copies(raw: Path) -> list[tuple[str, str]]:
    """Images under two names, some under two classes; subjects are unknown."""
    pairs = []
    for i in range(30):
        for kind, number in (("benign", i), ("benign" if i % 2 else "malignant", 100 + i)):
            base = raw / "busi" / "Dataset_BUSI_with_GT" / kind
            save(base / f"{kind} ({number}).png", picture(i))
            save(base / f"{kind} ({number})_mask.png", gray(disc(40, 30, 9)))
        pairs.append((f"benign ({i}).png", f"{kind} ({number}).png"))
    return pairs


def hc18_with_copies(raw: Path) -> list[tuple[str, str]]:
    """Images under two subjects, which the first three digits name."""
    lines, pairs = ["filename,pixel size(mm),head circumference (mm)"], []
    base = raw / "hc18"
    for i in range(30):
        names = (f"{i:03d}_HC", f"{500 + i}_HC")
        for name in names:
            save(base / "training_set" / f"{name}.png", picture(i))
            outline = disc(40, 30, 20) & ~disc(40, 30, 18)
            save(base / "training_set" / f"{name}_Annotation.png", gray(outline))
            lines.append(f"{name}.png,0.1,12.5")
        pairs.append((f"{names[0]}.png", f"{names[1]}.png"))
    (base / "training_set_pixel_size_and_HC.csv").write_text("\n".join(lines))
    return pairs


def kidneys_with_copies(raw: Path) -> list[tuple[str, str]]:
    """Copies that have the names of patients of their own."""
    pairs = []
    for i in range(30):
        for name in (f"{i}_a", f"{600 + i}_b"):
            save(raw / "kidney_us" / "kidneyUS_images_14_june_2022" / f"{name}.png", picture(i))
            folder = raw / "kidney_us" / "labels" / "reviewed_masks_1" / "capsule"
            save(folder / f"{name}.png", gray(disc(40, 30, 9)))
        pairs.append((f"{i}_a.png", f"{600 + i}_b.png"))
    return pairs


@pytest.mark.parametrize("make", [busi_with_copies, hc18_with_copies, kidneys_with_copies])
def test_identical_images_of_different_subjects_end_in_one_split(
    make: object, tmp_path: Path
) -> None:
    pairs = make(tmp_path / "raw")  # type: ignore[operator]
    built = make_store(tmp_path / "raw", tmp_path / "store", split_fractions=THIRDS)
    assert built.summary.manifest["images"] == 60
    assert built.summary.manifest["duplicates"]["exact"] == 30
    found = splits_of_sources(tmp_path / "store")
    assert set(found.values()) == {"train", "val", "test"}
    assert all(found[first] == found[second] for first, second in pairs)
    assert not list(validate_store(Store.open(tmp_path / "store")))


def test_the_mask_of_bus_uc_that_is_a_pixel_too_wide_is_scaled(tmp_path: Path) -> None:
    base = tmp_path / "BUS_UC" / "Benign"
    save(base / "images" / "0319.png", picture(1, 256, 256))
    save(base / "masks" / "0319.png", gray(disc(128, 128, 40, 256, 257)))
    (image,) = images("bus_uc", tmp_path)
    assert image.pixels.shape == image.mask(0).shape == (256, 256)
    wanted = disc(128, 128, 40, 256, 256)
    assert np.count_nonzero(image.mask(0) ^ wanted) < 0.02 * wanted.sum()


def test_an_image_of_bus_uclm_whose_mask_has_another_size_is_left_out(tmp_path: Path) -> None:
    MAKERS["bus_uclm"](tmp_path)
    save(tmp_path / "images" / "HESN_002.png", picture(7, 40, 80))
    save(tmp_path / "masks" / "HESN_002.png", np.zeros((64, 80, 3), np.uint8))
    skips: list[Skip] = []
    found = list(dataset("bus_uclm").images(tmp_path, skipped=skips.append))
    assert sorted(image.subject for image in found) == ["ALWI", "ANFO"]
    assert ["80 × 64 pixels, but the image 80 × 40" in s.reason for s in skips].count(True) == 1


def test_overlaps_go_both_ways_between_known_data_sets() -> None:
    known = facts()
    for name, info in known.items():
        for other in info.overlaps:
            assert other in known
            assert other != name
            assert name in seen_by([other])
    assert seen_by(["dl_track"]) == {"dl_track", "fallmud"}
    assert seen_by(["fh_ps_aop"]) == {"fh_ps_aop", "psfhs", "jnu_ifm"}
    assert seen_by(["jnu_ifm"]) == {"fh_ps_aop", "psfhs", "jnu_ifm", "iugc"}
    assert seen_by(["micro_seg"]) == seen_by(["mup"]) == {"mup", "micro_seg"}
    assert seen_by(["busi", "not in the catalogue"]) == {"busi", "not in the catalogue"}


@given(st.sets(st.sampled_from(sorted(catalogue()))))
def test_what_was_trained_on_was_seen(trained_on: set[str]) -> None:
    seen = seen_by(trained_on)
    assert trained_on <= seen
    assert seen == frozenset().union(*(seen_by([name]) for name in trained_on))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("bus_bra", "bus_0845-s"), ("kidney_us", "copies"), ("busi", "155 duplicates"),
        ("busi", "mirror"), ("camus", "33 and 68"), ("bus_uc", "0319.png"),
        ("stu_hospital", "41 of the 42 masks"), ("bus_uclm", "HESN_002"), ("acouslic", "version 1.1"),
        ("hc18", "1327317"), ("ubpd", "did not answer"), ("fallmud", "DL_Track"),
        ("dl_track", "FALLMUD"), ("psfhs", "FH-PS-AOP"), ("fh_ps_aop", "PSFHS"),
    ],
)  # fmt: skip
def test_a_known_fault_is_told(name: str, told: str) -> None:
    assert told in dataset(name).info.note
