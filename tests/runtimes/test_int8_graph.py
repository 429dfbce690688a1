"""An ONNX graph in int8: its arithmetic, the bounds of its weights, and the layers that stay in float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from ultrasam.model.ultrasam import UltraSam
from ultrasam.prompts import Float32
from ultrasam.runtimes.int8_graph import GraphQuantizer, layers_of
from ultrasam.runtimes.onnx_backend import open_session


def linear_graph(file: Path, weight: Float32) -> Path:
    """A graph of one matrix product: pixels [1, 3, 4, K] times a weight [K, N]."""
    node = helper.make_node("MatMul", ["pixels", "weight"], ["result"], name="linear")
    shapes = ([1, 3, 4, weight.shape[0]], [1, 3, 4, weight.shape[1]])
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in zip(("pixels", "result"), shapes, strict=True)
    ]
    initializer = [numpy_helper.from_array(weight, "weight")]
    graph = helper.make_graph([node], "linear", values[:1], values[1:], initializer)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), file)
    return file


def test_a_product_is_that_of_numpy_s_integers(tmp_path: Path, rng: np.random.Generator) -> None:
    weight = (rng.normal(size=(24, 10)) * np.geomspace(0.01, 3, 10)).astype(np.float32)
    images = [rng.uniform(-1, 3, (1, 3, 4, 24)).astype(np.float32) for _ in range(3)]
    quantizer = GraphQuantizer(linear_graph(tmp_path / "in.onnx", weight), images, tmp_path)
    quantizer.write(tmp_path / "out.onnx", quantizer.layers)
    (got,) = open_session(tmp_path / "out.onnx", "cpu").run(None, {"pixels": images[0]})

    low, high = min(i.min() for i in images), max(i.max() for i in images)
    step = (high - low) / 255
    zero = np.round(-low / step)
    pixels = np.clip(np.round(images[0] / step) + zero, 0, 255).astype(np.int64) - int(zero)
    scales = np.abs(weight).max(axis=0) / 64  # 7 bits with a sign
    steps = np.round(weight / scales).astype(np.int64)
    assert np.abs(got - (pixels @ steps) * step * scales).max() < 1e-4 * np.abs(got).max()
    assert np.abs(got - images[0] @ weight).max() < 0.05 * np.abs(got).max()


def test_no_two_products_overflow_16_bits_and_each_channel_has_its_scale(
    exported_nano: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Processors without VNNI add two products of bytes in 16 bits."""
    image = rng.normal(size=(1, 3, 128, 128)).astype(np.float32)
    quantizer = GraphQuantizer(exported_nano / "encoder.onnx", [image], tmp_path)
    quantizer.write(tmp_path / "out.onnx", quantizer.layers)
    graph = onnx.load(tmp_path / "out.onnx").graph
    values = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    weights = {
        node.input[0]: node.input[1]
        for node in graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in values
    }
    weights = {name: scale for name, scale in weights.items() if values[name].dtype == np.int8}
    assert len(weights) == len(quantizer.layers)
    for name, scale in weights.items():
        largest = int(np.abs(values[name].astype(int)).max())
        assert 2 * 255 * largest <= np.iinfo(np.int16).max
        assert values[scale].size in values[name].shape
        assert values[scale].size > 1
    activations = [n for n in graph.node if n.op_type == "QuantizeLinear"]
    assert activations
    assert all(values[node.input[2]].dtype == np.uint8 for node in activations)


def test_the_layers_are_the_network_s_with_its_multiplications(
    exported_nano: Path, small_nano: UltraSam
) -> None:
    counted: dict[str, int] = {}

    def count(name: str, module: nn.Linear | nn.Conv2d) -> None:
        def hook(_: nn.Module, __: object, output: Tensor) -> None:
            counted[name] = output.numel() * module.weight.numel() // module.weight.shape[0]

        handles.append(module.register_forward_hook(hook))

    handles: list[torch.utils.hooks.RemovableHandle] = []
    for name, module in small_nano.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            count(name, module)
    pixels = torch.zeros(1, 3, 128, 128)
    with torch.inference_mode():
        small_nano.encode(pixels)
    for handle in handles:
        handle.remove()
    found = layers_of(exported_nano / "encoder.onnx", pixels.numpy())
    assert {layer.name: layer.operations for layer in found} == counted


def test_leaving_out_the_noisiest_layer_lowers_the_noise(
    exported_nano: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    images = [rng.normal(size=(1, 3, 128, 128)).astype(np.float32) for _ in range(2)]
    quantizer = GraphQuantizer(exported_nano / "encoder.onnx", images, tmp_path, probes=1)
    noise = {layer: quantizer.noise([layer]) for layer in quantizer.layers}
    assert all(value > 0 for value in noise.values())
    noisiest = max(noise, key=noise.__getitem__)
    others = [layer for layer in quantizer.layers if layer != noisiest]
    assert quantizer.noise(others) < quantizer.noise(quantizer.layers) < 0.1


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_both_runtimes_compute_a_quantized_encoder_alike(
    exported_nano: Path, tmp_path: Path, rng: np.random.Generator, runtime: str
) -> None:
    from ultrasam.quantization.export import Effort, quantize_unchecked
    from ultrasam.runtimes.backends import open_exported
    from ultrasam.weights.exported import read_exported

    full = read_exported(exported_nano)
    found = quantize_unchecked(full, tmp_path / "int8", effort=Effort(2, 1, 1))
    backend = open_exported(found, runtime, device="cpu", precision=None)
    assert backend.precision == "int8"  # type: ignore[attr-defined]
    pixels = rng.normal(size=(2, 3, 128, 128)).astype(np.float32)
    reference = open_exported(full, "onnx", device="cpu", precision=None)
    for got, expected in zip(backend.encode(pixels), reference.encode(pixels), strict=True):
        for name, values in expected.items():
            error = np.square(got[name] - values).mean() / np.square(values).mean()
            assert 0 < error < 0.01
