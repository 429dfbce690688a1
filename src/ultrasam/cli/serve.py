"""`ultrasam serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ultrasam.cli import checks
from ultrasam.cli.options import Device, Model, PrecisionOption, RuntimeOption
from ultrasam.cli.server_options import AllowHost, Host, TlsCert, TlsKey, port_option


def serve(
    model: Model = "nano",
    host: Host = "127.0.0.1",
    port: Annotated[int, port_option()] = 8418,
    root: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder whose files clients may name.", show_default="none"
        ),
    ] = None,
    dicomweb: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="DICOMweb server whose instances clients may name, https://HOST/dicom-web.",
            show_default="none",
        ),
    ] = None,
    queue: Annotated[
        float,
        typer.Option(
            min=0.1,
            metavar="SECONDS",
            help="Work that may be queued; what comes on top is refused.",
        ),
    ] = 10.0,
    max_upload: Annotated[
        int, typer.Option(min=1, metavar="MB", help="Largest image's file.")
    ] = 64,
    max_pixels: Annotated[
        int, typer.Option(min=1, metavar="MILLIONS", help="Largest frame, by an image's header.")
    ] = 25,
    max_frames: Annotated[
        int, typer.Option(min=1, metavar="NUMBER", help="Longest cine or volume, by its header.")
    ] = 10_000,
    memory: Annotated[
        int, typer.Option(min=0, metavar="MB", help="Frames and embeddings kept in memory.")
    ] = 1000,
    disk: Annotated[
        int,
        typer.Option(
            min=0, metavar="MB", help="Embeddings kept in the cache folder; 0 writes none."
        ),
    ] = 2000,
    grace: Annotated[
        float,
        typer.Option(
            min=0, metavar="SECONDS", help="Time to answer what is accepted when told to stop."
        ),
    ] = 30.0,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    allow_host: AllowHost = None,
    device: Device = None,
    precision: PrecisionOption = None,
    runtime: RuntimeOption = None,
) -> None:
    """Serve a model over HTTP: images and prompts in, masks out.

    Equal images are encoded once, and what would wait too long is refused with 429 and Retry-After.
    ULTRASAM_TOKEN sets the token that clients need; without it, another --host than this machine's own makes
    one.
    """
    checks.check_models([model])
    checks.check_device(device)
    from ultrasam.serve.app import Limits
    from ultrasam.serve.run import Options
    from ultrasam.serve.run import serve as run

    limits = Limits(
        queued_s=queue, upload_bytes=max_upload * 1_000_000, pixels=max_pixels * 1_000_000,
        frames=max_frames, memory=memory * 1_000_000, disk=disk * 1_000_000,
    )  # fmt: skip
    run(
        Options(
            model, device=device, runtime=None if runtime is None else runtime.value,
            precision=None if precision is None else precision.value, host=host, port=port, root=root,
            dicomweb=dicomweb, certificate=tls_cert, private_key=tls_key, names=tuple(allow_host or ()),
            limits=limits, grace_s=grace,
        ),
        announce=lambda address: print(address, flush=True),
    )  # fmt: skip
