"""Find the weights file in a folder, as this package, transformers, Accelerate and Lightning leave it."""

from __future__ import annotations

import re
from pathlib import Path

from ultrasam.errors import CheckpointError, one_line

# The first of these that exists.
_STANDARD = (
    "model.safetensors", "model.safetensors.index.json",
    "pytorch_model.bin", "pytorch_model.bin.index.json",
)  # fmt: skip
# Of files that hold weights.
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".pth.tar", ".pt.tar", ".pkl")
# What trainers save beside the weights.
_COMPANION = re.compile(
    r"(lr_)?(optim|schedul|scaler|sampler|random_states?|rng_state|training_args|custom_checkpoint|dl_state)"
    r"|.*optim_states",
    re.IGNORECASE,
)
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d+)-of-(?P<count>\d+)(?P<suffix>\.\w+)")
_MAX_DEPTH = 3


def checkpoint_file(path: Path) -> Path:
    """The weights file at a path: the file itself, or the one in a folder.

    Returns:
        The file; for a sharded model its index, or a shard if there is no index.

    Raises:
        CheckpointError: There is no weights file, or several and none has a standard name.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise CheckpointError(f"{path} does not exist.")
    try:
        found = _in_folder(path, 0)
    except OSError as error:
        raise CheckpointError(f"Cannot read the folder {path}: {one_line(error)}.") from error
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(str(file.relative_to(path)) for file in found[:5])
        raise CheckpointError(
            f"{path} holds several weights files ({names}{', …' if len(found) > 5 else ''}); give the path "
            "of one."
        )
    if (path / ".metadata").is_file() or any(path.glob("*.distcp")):
        raise CheckpointError(
            f"{path} is a checkpoint of torch.distributed; convert it with "
            "torch.distributed.checkpoint.format_utils.dcp_to_torch_save and load the result."
        )
    raise CheckpointError(f"The folder {path} holds no weights file ({', '.join(SUFFIXES)}).")


def shards_beside(file: Path) -> list[Path]:
    """All shards of the model that ``file`` is a shard of; ``[file]`` if its name is not that of a shard.

    Raises:
        CheckpointError: A shard is missing.
    """
    match = _SHARD.fullmatch(file.name)
    if match is None:
        return [file]
    count, digits = int(match["count"]), len(match["number"])
    names = [
        f"{match['stem']}-{number:0{digits}}-of-{match['count']}{match['suffix']}"
        for number in range(1, count + 1)
    ]
    missing = [name for name in names if not (file.parent / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{file} is one of {count} shards, but {missing[0]} is not in the same folder."
        )
    return [file.parent / name for name in names]


def _in_folder(folder: Path, depth: int) -> list[Path]:
    """The weights files of a folder; if it has none, those of its subfolders."""
    for name in _STANDARD:
        if (folder / name).is_file():
            return [folder / name]
    if (folder / "data.pkl").is_file() and (folder / "data").is_dir():
        raise CheckpointError(
            f"{folder} is the extracted content of a PyTorch file; give the path of the file itself, or "
            "make one by zipping the folder."
        )
    if (folder / "adapter_config.json").is_file():
        raise CheckpointError(peft_message(folder))
    files = sorted(file for file in folder.iterdir() if _is_weights(file))
    files = _one_per_set_of_shards(files)
    if files or depth == _MAX_DEPTH:
        return files
    if (folder / "model").is_dir():
        return _in_folder(folder / "model", depth + 1)  # a run of `ultrasam train`
    folders = sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))
    return [file for inner in folders for file in _in_folder(inner, depth + 1)]


def _is_weights(file: Path) -> bool:
    # Names with a leading dot are not weights: interrupted writes, and macOS's "._" companions.
    return (
        not file.name.startswith(".")
        and file.name.lower().endswith(SUFFIXES)
        and not _COMPANION.match(file.name)
        and file.is_file()
    )


def _one_per_set_of_shards(files: list[Path]) -> list[Path]:
    sets: dict[object, Path] = {}
    for file in files:
        match = _SHARD.fullmatch(file.name)
        sets.setdefault(match.group("stem", "count", "suffix") if match else file, file)
    return list(sets.values())


def peft_message(path: Path) -> str:
    """The sentence that refuses a PEFT adapter."""
    return (
        f"{path} holds a PEFT adapter, not a complete model; merge it into its base model "
        "(merge_and_unload), save the result and load that."
    )
