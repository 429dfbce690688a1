"""Write encoder and decoder as ONNX graphs with any number of images, prompts and points."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ultrasam.errors import ConfigError
from ultrasam.extras import needs
from ultrasam.files import atomic_write
from ultrasam.model.ultrasam import UltraSam
from ultrasam.prompts import BOTTOM_RIGHT, FOREGROUND, NOT_A_POINT, TOP_LEFT
from ultrasam.runtimes.graphs import DecoderGraph, EncoderGraph

OPSET = 18
DECODER_INPUTS = ("coords", "labels", "mask_prompts", "has_mask")
DECODER_OUTPUTS = ("masks", "predicted_iou")
_HALF = "_float16"
_SMALL = 256  # initializers of fewer values stay in float32
_MAX_BYTES = 2 * 10**9  # of one protobuf message


@dataclass(frozen=True, slots=True)
class Graphs:
    """The two parts of a network.

    Attributes:
        encoder: takes pixels; its outputs are inputs of the decoder.
        decoder: as `ultrasam.runtimes.graphs.DecoderGraph`, with all but the encoder's first output in place
            of ``high_res``.
        encoded, decoded: the names of their outputs.
    """

    encoder: nn.Module
    decoder: nn.Module
    encoded: tuple[str, ...]
    decoded: tuple[str, ...] = DECODER_OUTPUTS


def graphs_of(model: UltraSam) -> Graphs:
    """Encoder and decoder of a promptable model."""
    return Graphs(EncoderGraph(model), DecoderGraph(model), encoder_outputs(model))


def encoder_outputs(model: UltraSam) -> tuple[str, ...]:
    """Names of the encoder's outputs, which are inputs of the decoder."""
    fine = ("high_res_0", "high_res_1") if model.config.high_res_features else ()
    return ("image", *fine)


def write_onnx(
    model: UltraSam, folder: Path, *, graphs: Graphs | None = None, half: bool = False
) -> list[Path]:
    """Write ``encoder.onnx`` and ``decoder.onnx``.

    Args:
        graphs: other graphs of the model; by default `graphs_of`.
        half: store weights that float16 holds exactly in float16; the graphs still compute in float32. See
            `rounded_to_half`.

    Returns:
        The files.

    Raises:
        ConfigError: A graph is too large for one ONNX file.
        MissingDependencyError: onnx or onnxscript is not installed.
    """
    config, graphs = model.config, graphs or graphs_of(model)
    size = config.image_size
    pixels = torch.zeros(2, 3, size, size)
    with torch.no_grad():
        image, *others = graphs.encoder(pixels[:1])
    coords = torch.rand(2, 3, 2) * size
    labels = torch.tensor(
        [[FOREGROUND, FOREGROUND, NOT_A_POINT], [FOREGROUND, TOP_LEFT, BOTTOM_RIGHT]]
    )
    masks = torch.zeros(2, 1, config.mask_size, config.mask_size)
    prompts = (coords, labels.float(), masks, torch.tensor([1.0, 0.0]))
    images, count = torch.export.Dim("images", max=256), torch.export.Dim("prompts", max=4096)
    points = torch.export.Dim("points", max=1024)
    by_prompt = ({0: count, 1: points}, {0: count, 1: points}, {0: count}, {0: count})
    encoder = folder / "encoder.onnx"
    write_graph(
        graphs.encoder, encoder, (pixels,), ({0: images},), ("pixels",), graphs.encoded, half=half
    )
    decoder = folder / "decoder.onnx"
    write_graph(
        graphs.decoder,
        decoder,
        (image, tuple(others), *prompts),
        ({}, tuple({} for _ in others), *by_prompt),
        (*graphs.encoded, *DECODER_INPUTS),
        graphs.decoded,
        half=half,
    )
    return [encoder, decoder]


