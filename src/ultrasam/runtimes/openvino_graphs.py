"""Convert ONNX graphs to OpenVINO's own format."""

from __future__ import annotations

from pathlib import Path

from ultrasam.extras import needs


def convert(onnx: Path, *, half: bool = False) -> list[Path]:
    """Write a graph beside an ONNX file, which is removed.

    Args:
        half: store weights in float16; OpenVINO computes in float32.

    Returns:
        The files: the graph, and its weights.
    """
    with needs("Exporting to OpenVINO", extra="export"):
        import openvino
    model = openvino.convert_model(str(onnx))
    graph = onnx.with_suffix(".xml")
    openvino.save_model(model, str(graph), compress_to_fp16=half)
    del model  # it maps the file
    onnx.unlink()
    return [graph, graph.with_suffix(".bin")]
