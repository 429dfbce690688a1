"""Write an exported model as a model repository of NVIDIA's Triton Inference Server.

Each graph becomes a model of the server: ``NAME_GRAPH/1/model.onnx`` with its ``config.pbtxt``. The folder
stays an exported one (``model.json`` gives the files' places), so every command of UltraSam takes it, too.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ultrasam.errors import ConfigError
from ultrasam.files import atomic_write, write_json
from ultrasam.runtimes.exported_folder import check_free, new_folder
from ultrasam.weights.exported import DESCRIPTION, graph_file, is_exported, read_description

if TYPE_CHECKING:
    from ultrasam.runtimes.export import Precision
    from ultrasam.weights.spec import ModelSpec

_TYPES = {"float32": "TYPE_FP32"}
_MAX_BATCH = 8  # images that the server may encode together
_DELAY = 2000  # microseconds that an image may wait for others
_QUEUE = 64  # requests that may wait; the server refuses more


def export_repository(
    spec: ModelSpec, out: Path, *, precision: Precision = "float32", overwrite: bool = False
) -> list[Path]:
    """Write a model repository of a model, or of a folder that was exported to ONNX.

    Args:
        spec: the model.
        out: the repository; it appears only when it is complete.
        precision: of the stored weights, unless the model was exported before.
        overwrite: replace an earlier export.

    Returns:
        The files of the repository.

    Raises:
        ConfigError: An exported folder is for another runtime, or a graph does not fit one file.
        CheckpointError, ExportError, MissingDependencyError, UltraSamError: As in
            `ultrasam.runtimes.export.export`.
    """
    check_free(out, overwrite=overwrite)
    if spec.kind == "path" and is_exported(spec.path):
        return write_repository(spec.path, out)
    from ultrasam.runtimes.export import export

    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".ultrasam-triton-", dir=out.parent) as folder:
        exported = Path(folder) / "model"
        export(spec, exported, to="onnx", precision=precision)
        return write_repository(exported, out)


def write_repository(exported: Path, out: Path) -> list[Path]:
    """Write a model repository from a folder that was exported to ONNX.

    Args:
        exported: what ``ultrasam export --to onnx`` wrote, in any precision and for any task.
        out: the repository; an earlier one is replaced.

    Returns:
        The files of the repository.

    Raises:
        CheckpointError: The folder is not an exported one, or is damaged.
        ConfigError, UltraSamError: As in `export_repository`.
    """
    content = json.loads(json.dumps(read_description(exported)))  # a copy to change
    if content["runtime"] != "onnx":
        raise ConfigError(
            f"{exported} is exported for {content['runtime']}; export the model to onnx for Triton."
        )
    base = re.sub(r"[^\w.-]+", "_", str(content["name"])).strip("_.") or "model"
    with new_folder(out) as part:
        for graph, about in content["graphs"].items():
            name = f"{base}_{graph}"
            place = part / name / "1" / "model.onnx"
            place.parent.mkdir(parents=True)
            shutil.copyfile(graph_file(exported, content, graph), place)
            if len(about["files"]) != 1:
                raise ConfigError(f"The {graph} of {exported} is too large for one ONNX file.")
            about["files"][0]["name"] = place.relative_to(part).as_posix()
            atomic_write(part / name / "config.pbtxt", model_config(name, about))
        for name in ("README.md", "LICENSE"):
            if (exported / name).is_file():
                shutil.copyfile(exported / name, part / name)
        write_json(part / DESCRIPTION, content)
    return sorted(path for path in out.rglob("*") if path.is_file())


def model_config(name: str, interface: Mapping[str, Any]) -> str:
    """The ``config.pbtxt`` of a graph: Triton's ``ModelConfig`` in protobuf's text format.

    A graph all of whose tensors have a row for each image gets dynamic batching: the server puts images of
    several requests together. Of others, such as the decoder, which takes any number of prompts on one image,
    each request runs by itself.

    Args:
        name: of the model on the server.
        interface: ``inputs`` and ``outputs`` of the graph as in ``model.json``: of each, ``name``, ``dtype``
            and ``shape``, in which words are dimensions of any size.

    Raises:
        ConfigError: A type is not known.
    """
    given, results = interface["inputs"], interface["outputs"]
    batched = _is_batched([*given, *results])
    lines = [
        f'name: "{name}"', 'backend: "onnxruntime"', 'default_model_filename: "model.onnx"',
        f"max_batch_size: {_MAX_BATCH if batched else 0}",
        *_tensors("input", given, batched=batched), *_tensors("output", results, batched=batched),
    ]  # fmt: skip
    if batched:
        lines += [
            "dynamic_batching {", f"  max_queue_delay_microseconds: {_DELAY}",
            f"  default_queue_policy {{ max_queue_size: {_QUEUE} }}", "}",
        ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _is_batched(tensors: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the first dimension of every tensor is the number of images, and no tensor has it alone."""
    first = {str(tensor["shape"][0]) if tensor["shape"] else "" for tensor in tensors}
    return first == {"images"} and all(len(tensor["shape"]) > 1 for tensor in tensors)


def _tensors(kind: str, tensors: Sequence[Mapping[str, Any]], *, batched: bool) -> list[str]:
    lines = []
    for tensor in tensors:
        if tensor["dtype"] not in _TYPES:
            raise ConfigError(
                f"'{tensor['name']}' is {tensor['dtype']}, which no graph for Triton has."
            )
        shape = tensor["shape"][1:] if batched else tensor["shape"]
        dims = ", ".join(str(size if isinstance(size, int) else -1) for size in shape)
        lines += [
            f"{kind} {{", f'  name: "{tensor["name"]}"', f"  data_type: {_TYPES[tensor['dtype']]}",
            f"  dims: [ {dims} ]", "}",
        ]  # fmt: skip
    return lines