def write_graph(
    graph: nn.Module,
    file: Path,
    inputs: tuple[Any, ...],
    shapes: tuple[Any, ...],
    given: Sequence[str],
    results: Sequence[str],
    *,
    half: bool = False,
) -> None:
    """Write a module as an ONNX graph.

    Args:
        inputs: examples, of at least 2 where their number is dynamic.
        shapes: of each input, the dimensions (`torch.export.Dim`) that are.
        given, results: names of inputs and outputs.
        half: as in `write_onnx`.

    Raises:
        ConfigError: The graph is too large for one ONNX file.
        MissingDependencyError: onnx or onnxscript is not installed.
    """
    proto = _convert(graph, inputs, shapes, given, results)
    _remove_traces(proto)
    _name_dimensions(proto)
    if half:
        _store_half(proto)
    if proto.ByteSize() > _MAX_BYTES:
        raise ConfigError(
            f"The {file.stem} is larger than the 2 GB of an ONNX file; export the model with --precision "
            "float16."
        )
    atomic_write(file, proto.SerializeToString())


def interface(file: Path) -> dict[str, list[dict[str, Any]]]:
    """The inputs and outputs of an ONNX graph, all float32: names and shapes, in which words are of any
    size."""
    import onnx

    graph = onnx.load(file, load_external_data=False).graph
    return {
        kind: [
            {
                "name": value.name,
                "dtype": "float32",
                "shape": [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim],
            }
            for value in values
        ]
        for kind, values in (("inputs", graph.input), ("outputs", graph.output))
    }


def rounded_to_half(model: UltraSam) -> UltraSam:
    """A copy whose parameters are rounded to float16; buffers, which hold the positions' frequencies, are
    not.

    Raises:
        ConfigError: A weight is beyond float16's range.
    """
    rounded = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in rounded.named_parameters():
            values: Tensor = parameter.half().to(parameter.dtype)
            if not torch.isfinite(values).all():
                raise ConfigError(f"The weight {name} is beyond float16's range; use float32.")
            parameter.copy_(values)
    return rounded


def _convert(
    graph: nn.Module,
    inputs: tuple[Any, ...],
    shapes: tuple[Any, ...],
    given: Any,
    results: Any,
) -> Any:
    with needs("Exporting to ONNX", extra="export"):
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    # The exporter reports its progress by prints and logs, and warns of its own deprecated calls.
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            torch.no_grad(),
        ):
            warnings.simplefilter("ignore")
            # Where its own tracing of a module fails, the exporter tries others, which may fix a dimension.
            traced = torch.export.export(graph, inputs, dynamic_shapes=shapes, strict=False)
            program = torch.onnx.export(
                traced, dynamo=True, opset_version=OPSET, input_names=list(given),
                output_names=list(results), verbose=False,
            )  # fmt: skip
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
    assert program is not None
    return program.model_proto


def _remove_traces(proto: Any) -> None:
    """Remove what the exporter notes of each node: where in which file it comes from, which takes more than
    a small network and names folders of this machine."""
    graph = proto.graph
    parts = (proto, graph, *graph.node, *graph.input, *graph.output, *graph.initializer)
    for part in parts:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


def _name_dimensions(proto: Any) -> None:
    """Give the dimensions of any size the names that model.json has."""
    known = {"pixels": ("images",), "coords": ("prompts", "points")}
    values = [*proto.graph.input, *proto.graph.output]
    names: dict[str, str] = {}
    for value in values:
        for dimension, name in zip(
            value.type.tensor_type.shape.dim, known.get(value.name, ()), strict=False
        ):
            names[dimension.dim_param] = name
    for value in values:
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_param = names[dimension.dim_param]
    del proto.graph.value_info[:]  # of inner values; runtimes infer them


def _store_half(proto: Any) -> None:
    """Store float32 initializers that float16 holds exactly in float16, followed by a cast."""
    from onnx import TensorProto, helper, numpy_helper

    casts, kept = [], []
    for tensor in proto.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < _SMALL:
            kept.append(tensor)
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            small = values.astype(np.float16)
        if not np.array_equal(small.astype(np.float32), values):
            kept.append(tensor)
            continue
        kept.append(numpy_helper.from_array(small, tensor.name + _HALF))
        casts.append(
            helper.make_node("Cast", [tensor.name + _HALF], [tensor.name], to=TensorProto.FLOAT)
        )
    nodes = [*casts, *proto.graph.node]
    del proto.graph.initializer[:], proto.graph.node[:]
    proto.graph.initializer.extend(kept)
    proto.graph.node.extend(nodes)
