"""`serve`: run the annotator's server until it is stopped."""

from __future__ import annotations

import logging
import os
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ultrasam.annotate.annotator import Annotator
from ultrasam.annotate.project.readers import add_reader
from ultrasam.extras import needs
from ultrasam.serve.http.run import bound, check_tls, stopped_by_signals, warn_of_the_network
from ultrasam.text import counted

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """How to serve.

    Attributes:
        folder: the images.
        project: the project file; by default in the folder.
        model, device, runtime: as in `ultrasam.load`.
        host, port: to listen on; port 0 takes a free one.
        reader: who labels, if the page does not say.
        certificate, private_key: PEM files for HTTPS, or None.
        one_time: the token logs in once only.
        names: further names under which browsers reach the server.
        browser: open the page.
        export_folder: where exports go; by default into the folder.
        origins: of viewers in the browser that may use MONAI Label's protocol.
        label_studio: the address of Label Studio, whose images its tasks may name.
    """

    folder: Path
    project: Path | None = None
    model: str = "nano"
    device: str | None = None
    runtime: str | None = None
    host: str = "127.0.0.1"
    port: int = 8417
    reader: str = "reader"
    certificate: Path | None = None
    private_key: Path | None = None
    one_time: bool = False
    names: tuple[str, ...] = ()
    browser: bool = True
    export_folder: Path | None = None
    origins: tuple[str, ...] = ()
    label_studio: str | None = None


def serve(options: Options, *, announce: Callable[[str], object]) -> None:
    """Open a folder and serve it until the process is told to stop.

    Args:
        announce: is given the page's address, with the token where one is needed; it is in no log.

    Raises:
        DataError: The folder or the project file cannot be opened.
        UltraSamError: The address is taken or not this machine's, or a TLS file cannot be read.
    """
    with needs("The annotator", extra="annotate"):
        import uvicorn

        from ultrasam.annotate.server.app import create_app
        from ultrasam.serve.http.connections import KEEP_ALIVE_S, TimedH11
    from ultrasam.annotate.server.security import Access
    from ultrasam.serve.http.access import is_loopback, new_token

    check_tls(options.certificate, options.private_key)
    listening = bound(options.host, options.port)
    port = int(listening.getsockname()[1])
    try:
        annotator = Annotator.open(
            options.folder, project=options.project, model=options.model, device=options.device,
            runtime=options.runtime, export_folder=options.export_folder,
        )  # fmt: skip
    except BaseException:
        listening.close()
        raise
    try:
        add_reader(annotator.project, options.reader)
        scheme = "http" if options.certificate is None else "https"
        local = is_loopback(options.host)
        access = Access(
            options.host, port, annotator.project.secret, options.reader, scheme=scheme,
            token=None if local else new_token(), one_time=options.one_time,
            names=tuple(name.lower() for name in options.names),
            origins=tuple(origin.rstrip("/").lower() for origin in options.origins),
        )  # fmt: skip
        app = create_app(
            annotator, access, label_studio_address=options.label_studio,
            label_studio_key=os.environ.get("LABEL_STUDIO_API_KEY"),
        )  # fmt: skip
        for note in annotator.listing.notes:
            logger.info("%s", note)
        logger.info(
            "%s in %s.", counted(annotator.listing.images, "image"), annotator.project.folder
        )
        warn_of_the_network(local=local, scheme=scheme)
        config = uvicorn.Config(
            app, http=TimedH11, ws="none", log_level="warning", access_log=False, server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S, timeout_graceful_shutdown=3, proxy_headers=False,
            ssl_certfile=options.certificate, ssl_keyfile=options.private_key,
        )  # fmt: skip
        server = uvicorn.Server(config)
        with stopped_by_signals(server):
            announce(access.address + (f"#token={access.token}" if access.token else ""))
            if options.browser and local:
                webbrowser.open(access.address)
            server.run(sockets=[listening])
        logger.info("Stopped. Everything is saved in %s.", annotator.project.file)
    finally:
        annotator.close()
        listening.close()
