"""Quantize the linear layers and convolutions of an ONNX graph to int8, by ONNX Runtime.

Activations get 8 bits without a sign and one scale, weights 7 bits with a sign and a scale for each output
channel. Processors without VNNI add two products of such bytes in 16 bits, which overflow with weights of 8
bits (2 · 255 · 127) and not with those of 7 (2 · 255 · 64); so a graph is right on any processor. Products of
two activations, as in attention, stay in float32.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ultrasam.extras import needs
from ultrasam.prompts import Float32
from ultrasam.runtimes.onnx_backend import open_session

_KINDS = ("MatMul", "Conv")
_CHANNEL = {"MatMul": 1, "Conv": 0}  # of a weight: the dimension of its output channels
_SIZE = "_shape"


@dataclass(frozen=True, slots=True)
class Layer:
    """A linear layer or convolution of a graph.

    Attributes:
        name: of its weight or bias in the network.
        node: its name in the graph.
        operations: multiplications for one image.
    """

    name: str
    node: str
    operations: int


class GraphQuantizer:
    """Quantizes a graph whose only input is ``pixels``, once or with other layers left out.

    Args:
        graph: an ONNX file in float32.
        pixels: images [1, 3, S, S] whose activations set the scales.
        probes: how many of them the noise of layers is measured on.
        work: a folder for what is measured once.

    Attributes:
        layers: those that can be quantized.

    Raises:
        MissingDependencyError: A package of the extra ``export`` is missing.
    """

    def __init__(
        self, graph: Path, pixels: Sequence[Float32], work: Path, *, probes: int = 3
    ) -> None:
        self._graph, self._pixels, self._work = graph, pixels, work
        self._probes = [{"pixels": image} for image in pixels[:probes]]
        self._expected: list[list[Float32]] = []
        self.layers = layers_of(graph, pixels[0])

    def write(self, file: Path, layers: Sequence[Layer]) -> None:
        """Write the graph with these layers in int8."""
        with needs("Quantizing a model", extra="export"):
            from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
        ranges = self._work / "ranges.json"
        if not ranges.exists():
            _save_ranges(self._graph, {layer.node for layer in self.layers}, self._pixels, ranges)
        with _without_advice():
            quantize_static(
                self._graph, file, None, quant_format=QuantFormat.QDQ, per_channel=True,
                reduce_range=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                op_types_to_quantize=list(_KINDS), nodes_to_quantize=[layer.node for layer in layers],
                calibration_cache_path=ranges,
                extra_options={
                    "OpTypesToExcludeOutputQuantization": list(_KINDS),
                    "QDQOpTypePerChannelSupportToAxis": _CHANNEL,
                },
            )  # fmt: skip

    def noise(self, layers: Sequence[Layer]) -> float:
        """The error that quantizing these layers adds to an output of the graph: its mean square over the
        output's, of the output where it is largest."""
        if not self._expected:
            reference = open_session(self._graph, "cpu")
            self._expected = [reference.run(None, probe) for probe in self._probes]
        file = self._work / "quantized.onnx"
        self.write(file, layers)
        quantized = open_session(file, "cpu")
        errors, powers = [], []  # of each probe, by output
        for probe, expected in zip(self._probes, self._expected, strict=True):
            got = quantized.run(None, probe)
            errors.append([_mean_square(a - b) for a, b in zip(got, expected, strict=True)])
            powers.append([_mean_square(b) for b in expected])
        return float(np.max(np.sum(errors, axis=0) / np.sum(powers, axis=0)))


def layers_of(graph: Path, pixels: Float32) -> tuple[Layer, ...]:
    """The layers of a graph that have weights, in its order.

    Args:
        pixels: an image [1, 3, S, S], to find how often each layer's weights are used.
    """
    with needs("Quantizing a model", extra="export"):
        import onnx
    model = onnx.load(graph)
    sizes = {i.name: tuple(i.dims) for i in model.graph.initializer}
    nodes = [n for n in model.graph.node if n.op_type in _KINDS and n.input[1] in sizes]
    biases = {
        n.input[i]: n.input[1 - i]
        for n in model.graph.node
        if n.op_type == "Add"
        for i in (0, 1)
        if n.input[1 - i] in sizes
    }
    shapes = _shapes(model, [node.output[0] for node in nodes], pixels)
    found = []
    for node, shape in zip(nodes, shapes, strict=True):
        weight = sizes[node.input[1]]
        channels = weight[_CHANNEL[node.op_type]]
        name = node.input[1]
        if node.op_type == "MatMul":  # the exporter transposes its weight and gives it a number
            name = biases.get(node.output[0], node.name)
        operations = int(np.prod(shape)) * int(np.prod(weight)) // channels
        found.append(Layer(_short(name), node.name, operations))
    return tuple(found)


def _shapes(model: Any, values: Sequence[str], pixels: Float32) -> list[tuple[int, ...]]:
    """The shapes of values of a graph for an image."""
    from onnx import TensorProto, helper
    from onnxruntime import InferenceSession

    copy = type(model)()
    copy.CopyFrom(model)
    for name in values:
        copy.graph.node.append(helper.make_node("Shape", [name], [name + _SIZE]))
    outputs = [helper.make_tensor_value_info(n + _SIZE, TensorProto.INT64, [None]) for n in values]
    copy.graph.output.extend(outputs)
    session = InferenceSession(copy.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run([name + _SIZE for name in values], {"pixels": pixels})
    return [tuple(shape.tolist()) for shape in found]


def _short(name: str) -> str:
    """A parameter's module: ``image_encoder.neck.0`` for ``model.image_encoder.neck.0.weight``."""
    return name.removeprefix("model.").removesuffix(".weight").removesuffix(".bias")


def _mean_square(values: Float32) -> float:
    return float(np.square(values, dtype=np.float64).mean())


def _save_ranges(
    graph: Path, nodes: Collection[str], pixels: Sequence[Float32], file: Path
) -> None:
    """Write the least and the greatest value of each layer's input, as `quantize_static` reads them.

    Its own calibration looks at every product, attention's too, in a graph without optimizations, which takes
    more than 24 GB for a ViT-B at 1024 pixels.

    Args:
        nodes: the layers'.
    """
    import onnx
    from onnx import TensorProto, helper
    from onnxruntime.quantization.calibrate import (
        CalibrationMethod,
        TensorsData,
        save_tensors_data,
    )

    model = onnx.load(graph)
    values = sorted({node.input[0] for node in model.graph.node if node.name in nodes})
    names = [f"{value}_{kind}" for value in values for kind in ("min", "max")]
    for value in values:
        for kind, reduce in (("min", "ReduceMin"), ("max", "ReduceMax")):
            model.graph.node.append(
                helper.make_node(reduce, [value], [f"{value}_{kind}"], keepdims=0)
            )
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, []) for name in names
    )
    extended = file.with_suffix(".onnx")
    onnx.save(model, extended)
    session = open_session(extended, "cpu")
    found = np.array([session.run(names, {"pixels": image}) for image in pixels], np.float32)
    extended.unlink()
    ends = zip(values, found[:, 0::2].min(0), found[:, 1::2].max(0), strict=True)
    save_tensors_data(
        TensorsData(CalibrationMethod.MinMax, {value: (low, high) for value, low, high in ends}),
        file,
    )


@contextmanager
def _without_advice() -> Iterator[None]:
    """Without the warning that a graph should be preprocessed first, which ours need not be: it goes to the
    root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
