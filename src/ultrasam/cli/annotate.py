"""`ultrasam annotate`."""

from __future__ import annotations

import getpass
import logging
from pathlib import Path
from typing import Annotated

import typer

from ultrasam.cli import checks
from ultrasam.cli.options import Device, Model, RuntimeOption, out_option
from ultrasam.cli.server_options import AllowHost, Host, TlsCert, TlsKey, port_option

logger = logging.getLogger(__name__)


def annotate(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The images.", show_default=False)
    ],
    model: Model = "nano",
    host: Host = "127.0.0.1",
    port: Annotated[int, port_option()] = 8417,
    project: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Project file.", show_default="FOLDER/ultrasam.project.sqlite"
        ),
    ] = None,
    reader: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Who labels.", show_default="the login name"),
    ] = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    one_time: Annotated[
        bool, typer.Option("--one-time", help="Let the token log in once only.")
    ] = False,
    allow_host: AllowHost = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="Origin of a viewer such as OHIF that may use MONAI Label's protocol (repeatable).",
        ),
    ] = None,
    label_studio: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Label Studio, whose tasks' images are fetched with LABEL_STUDIO_API_KEY.",
        ),
    ] = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Do not open the page in a browser.")
    ] = False,
    out: Annotated[
        Path | None,
        out_option("Folder for exports.", default="FOLDER/ultrasam-export"),
    ] = None,
    device: Device = None,
    runtime: RuntimeOption = None,
) -> None:
    """Label images, cines and volumes in a browser.

    Everything stays on this machine: the page, the model and the labels, which are in one project file beside
    the images. Every stroke is on disk before the page says so.
    """
    checks.check_models([model])
    checks.check_device(device)
    if out is not None:
        checks.check_output(out)
    from ultrasam.annotate.server.run import Options, serve

    serve(
        Options(
            folder, project=project, model=model, device=device,
            runtime=None if runtime is None else runtime.value, host=host, port=port,
            reader=reader or _login_name(), certificate=tls_cert, private_key=tls_key, one_time=one_time,
            names=tuple(allow_host or ()), browser=not no_browser, export_folder=out,
            origins=tuple(allow_origin or ()), label_studio=label_studio,
        ),
        announce=print,
    )  # fmt: skip


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no such user, as in some containers
        return "reader"
