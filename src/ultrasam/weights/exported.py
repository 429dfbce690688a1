"""What `ultrasam export` writes, read back: ``model.json`` describes a folder with a network's graphs.

Reading it needs neither PyTorch nor a runtime.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultrasam.errors import CheckpointError, ConfigError, one_line
from ultrasam.model.config import ModelConfig
from ultrasam.model.postprocessing import Postprocessor
from ultrasam.model.preprocessing import Preprocessor, TestTimeAugmentation

DESCRIPTION = "model.json"
FORMAT, FORMAT_VERSION = "ultrasam-export", 1
INT8 = "int8"


@dataclass(frozen=True, slots=True, eq=False)
class Exported:
    """An exported folder.

    Attributes:
        folder: where it is.
        name: of the model.
        runtime: what its graphs are for, ``onnx``, ``openvino`` or ``torch``.
        config, preprocessor, tta, postprocessor: settings of the model.
        content: all of ``model.json``.
    """

    folder: Path
    name: str
    runtime: str
    config: ModelConfig
    preprocessor: Preprocessor
    tta: TestTimeAugmentation
    postprocessor: Postprocessor
    content: Mapping[str, Any]

    @property
    def is_int8(self) -> bool:
        """Whether layers of its image encoder are in int8."""
        return self.content.get("precision") == INT8

    def file(self, graph: str) -> Path:
        """The file of a graph, ``encoder`` or ``decoder``, once it and those that belong to it are found to
        be what was exported.

        Raises:
            CheckpointError: A file is missing or damaged.
        """
        return graph_file(self.folder, self.content, graph)


def graph_file(folder: Path, content: Mapping[str, Any], graph: str) -> Path:
    """The file of a graph of an exported folder; as `Exported.file`.

    Args:
        content: the folder's description.
    """
    files = content["graphs"][graph]["files"]
    for entry in files:
        path = folder / entry["name"]
        try:
            with path.open("rb") as opened:
                found = hashlib.file_digest(opened, "sha256").hexdigest()
        except OSError as error:
            raise CheckpointError(
                f"Cannot read {path}: {one_line(error)}; copy the folder or export the model again."
            ) from error
        if found != entry["sha256"]:
            raise CheckpointError(
                f"{path} is not the file that was exported; copy the folder or export the model again."
            )
    return folder / str(files[0]["name"])


def is_exported(folder: Path) -> bool:
    """Whether a path is a folder that `ultrasam export` wrote."""
    return _content(folder) is not None


def exported_task(folder: Path) -> str | None:
    """The task of an exported model that was fine-tuned for one; None for any other folder."""
    task = (_content(folder) or {}).get("task")
    return None if task is None else str(task)


def _content(folder: Path) -> Mapping[str, Any] | None:
    """The description of an exported folder, whatever its version; None for any other folder."""
    file = folder / DESCRIPTION
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    known = isinstance(content, Mapping) and content.get("format") == FORMAT
    return content if known else None


def read_description(folder: Path) -> Mapping[str, Any]:
    """The description of an exported folder.

    Raises:
        CheckpointError: The folder is not an exported one, or its description cannot be read or is of another
            version.
    """
    file = folder / DESCRIPTION
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"Cannot read {file}: {one_line(error)}.") from error
    if not isinstance(content, Mapping) or content.get("format") != FORMAT:
        raise CheckpointError(f"{file} does not describe a model that ultrasam export wrote.")
    if content.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{file} has version {content.get('format_version')}, but this UltraSam reads version "
            f"{FORMAT_VERSION}; update the package, or export the model again."
        )
    return content


def read_exported(folder: Path, *, task: str | None = None) -> Exported:
    """Read the description of an exported promptable model.

    Args:
        task: what the model was fine-tuned for besides masks; None for a model that gives masks only.

    Raises:
        CheckpointError: The folder is not an exported one, its description is damaged or of another version,
            or its model is for another task.
    """
    content = read_description(folder)
    if content.get("task") != task:
        raise CheckpointError(
            f"{folder} is fine-tuned for another task, but a promptable model is required here."
        )
    try:
        test_time = content["test_time_augmentation"]
        return Exported(
            folder=folder,
            name=str(content["name"]),
            runtime=str(content["runtime"]),
            config=ModelConfig.from_json(json.dumps(content["config"])),
            preprocessor=Preprocessor.from_dict(content["preprocessing"]),
            tta=TestTimeAugmentation(test_time["zoom"], test_time["flip"]),
            postprocessor=Postprocessor.from_dict(content["postprocessing"]),
            content=content,
        )
    except (KeyError, TypeError, ConfigError) as error:
        raise CheckpointError(
            f"{folder / DESCRIPTION} is damaged ({type(error).__name__}: {one_line(error)}); export the "
            "model again."
        ) from error
