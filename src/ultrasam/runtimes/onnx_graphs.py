"""Write encoder and decoder as ONNX graphs with any number of images, prompts and points."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
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


def encoder_outputs(model: UltraSam) -> tuple[str, ...]:
    """Names of the encoder's outputs, which are inputs of the decoder."""
    fine = ("high_res_0", "high_res_1") if model.config.high_res_features else ()
    return ("image", *fine)


def write_onnx(model: UltraSam, folder: Path, *, half: bool = False) -> list[Path]:
    """Write ``encoder.onnx`` and ``decoder.onnx``.

    Args:
        half: store weights that float16 holds exactly in float16; the graphs still compute in float32. See
            `rounded_to_half`.

    Returns:
        The files.

    Raises:
        ConfigError: A graph is too large for one ONNX file.
        MissingDependencyError: onnx or onnxscript is not installed.
    """
    config, names = model.config, encoder_outputs(model)
    size = config.image_size
    pixels = torch.zeros(2, 3, size, size)
    encoder, decoder = EncoderGraph(model), DecoderGraph(model)
    with torch.inference_mode():
        image, *high_res = (part.clone() for part in encoder(pixels[:1]))
    image, *high_res = (part.detach().clone() for part in (image, *high_res))
    coords = torch.rand(2, 3, 2) * size
    labels = torch.tensor(
        [[FOREGROUND, FOREGROUND, NOT_A_POINT], [FOREGROUND, TOP_LEFT, BOTTOM_RIGHT]]
    )
    masks = torch.zeros(2, 1, config.mask_size, config.mask_size)
    prompts = (coords, labels.float(), masks, torch.tensor([1.0, 0.0]))
    images, count = torch.export.Dim("images", max=256), torch.export.Dim("prompts", max=4096)
    points = torch.export.Dim("points", max=1024)
    by_prompt = ({0: count, 1: points}, {0: count, 1: points}, {0: count}, {0: count})
    graphs: dict[str, tuple[nn.Module, tuple[Any, ...], tuple[Any, ...], Any, Any]] = {
        "encoder": (encoder, (pixels,), ({0: images},), ("pixels",), names),
        "decoder": (
            decoder,
            (image, tuple(high_res), *prompts),
            ({}, tuple({} for _ in high_res), *by_prompt),
            (*names, *DECODER_INPUTS),
            DECODER_OUTPUTS,
        ),
    }
    files = []
    for part, (graph, inputs, shapes, given, results) in graphs.items():
        proto = _convert(graph, inputs, shapes, given, results)
        _name_dimensions(proto)
        if half:
            _store_half(proto)
        if proto.ByteSize() > _MAX_BYTES:
            raise ConfigError(
                f"The {part} of {config.name} is larger than the 2 GB of an ONNX file; export it with "
                "--precision float16."
            )
        files.append(folder / f"{part}.onnx")
        atomic_write(files[-1], proto.SerializeToString())
    return files


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
    graph: nn.Module, inputs: tuple[Any, ...], shapes: tuple[Any, ...], given: Any, results: Any
) -> Any:
    with needs("Exporting to ONNX", extra="export"):
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    # The exporter reports its progress by prints and logs, and warns of its own deprecated calls.
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            torch.no_grad(),
        ):
            warnings.simplefilter("ignore")
            # Given a module, the exporter would fix a dimension that its own tracing does not follow.
            traced = torch.export.export(graph, inputs, dynamic_shapes=shapes, strict=True)
            program = torch.onnx.export(
                traced, dynamo=True, opset_version=OPSET, input_names=list(given),
                output_names=list(results), verbose=False,
            )  # fmt: skip
    finally:
        logging.getLogger("torch.onnx").setLevel(level)
    assert program is not None
    return program.model_proto


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
