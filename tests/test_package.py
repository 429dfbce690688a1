"""The published package: one version, typed, with recipes, without local paths."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import ultrasam
from ultrasam._version import __version__
from ultrasam.errors import MissingDependencyError, RecipeError
from ultrasam.extras import needs
from ultrasam.training.recipe import load_recipe
from ultrasam.training.shipped import find_recipe, recipe_path, shipped_recipes

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "ultrasam"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
GPL = ("pylibjpeg-libjpeg", "av", "py7zr", "pyqt", "unrar")  # PyAV's wheels carry x264 and x265


def test_the_version_stands_in_one_place_and_the_citation_says_the_same() -> None:
    assert ultrasam.__version__ == __version__
    assert "version" in PROJECT["dynamic"]
    assert str(yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]) == __version__
    for path in SOURCE.rglob("*.py"):
        assert path.name in ("_version.py",) or __version__ not in path.read_text(), path


def test_the_package_is_typed() -> None:
    assert (SOURCE / "py.typed").is_file()


def names(requirements: list[str]) -> set[str]:
    """Packages that requirements name, those of our own extras among them."""
    found: set[str] = set()
    for requirement in requirements:
        extras = re.fullmatch(r"ultrasam\[(.+)\]", requirement)
        if extras:
            for extra in extras[1].split(","):
                found |= names(EXTRAS[extra])
        else:
            found.add(re.split(r"[<>=!\[ ;]", requirement)[0])
    return found


def test_nothing_that_people_install_is_under_the_gpl() -> None:
    for extra in EXTRAS:
        if extra != "dev":
            assert not names(EXTRAS[extra]) & set(GPL), extra
    assert not names(PROJECT["dependencies"]) & set(GPL)


def test_every_extra_holds_something_and_all_holds_every_one_for_users() -> None:
    assert all(EXTRAS.values())
    everything = names(EXTRAS["all"])
    # napari is another program, with a Qt of its own; Ray takes 240 MB, and few have a cluster.
    for extra in EXTRAS.keys() - {"dev", "napari", "cluster"}:
        assert names(EXTRAS[extra]) <= everything, extra


def test_extras_that_errors_name_exist() -> None:
    for path in SOURCE.rglob("*.py"):
        for extra in re.findall(r"extra=\"(\w+)\"|ultrasam\[(\w+)\]", path.read_text()):
            assert "".join(extra) in {*EXTRAS, "forbid"}, path  # pydantic has an extra="forbid" too


def test_a_missing_package_names_its_extra() -> None:
    with (
        pytest.raises(
            MissingDependencyError, match=r"^Flying needs the extra 'wings': pip install"
        ),
        needs("Flying", extra="wings", alternative="Or walk."),
    ):
        import no_such_package  # type: ignore[import-not-found]  # noqa: F401
    with (
        pytest.raises(
            MissingDependencyError, match=r"failed to load: cannot import name 'nothing'"
        ),
        needs("Flying", extra="wings"),
    ):
        from json import nothing  # type: ignore[attr-defined]  # noqa: F401
    with pytest.raises(ModuleNotFoundError, match=r"ultrasam\.nowhere"), needs("It", extra="dicom"):
        import ultrasam.nowhere  # type: ignore[import-not-found]  # noqa: F401


@pytest.mark.parametrize("name", ["nano", "nano.yaml"])
def test_a_shipped_recipe_is_found_by_its_name(name: str) -> None:
    assert find_recipe(name) == recipe_path("nano")
    assert load_recipe(find_recipe(name)).name == "nano"
    assert {"nano", "base-mixed", "evaluation/paper", "downstream/paper"} <= set(shipped_recipes())


def test_a_file_comes_before_a_shipped_recipe_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nano").mkdir()  # a run's folder is not a recipe
    assert find_recipe("nano") == recipe_path("nano")
    (tmp_path / "nano.yaml").write_text("name: mine\n")
    assert find_recipe("nano.yaml") == Path("nano.yaml")


def test_an_unknown_recipe_lists_the_shipped_ones() -> None:
    with pytest.raises(RecipeError, match=r"nknown recipe 'nanoo'.*nano-lora"):
        find_recipe("nanoo")


def test_nothing_in_the_package_points_at_folders_of_ours() -> None:
    for path in SOURCE.rglob("*"):
        if path.is_file() and path.suffix in (".py", ".yaml", ".md", ".json"):
            text = path.read_text(encoding="utf-8")
            assert "../shared" not in text, path
            assert "/work/" not in text, path
