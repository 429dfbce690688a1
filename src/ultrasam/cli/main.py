"""The command line `ultrasam`: its commands, and the one place that turns errors into sentences."""

from __future__ import annotations

import inspect
import logging
import os
import sys
import traceback
import warnings
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from ultrasam._version import __version__
from ultrasam.cli import (
    annotate,
    benchmark,
    compare,
    data,
    deidentify,
    dicomweb,
    embed,
    evaluate,
    export,
    finetune,
    measure,
    models,
    predict,
    recipes,
    serve,
    track,
    train,
)  # fmt: skip
from ultrasam.cli.overview import overview
from ultrasam.cli.usage import explain
from ultrasam.errors import UltraSamError, UltraSamWarning
from ultrasam.files import is_disk_full, no_space

_INTERRUPTED = 130  # the exit status after Ctrl-C
_DISK_FULL = (
    "No space left on a disk that the command writes to: that of its output, of the cache or of the "
    "temporary folder. Free some space, and run it again."
)
_USE, _ADAPT, _DATA = "Segment and describe", "Train and evaluate", "Data"

app = typer.Typer(
    name="ultrasam",
    help="Segment anything in an ultrasound image from a click or a box.",
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("predict", rich_help_panel=_USE)(predict.predict)
app.command("track", rich_help_panel=_USE)(track.track)
app.command("measure", rich_help_panel=_USE)(measure.measure)
app.command("annotate", rich_help_panel=_USE)(annotate.annotate)
app.command("serve", rich_help_panel=_USE)(serve.serve)
app.command("embed", rich_help_panel=_USE)(embed.embed)
app.command("models", rich_help_panel=_USE)(models.models)
app.command("export", rich_help_panel=_USE)(export.export)
app.command("benchmark", rich_help_panel=_USE)(benchmark.benchmark)
app.add_typer(finetune.app, name="finetune", rich_help_panel=_ADAPT)
app.command("train", rich_help_panel=_ADAPT)(train.train)
app.add_typer(recipes.app, name="recipes", rich_help_panel=_ADAPT)
app.add_typer(evaluate.app, name="evaluate", rich_help_panel=_ADAPT)
app.command("compare", rich_help_panel=_ADAPT)(compare.compare)
app.add_typer(data.app, name="data", rich_help_panel=_DATA)
app.command("deidentify", rich_help_panel=_DATA)(deidentify.deidentify)
app.add_typer(dicomweb.app, name="dicomweb", rich_help_panel=_DATA)


def _flow(commands: typer.Typer) -> None:
    """Let the help of all commands flow: Typer keeps the line breaks of a docstring's later paragraphs."""
    for command in (*commands.registered_commands, commands.registered_callback):
        text = inspect.getdoc(command.callback) if command and command.callback else None
        if command and text:
            command.help = "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))
    for group in commands.registered_groups:
        if group.typer_instance:
            _flow(group.typer_instance)


_flow(app)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"ultrasam {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _main(
    context: typer.Context,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print warnings and errors only.")
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Print details, such as weights, device and caches."),
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    if quiet and verbose:
        raise UltraSamError("Give --quiet or --verbose, not both.")
    level = logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO
    logging.getLogger("ultrasam").setLevel(level)
    if context.invoked_subcommand is None:
        print(overview())


@cache
def _command() -> Any:
    """The commands as typer has parsed them from their functions, which takes 0.15 s."""
    return typer.main.get_command(app)


class _ToStandardError(logging.Handler):
    """Prints each message of the package as one line, to the standard error of that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        _print_error(record.getMessage())


def run() -> None:
    """Run the command line; a user's mistake is one sentence on standard error.

    Exit status: 0 done, 1 something failed, 2 the command was not understood, 130 interrupted. With
    ULTRASAM_DEBUG=1, the traceback of every error comes before its sentence.
    """
    # Threads of PyTorch that spin while they wait take the processor from those they wait for: with another
    # busy program on two cores, encoding takes ten times as long. OpenMP reads this when PyTorch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    log = logging.getLogger("ultrasam")
    if not any(isinstance(handler, _ToStandardError) for handler in log.handlers):
        log.addHandler(_ToStandardError())
    log.setLevel(logging.INFO)
    if hasattr(sys.stdout, "reconfigure"):
        # File names need not be text of the terminal's encoding.
        utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
        sys.stdout.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")
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
            status = _command()(standalone_mode=False, prog_name="ultrasam")
        if status == _INTERRUPTED:  # typer makes a status of Ctrl-C
            _stop("Interrupted.", _INTERRUPTED)
        sys.exit(status if isinstance(status, int) else 0)
    except UltraSamError as error:
        _stop(str(error), error.exit_status)
    except KeyboardInterrupt:
        _stop("Interrupted.", _INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has left; nothing more can be flushed to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:
        # Typer carries its own copy of click, or uses the one installed: known by what they do.
        if hasattr(error, "format_message"):
            _stop(explain(error), 2)
        if type(error).__name__ == "Abort":
            _stop("Interrupted.", _INTERRUPTED)
        if is_disk_full(error):
            place = getattr(error, "filename", None)
            _stop(str(no_space(Path(place), error)) if place else _DISK_FULL, 1)
        _stop(
            f"Internal error: {type(error).__name__}: {error}. Please report it, with the traceback that "
            "ULTRASAM_DEBUG=1 prints.",
            1,
        )


def _stop(message: str, status: int) -> NoReturn:
    if os.environ.get("ULTRASAM_DEBUG", "0") not in ("", "0"):
        traceback.print_exc()
    _print_error(message)
    sys.exit(status)


def _print_error(message: str) -> None:
    print(f"ultrasam: {' '.join(message.split())}", file=sys.stderr)
