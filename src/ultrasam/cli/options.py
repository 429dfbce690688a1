"""Options that mean the same in every command that has them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    list[str],
    typer.Option(
        metavar="PATH",
        help="A store, a folder of data sets, NAME=FOLDER, your own folder or a COCO file (repeatable).",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Settings to change, for example trainer.max_steps=500 optimizer.lr=1e-4.",
    ),
]
Classes = Annotated[str | None, typer.Option(metavar="A,B", help="Only these classes.")]
HeldOut = Annotated[
    float,
    typer.Option(
        min=0.01, max=0.9,
        help="Fraction of the subjects to test on, if the data have no test split.",
    ),
]  # fmt: skip
Device = Annotated[
    str | None,
    typer.Option(metavar="DEVICE", help="cpu, cuda, cuda:1, …; the GPU if there is one."),
]
Init = Annotated[
    str,
    typer.Option(
        metavar="MODEL",
        help="Weights to start from: nano, ultrasam, sam-vit-b, medsam, random:nano, a path or a hub id.",
    ),
]
Inits = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MODEL",
        help="Weights to start from: nano (default), ultrasam, sam-vit-b, medsam, imagenet, resnet50, "
        "random:nano, a path (repeatable: all are compared, the first is saved).",
    ),
]
Out = Annotated[
    Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the model and the report.")
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue an interrupted run from its last checkpoint.")
]
