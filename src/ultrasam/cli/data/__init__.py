"""`ultrasam data …`: the catalogue, the store, and what goes in and out of it."""

from __future__ import annotations

import typer

from ultrasam.cli.data.build import build, import_
from ultrasam.cli.data.catalogue import fetch, info, list_
from ultrasam.cli.data.store import check, export, show, stats
from ultrasam.errors import MissingDependencyError

app = typer.Typer(
    help="US-43d: the catalogue of 43 open data sets, and one store made of them.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _needs_packages() -> None:
    try:
        import h5py  # noqa: F401
        import polars  # noqa: F401
        import pyarrow  # noqa: F401
        import scipy  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "Data sets need more packages; install them with: pip install 'ultrasam[data]'"
        ) from error


app.command("list")(list_)
app.command("info")(info)
app.command("fetch")(fetch)
app.command("build")(build)
app.command("import")(import_)
app.command("stats")(stats)
app.command("show")(show)
app.command("check")(check)
app.command("export")(export)
