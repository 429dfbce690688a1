"""Job: what is to be done with all files, saved beside the results so that every worker does the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from ultrasam._version import __version__
from ultrasam.errors import ConfigError, DataError
from ultrasam.files import read_json
from ultrasam.images.writing.segmentation import now
from ultrasam.inference.batch import prompt_as_json
from ultrasam.inference.frames import FrameChoice
from ultrasam.inference.prompts_file import PromptEntry
from ultrasam.prompts import Prompt

Task = Literal["prompts", "tracks", "automatic", "instances", "classes", "features", "measurements"]

JOB = "job.json"
DEFAULT_SHARD_SIZE = 200
# What may differ between a run and the one that goes on with it.
_FREE = ("created", "folder", "manifest", "files")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be done with all files.

    Attributes:
        task: what is looked for.
        model: its name or path, as `ultrasam.load` takes it.
        inputs: what was asked for: files, folders, globs and archives.
        folder: what relative paths are relative to.
        prompts: entries of all files that have none of their own, as JSON; None without prompts.
        prompts_hash: of all prompts, also those of single files.
        frames: of cines and volumes; for tracks, the frame of prompts that name none.
        formats: of masks, beside the table; values of `ultrasam.images.writing.formats.MaskFormat`.
        shard_size: files in a shard.
        device, precision, runtime, tta, refine: as `ultrasam.Predictor` takes them.
        min_score: of instances.
        size: of the input for features; None for the model's own.
        axis, correct: of tracks, as `ultrasam.track` takes axis and correction.
        kind, factor: of measurements, as `ultrasam.measure.files.measure_files` takes them.
        pixel_size: of measurements: (row, column) in mm, if the user states it.
        manifest: name of the table of all files; empty until the job is planned.
        files: how many there are.
        created: when the job was made, ISO 8601.
        version: of UltraSam.
    """

    task: Task
    model: str
    inputs: tuple[str, ...]
    folder: str = field(default_factory=lambda: str(Path.cwd()))
    prompts: tuple[Mapping[str, Any], ...] | None = None
    prompts_hash: str | None = None
    frames: FrameChoice = None
    formats: tuple[str, ...] = ()
    shard_size: int = DEFAULT_SHARD_SIZE
    device: str | None = None
    precision: str | None = None
    runtime: str | None = None
    tta: bool | None = None
    refine: bool = False
    min_score: float = 0.5
    size: int | None = None
    axis: int = 0
    correct: str = "off"
    kind: str = "shape"
    factor: float | None = None
    pixel_size: tuple[float, float] | None = None
    manifest: str = ""
    files: int = 0
    created: str = field(default_factory=now)
    version: str = __version__

    @property
    def num_shards(self) -> int:
        """How many shards the files are cut into."""
        return -(-self.files // self.shard_size)

    def as_json(self) -> str:
        """The job as the text of its file."""
        return json.dumps(asdict(self), indent=1) + "\n"

    def difference(self, other: Job) -> str | None:
        """How another job differs in what decides the results, as ``model: nano, now vit-b``; None if it
        does not."""
        for one in fields(self):
            mine, theirs = getattr(self, one.name), getattr(other, one.name)
            if one.name not in _FREE and mine != theirs:
                if one.name in ("prompts", "prompts_hash"):
                    return "other prompts"
                return f"{one.name}: {_short(mine)}, now {_short(theirs)}"
        return None


def read_job(out: Path) -> Job:
    """The job of a folder of results.

    Raises:
        DataError: The folder has none, or it is damaged.
        ConfigError: Another version of UltraSam made it with settings that this one does not know.
    """
    path = out / JOB
    if not path.is_file():
        raise DataError(f"{out} is no folder of a sharded run; it has no {JOB}.")
    content = read_json(path)
    known = {one.name for one in fields(Job)}
    if not isinstance(content, dict) or not {"task", "model", "inputs"} <= set(content):
        raise DataError(f"{path} is damaged; begin anew with --overwrite.")
    unknown = sorted(set(content) - known)
    if unknown:
        raise ConfigError(
            f"{path} was made by UltraSam {content.get('version')} and has settings that {__version__} does "
            f"not know ({', '.join(unknown)}); go on with that version, or begin anew with --overwrite."
        )
    for name in ("inputs", "formats"):
        content[name] = tuple(content.get(name) or ())
    for name in ("prompts", "pixel_size"):
        if content.get(name) is not None:
            content[name] = tuple(content[name])
    return Job(**content)


def entries_as_json(entries: Sequence[PromptEntry]) -> list[dict[str, Any]]:
    """Entries of a prompts file, each with its number; those that are no prompts were reported."""
    return [
        {
            "number": entry.number,
            **({} if entry.prompt is None else prompt_as_json(entry.prompt)),
            **{
                name: value
                for name in ("category", "frame", "object", "gone")
                if (value := getattr(entry, name)) is not None and value is not False
            },
        }
        for entry in entries
        if entry.prompt is not None or entry.gone
    ]


def entries_of_json(entries: Sequence[Mapping[str, Any]]) -> list[PromptEntry]:
    """The reverse of `entries_as_json`."""
    return [
        PromptEntry(
            int(entry["number"]),
            None
            if entry.get("gone")
            else Prompt(entry.get("points"), entry.get("labels"), entry.get("box")),
            category=entry.get("category"),
            frame=entry.get("frame"),
            object=entry.get("object"),
            gone=bool(entry.get("gone")),
        )
        for entry in entries
    ]


def hash_of(content: Any) -> str:
    """SHA-256 of what JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return text if len(text) <= 60 else f"{text[:60]} …"
