"""`ultrasam data …`: the catalog of data sets, and the store built from them."""

from __future__ import annotations

import typer

from ultrasam.cli.data.build import build
from ultrasam.cli.data.catalogue import fetch, info, list_
from ultrasam.cli.data.import_ import import_
from ultrasam.cli.data.licenses import licenses
from ultrasam.cli.data.store import export, show, stats, validate

app = typer.Typer(
    help="Find data sets, and build a store from them: US-43d is 43 open data sets.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
_FIND, _BUILD, _USE = "Find data sets", "Build a store", "Look into a store"
app.command("list", rich_help_panel=_FIND)(list_)
app.command("info", rich_help_panel=_FIND)(info)
app.command("fetch", rich_help_panel=_FIND)(fetch)
app.command("licenses", rich_help_panel=_FIND)(licenses)
app.command("licences", hidden=True)(licenses)
app.command("build", rich_help_panel=_BUILD)(build)
app.command("import", rich_help_panel=_BUILD)(import_)
app.command("validate", rich_help_panel=_USE)(validate)
app.command("stats", rich_help_panel=_USE)(stats)
app.command("show", rich_help_panel=_USE)(show)
app.command("export", rich_help_panel=_USE)(export)
