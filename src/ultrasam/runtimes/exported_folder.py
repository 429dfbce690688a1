"""Write an exported folder, which appears only when it is complete."""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ultrasam._version import __version__
from ultrasam.errors import UltraSamError, one_line
from ultrasam.files import write_json
from ultrasam.hardware import processor
from ultrasam.runtimes.onnx_graphs import OPSET
from ultrasam.runtimes.verification import TOLERANCE
from ultrasam.weights.exported import DESCRIPTION, FORMAT, FORMAT_VERSION, is_exported
from ultrasam.weights.model_card import ModelCard


def check_free(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder with other content, and an earlier export unless it is to be replaced.

    Raises:
        UltraSamError: It is one of them.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not is_exported(folder):
        raise UltraSamError(f"{folder} exists and is not an export; choose another folder.")
    if not overwrite:
        raise UltraSamError(
            f"{folder} holds an earlier export; choose another -o, or replace it with --overwrite."
        )


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder beside ``folder`` to write to, which takes its place if nothing fails, else is removed.

    Raises:
        UltraSamError: It cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.with_name(f".{folder.name[:40]}.{secrets.token_hex(4)}.part")
    part.mkdir()
    try:
        yield part
        if folder.exists():
            shutil.rmtree(folder)
        part.replace(folder)
    except OSError as error:
        raise UltraSamError(f"Cannot write {folder}: {one_line(error)}.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def about_export(card: ModelCard, runtime: str, precision: str) -> dict[str, Any]:
    """What the description of any exported model begins with."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "ultrasam": __version__,
        "name": card.name,
        "license": card.license,
        "runtime": runtime,
        "precision": precision,
        "opset": OPSET if runtime == "onnx" else None,
    }


def write_card(card: ModelCard, folder: Path) -> None:
    """Write the model card and the license."""
    (folder / "README.md").write_text(card.text(), encoding="utf-8")
    (folder / "LICENSE").write_text(card.license_text(), encoding="utf-8")


def file_entry(path: Path) -> dict[str, Any]:
    """A file's name, size and SHA-256, as `ultrasam.weights.exported` checks them."""
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": digest}


def write_compared(
    folder: Path,
    card: ModelCard,
    description: dict[str, Any],
    compare: Callable[[], list[dict[str, Any]]],
) -> None:
    """Write the description of an exported task model, with its card, license and comparison with PyTorch.

    Args:
        folder: holds the graphs.
        compare: opens the folder, by the description that is written before, and returns the cases compared.

    Raises:
        ExportError: The graph's results differ.
    """
    write_card(card, folder)
    write_json(folder / DESCRIPTION, description)
    entry = comparison_entry(compare(), "onnx")
    write_json(folder / DESCRIPTION, {**description, "comparison": entry})


def comparison_entry(
    cases: list[dict[str, Any]], runtime: str, *, tolerance: float | None = TOLERANCE
) -> dict[str, Any]:
    """The differences to PyTorch, where they were measured, and what was allowed; None for a network whose
    differences are only told."""
    package = {"onnx": "onnxruntime"}.get(runtime, runtime)
    return {
        "against": f"torch {torch.__version__}",
        "runtime": f"{package} {version(package)}",
        "processor": processor(),
        "tolerance": tolerance,
        "cases": cases,
    }
