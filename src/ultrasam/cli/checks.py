"""What commands check before they load a model, read data or import PyTorch."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ultrasam.errors import DataError, DeviceError, ScanError, UltraSamError, one_line
from ultrasam.hardware import require_gpu

if TYPE_CHECKING:
    from ultrasam.training.run_settings import TrainerSettings


def output(out: Path | None, command: str, source: str, *, suffix: str = "") -> Path:
    """Where a command writes: ``out``, else ``runs/<command>/<name>``, the name being that of ``source``.

    Raises:
        UltraSamError: The place cannot be written.
    """
    if out is None:
        name, equals, _ = source.partition("=")
        if not equals or Path(source).exists():
            path = Path(source).expanduser().resolve()
            name = path.name if path.is_dir() else path.name.split(".")[0]
        out = Path("runs", command, (re.sub(r"[^\w.-]+", "_", name).strip("_") or "run") + suffix)
    check_output(out, is_file=bool(suffix))
    return out


def check_output(path: Path, *, is_file: bool = False, option: str = "-o") -> None:
    """Refuse an output that cannot be written, without creating it.

    Args:
        option: the option or argument that names it, for messages.

    Raises:
        UltraSamError: A file is where a folder should be (or the reverse), or a folder is read-only.
    """
    if is_file and path.is_dir():
        raise UltraSamError(f"{path} is a folder; give a file's name as {option}.")
    place = path.parent if is_file else path
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise UltraSamError(
            f"{path} cannot be written: {place} is a file; choose another {option}."
        )
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise UltraSamError(f"{path} cannot be written: {one_line(error)}.") from error


def check_suffix(path: Path, suffix: str) -> None:
    """Refuse a file's name that promises another format than the one that is written.

    Raises:
        UltraSamError: It ends otherwise.
    """
    if path.suffix.lower() != suffix:
        raise UltraSamError(f"{path} must end in {suffix}; choose another -o.")


def check_new(path: Path, *, overwrite: bool, option: str = "-o") -> None:
    """Refuse to replace a file unless asked to.

    Args:
        option: the option or argument that names it, for messages.

    Raises:
        UltraSamError: The file exists.
    """
    if path.exists() and not overwrite:
        raise UltraSamError(
            f"{path} exists; choose another {option}, or replace it with --overwrite."
        )


def check_paths(
    paths: Sequence[str], *, option: str = "--data", takes: str = "a folder, a store or a file"
) -> None:
    """Refuse data that do not exist: each a path, or NAME=PATH.

    Raises:
        DataError: A path is missing.
    """
    for text in paths:
        _, equals, folder = text.partition("=")
        places = [text, folder] if equals else [text]
        if not any(Path(place).expanduser().exists() for place in places):
            raise DataError(f"{text} does not exist; {option} takes {takes}.")


def is_store(path: str) -> bool:
    """Whether a path is that of a store, as far as its name for the manifest shows."""
    return (Path(path).expanduser() / "manifest.json").is_file()


def check_inputs(paths: Sequence[Path]) -> None:
    """Refuse images that do not exist.

    Raises:
        ScanError: A file is missing.
    """
    for path in paths:
        if not path.exists():
            raise ScanError(f"{path} does not exist.")


def check_models(names: Sequence[str]) -> None:
    """Refuse names of models that mean nothing; nothing is read or downloaded.

    Raises:
        CheckpointError, ConfigError: A name is unknown, or one of its options is.
    """
    from ultrasam.weights.spec import ModelSpec

    for name in names:
        ModelSpec.parse(name)


def check_device(device: str | None) -> None:
    """Refuse what is not a device's name, and a CUDA device that this machine lacks.

    Raises:
        DeviceError: The name has another form, or the device is not available.
    """
    if device is None:
        return
    if not re.fullmatch(r"(cpu|cuda|mps|xpu)(:\d+)?", device):
        raise DeviceError(
            f"'{device}' is not a device; use cpu, cuda, or cuda:1 for the second GPU."
        )
    if device.startswith("cuda"):
        require_gpu(device)


def check_gpu(trainer: TrainerSettings) -> None:
    """Refuse a run on a GPU that this machine does not have.

    Raises:
        DeviceError: There is no GPU, or none of that index.
    """
    if trainer.accelerator == "gpu":
        devices = trainer.devices
        require_gpu(f"cuda:{max(devices)}" if isinstance(devices, tuple) else "cuda")


def no_commas(values: Sequence[str] | None, option: str) -> list[str]:
    """The values of an option that is repeated.

    Raises:
        UltraSamError: A value is a list with commas.
    """
    for value in values or ():
        if "," in value:
            repeated = " ".join(f"{option} {part.strip()}" for part in value.split(","))
            raise UltraSamError(f"{option} takes one value; repeat it instead: {repeated}.")
    return list(values or ())


def only_one(values: Sequence[str], option: str) -> str:
    """The value of an option that other commands repeat and this one does not.

    Raises:
        UltraSamError: There are several.
    """
    if len(values) > 1:
        raise UltraSamError(f"This command takes one {option}, not {len(values)}.")
    return values[0]
