"""Run an ASGI app: the socket, TLS and signals."""

from __future__ import annotations

import logging
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ultrasam.errors import UltraSamError, one_line

logger = logging.getLogger(__name__)


@contextmanager
def stopped_by_signals(server: Any) -> Iterator[None]:
    """Let SIGINT and SIGTERM ask the server to stop, so that what follows is still done.

    uvicorn does so only while it runs, and raises the signal once more at its end. An exception instead, at
    any moment, could leave a lock of Python's imports taken, for which the worker would wait for ever.

    Args:
        server: its ``should_exit`` is set.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(*_: object) -> None:
        server.should_exit = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        port: 0 takes a free one.

    Raises:
        UltraSamError: The address is taken, or not this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(address)
            listening.listen(128)
        except BaseException:
            listening.close()
            raise
    except OSError as error:
        raise UltraSamError(
            f"Cannot listen on {host}, port {port}: {one_line(error)}; choose another --port or --host."
        ) from error
    return listening


def check_tls(certificate: Path | None, private_key: Path | None) -> None:
    """Refuse TLS files that cannot be used, or only one of the two.

    Raises:
        UltraSamError: They cannot be read, or do not belong together.
    """
    if (certificate is None) != (private_key is None):
        raise UltraSamError("Give --tls-cert and --tls-key, or neither.")
    if certificate is None or private_key is None:
        return
    import ssl

    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, private_key)
    except (OSError, ssl.SSLError) as error:
        raise UltraSamError(
            f"Cannot use {certificate} and {private_key} for HTTPS: {one_line(error)}."
        ) from error


def warn_of_the_network(*, local: bool, scheme: str) -> None:
    """Say that the network can read what is sent, if it can."""
    if not local and scheme == "http":
        logger.warning(
            "Anyone on the network can read what is sent, patients' images and the token included; use "
            "--tls-cert and --tls-key, or a tunnel such as ssh -L."
        )
