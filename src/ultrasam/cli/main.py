"""The command line: `ultrasam`, one command to a file, and the one place that turns errors to words."""

from __future__ import annotations

import logging
import sys
import warnings
from typing import Annotated, Any, NoReturn

import typer

from ultrasam._version import __version__
from ultrasam.cli import data, embed, evaluate, finetune, models, predict, train
from ultrasam.errors import UltraSamError, UltraSamWarning

app = typer.Typer(
    name="ultrasam",
    help="Segment anything in an ultrasound image from a click or a box.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("predict")(predict.predict)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("embed")(embed.embed)
app.command("models")(models.models)
app.add_typer(finetune.app, name="finetune")
app.add_typer(data.app, name="data")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"ultrasam {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    pass


class _ToStandardError(logging.Handler):
    """Each message of the package as one line; to where standard error goes by then, as under a bar."""

    def emit(self, record: logging.LogRecord) -> None:
        _tell(record.getMessage())


def run() -> None:
    """Run the command line; a user's error is one sentence on standard error, never a traceback.

    Exit status: 0 done, 1 something failed, 2 the command was not understood, 130 interrupted.
    """
    log = logging.getLogger("ultrasam")
    if not any(isinstance(handler, _ToStandardError) for handler in log.handlers):
        log.addHandler(_ToStandardError())
        log.setLevel(logging.INFO)
    show, shown = warnings.showwarning, set[str]()

    def show_ours(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        if issubclass(category, UltraSamWarning):
            if str(message) not in shown:
                log.warning("%s", message)
            shown.add(str(message))
        else:
            show(message, category, *rest, **more)

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("always", category=UltraSamWarning)
            warnings.showwarning = show_ours
            status = app(standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except UltraSamError as error:
        _stop(str(error), 1)
    except KeyboardInterrupt:
        _stop("interrupted.", 130)
    except BrokenPipeError:
        sys.exit(141)
    except Exception as error:
        # Typer carries its own copy of click or uses the one installed: told apart by what they do.
        if hasattr(error, "format_message"):
            _stop(f"{error.format_message()} See ultrasam --help.", 2)
        if type(error).__name__ == "Abort":
            _stop("interrupted.", 130)
        _stop(f"this should not happen: {type(error).__name__}: {error}. Please report it.", 1)


def _stop(message: str, status: int) -> NoReturn:
    _tell(message)
    sys.exit(status)


def _tell(message: str) -> None:
    print(f"ultrasam: {' '.join(message.split())}", file=sys.stderr)
