"""The recipes that the package carries, and how a recipe's name becomes a file."""

from __future__ import annotations

from pathlib import Path

from ultrasam.errors import RecipeError

_FOLDER = Path(__file__).parents[1] / "recipes"


def shipped_recipes() -> list[str]:
    """Names of the recipes and suites in the package, such as ``nano`` and ``evaluation/paper``."""
    found = _FOLDER.rglob("*.yaml")
    return sorted(path.relative_to(_FOLDER).with_suffix("").as_posix() for path in found)


def recipe_path(name: str) -> Path:
    """The file of a shipped recipe, by its name with or without ``.yaml``.

    Raises:
        RecipeError: the package has none of that name.
    """
    plain = name.removesuffix(".yaml")
    if plain not in shipped_recipes():
        raise RecipeError(
            f"There is no recipe '{name}': no such file, and none of the shipped ones, which are "
            f"{', '.join(shipped_recipes())}."
        )
    return _FOLDER / f"{plain}.yaml"


def find_recipe(name: str | Path) -> Path:
    """A recipe's file: the path itself where there is a file, else the shipped recipe of that name.

    Raises:
        RecipeError: there is neither.
    """
    path = Path(name)
    return path if path.is_file() else recipe_path(path.as_posix())
