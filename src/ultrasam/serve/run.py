"""`serve`: run the inference server until it is told to stop."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ultrasam.errors import ConfigError, UltraSamError
from ultrasam.extras import needs

with needs("The server", extra="serve"):
    import uvicorn

    from ultrasam.serve.app import Limits, create_app
    from ultrasam.serve.archive import Archive

from ultrasam.serve.http.access import HostAccess, is_loopback, new_token
from ultrasam.serve.http.connections import KEEP_ALIVE_S, TimedH11
from ultrasam.serve.http.drain import Drain, DrainingServer
from ultrasam.serve.http.run import bound, check_tls, stopped_by_signals, warn_of_the_network
from ultrasam.serve.served_model import ServedModel

logger = logging.getLogger(__name__)
TOKEN_VARIABLE = "ULTRASAM_TOKEN"
_SHORTEST_TOKEN = 16


@dataclass(frozen=True, slots=True)
class Options:
    """How to serve.

    Attributes:
        model, device, runtime, precision: as in `ultrasam.Predictor`.
        host, port: to listen on; port 0 takes a free one.
        root: a folder whose files clients may name.
        dicomweb: address of a DICOMweb server whose instances clients may name.
        certificate, private_key: PEM files for HTTPS, or None.
        names: further names under which the server is reached.
        limits: what it takes at most.
        grace_s: seconds in which accepted requests are answered when it is told to stop.
    """

    model: str = "nano"
    device: str | None = None
    runtime: str | None = None
    precision: str | None = None
    host: str = "127.0.0.1"
    port: int = 8418
    root: Path | None = None
    dicomweb: str | None = None
    certificate: Path | None = None
    private_key: Path | None = None
    names: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    grace_s: float = 30.0


def serve(options: Options, *, announce: Callable[[str], object]) -> None:
    """Serve a model.

    The token is that of the environment's ``ULTRASAM_TOKEN``; without it, there is none on this machine
    alone, and a new one elsewhere.

    Args:
        announce: is given the address, with a new token; it is in no log.

    Raises:
        CheckpointError, DeviceError: The model cannot be loaded.
        ConfigError: The archive's address or credentials, or the token, are invalid.
        UltraSamError: The address is taken or not this machine's, or a TLS file cannot be read.
    """
    check_tls(options.certificate, options.private_key)
    if options.root is not None and not options.root.is_dir():
        raise UltraSamError(f"{options.root} is not a folder; choose another --root.")
    archive = None
    if options.dicomweb is not None:
        archive = Archive(options.dicomweb, most_bytes=options.limits.upload_bytes)
    given, local = _given_token(), is_loopback(options.host)
    listening = bound(options.host, options.port)
    scheme = "http" if options.certificate is None else "https"
    token = given or (None if local else new_token())
    access = HostAccess(
        options.host, int(listening.getsockname()[1]), scheme=scheme, token=token,
        names=tuple(name.lower() for name in options.names), upload_bytes=options.limits.upload_bytes,
    )  # fmt: skip
    problems: list[BaseException] = []
    drain = Drain()

    def failed(error: BaseException) -> None:
        problems.append(error)
        server.should_exit = True

    app = create_app(
        lambda: ServedModel.open(
            options.model, device=options.device, runtime=options.runtime,
            precision=options.precision,
        ),
        access, limits=options.limits, root=options.root, archive=archive, drain=drain, failed=failed,
    )  # fmt: skip
    config = uvicorn.Config(
        app, http=TimedH11, ws="none", log_level="warning", access_log=False, server_header=False,
        proxy_headers=False, timeout_keep_alive=KEEP_ALIVE_S, timeout_graceful_shutdown=5,
        ssl_certfile=options.certificate, ssl_keyfile=options.private_key,
    )  # fmt: skip
    server = DrainingServer(config, drain, grace_s=options.grace_s)
    try:
        with _without_identity(), stopped_by_signals(server):
            warn_of_the_network(local=local, scheme=scheme)
            announce(access.address + (f"#token={token}" if token and not given else ""))
            server.run(sockets=[listening])
    finally:
        listening.close()
        app.state.uploads.close()  # also if requests were given up, when uvicorn ends nothing else
    if problems:
        raise problems[0]
    logger.info("Stopped.")


def _given_token() -> str | None:
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if token and len(token) < _SHORTEST_TOKEN:
        raise ConfigError(
            f"{TOKEN_VARIABLE} has {len(token)} characters; use at least {_SHORTEST_TOKEN}."
        )
    return token or None


@contextmanager
def _without_identity() -> Iterator[None]:
    """Requests are logged as JSON on standard error; what readers say of files, which may name them, is
    not."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    requests = logging.getLogger("ultrasam.serve.requests")
    quiet = {name: logging.getLogger(name).level for name in ("ultrasam.images", "pydicom", "gdcm")}
    before = requests.level, requests.propagate
    requests.setLevel(logging.INFO)
    requests.propagate = False
    requests.addHandler(handler)
    for name in quiet:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in quiet.items():
            logging.getLogger(name).setLevel(level)
        requests.removeHandler(handler)
        requests.setLevel(before[0])
        requests.propagate = before[1]
