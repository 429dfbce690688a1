"""Options that commands that serve share: where they listen, and for whom."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

Host = Annotated[
    str,
    typer.Option(
        metavar="HOST",
        help="Address to listen on; another than this machine's own demands a token.",
    ),
]
TlsCert = Annotated[Path | None, typer.Option(metavar="FILE", help="Certificate for HTTPS (PEM).")]
TlsKey = Annotated[Path | None, typer.Option(metavar="FILE", help="Private key for HTTPS (PEM).")]
AllowHost = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME", help="Another name under which the server is reached (repeatable)."
    ),
]


def port_option() -> Any:
    """The option --port."""
    return typer.Option(min=0, max=65535, metavar="NUMBER", help="Port; 0 takes a free one.")
