"""Find the recipes that ship with the package."""

from __future__ import annotations

from pathlib import Path

from ultrasam.errors import RecipeError

_FOLDER = Path(__file__).parents[1] / "recipes"


def shipped_recipes() -> list[str]:
    """Names of the shipped recipes and suites, such as ``nano`` and ``evaluation/paper``."""
    found = _FOLDER.rglob("*.yaml")
    return sorted(path.relative_to(_FOLDER).with_suffix("").as_posix() for path in found)


def recipe_path(name: str) -> Path:
    """File of a shipped recipe, by name with or without ``.yaml``.

    Raises:
        RecipeError: No shipped recipe has this name.
    """
    plain = name.removesuffix(".yaml")
    if plain not in shipped_recipes():
        raise RecipeError(
            f"Unknown recipe '{name}': it is neither a file nor a shipped recipe "
            f"({', '.join(shipped_recipes())})."
        )
    return _FOLDER / f"{plain}.yaml"


def find_recipe(name: str | Path) -> Path:
    """File of a recipe: ``name`` itself if it is a file, otherwise the shipped recipe of this name.

    Raises:
        RecipeError: There is neither a file nor a shipped recipe of this name.
    """
    path = Path(name)
    return path if path.is_file() else recipe_path(path.as_posix())
