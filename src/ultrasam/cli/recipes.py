"""`ultrasam recipes`: the recipes and suites that come with the package."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from ultrasam.cli.checks import check_new, check_output
from ultrasam.cli.options import Json, Overwrite
from ultrasam.cli.tables import print_table
from ultrasam.training.shipped import recipe_path, shipped_recipes

app = typer.Typer(
    help="List and copy the recipes and suites that come with UltraSam.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_USES = {"evaluation": "ultrasam evaluate", "downstream": "ultrasam finetune suite"}


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the recipes, each with the command that takes it."""
    rows: list[dict[str, Any]] = []
    for name in shipped_recipes():
        path = recipe_path(name)
        use = _USES.get(name.partition("/")[0], "ultrasam train")
        rows.append(
            {"name": name, "use": f"{use} {name}", "about": _about(path), "file": str(path)}
        )
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    cells = [(row["use"], row["about"]) for row in rows]
    print_table(("command", "about"), cells, whole={"command"})
    print("Copy one to change it: ultrasam recipes copy NAME")


@app.command()
def copy(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A recipe of 'ultrasam recipes list'.")
    ],
    destination: Annotated[
        Path, typer.Argument(metavar="DEST", help="A folder, or the new file's name.")
    ] = Path(),
    overwrite: Overwrite = False,
) -> None:
    """Copy a recipe to change it, with the recipes that it extends beside it."""
    source = recipe_path(name)
    single = destination.suffix in (".yaml", ".yml")
    folder = destination.parent if single else destination
    files = {source: destination if single else folder / source.name}
    parent = _extends(source)
    while parent is not None:
        files[parent] = folder / parent.name
        parent = _extends(parent)
    for target in files.values():
        check_output(target, is_file=True, option="DEST")
        check_new(target, overwrite=overwrite, option="DEST")
    folder.mkdir(parents=True, exist_ok=True)
    for file, target in files.items():
        shutil.copyfile(file, target)
        print(target)


def _about(path: Path) -> str:
    """The first sentence of the comment at the top of a recipe, without the command below it."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.removeprefix("#").strip()
        if not line.startswith("#") or text.startswith("ultrasam "):
            break
        lines.append(text)
    return " ".join(lines).partition(". ")[0].rstrip(".:")


def _extends(path: Path) -> Path | None:
    """The recipe that a recipe extends."""
    for line in path.read_text(encoding="utf-8").splitlines():
        key, colon, value = line.partition(":")
        if colon and key == "extends":
            return path.parent / value.strip().strip("'\"")
    return None
