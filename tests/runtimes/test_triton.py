"""A model repository for Triton: what the server is told of each graph is what the graph has."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.images.files import picture
from ultrasam.errors import CheckpointError, ConfigError, UltraSamError
from ultrasam.inference.predictor import Predictor
from ultrasam.prompts import Prompt
from ultrasam.runtimes.triton import export_repository, model_config, write_repository
from ultrasam.weights.spec import ModelSpec

pytestmark = pytest.mark.slow  # as is exporting

GRAPHS = ("encoder", "decoder")


@pytest.fixture(scope="module")
def repository(exported_nano: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("triton") / "models"
    write_repository(exported_nano, out)
    return out


def parsed(text: str) -> Any:
    """A configuration as Triton's own definition reads it; what it does not know is an error."""
    found = importlib.util.find_spec("tritonclient")
    if found is None or not found.submodule_search_locations:
        pytest.skip("tritonclient, which has Triton's definition of config.pbtxt, is not installed")
    from google.protobuf import text_format

    # The package itself needs grpc, which its definition does not.
    file = Path(found.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return text_format.Parse(text, module.ModelConfig())


@pytest.mark.parametrize("graph", GRAPHS)
def test_the_server_is_told_what_the_graph_has(graph: str, repository: Path) -> None:
    folder = repository / f"small_{graph}"
    config = parsed((folder / "config.pbtxt").read_text())
    assert config.name == folder.name
    assert config.backend == "onnxruntime"
    proto = onnx.load(folder / "1" / config.default_model_filename).graph
    batched = config.max_batch_size > 0
    for told, has in ((config.input, proto.input), (config.output, proto.output)):
        assert [one.name for one in told] == [value.name for value in has]
        for one, value in zip(told, has, strict=True):
            tensor = value.type.tensor_type
            assert (
                one.DESCRIPTOR.fields_by_name["data_type"]
                .enum_type.values_by_number[one.data_type]
                .name
                == {onnx.TensorProto.FLOAT: "TYPE_FP32"}[tensor.elem_type]
            )
            dims = [-1 if d.dim_param else d.dim_value for d in tensor.shape.dim]
            assert [*([-1] if batched else []), *one.dims] == dims


def test_images_of_several_requests_are_encoded_together_and_prompts_are_not(
    repository: Path,
) -> None:
    encoder, decoder = (
        parsed((repository / f"small_{graph}" / "config.pbtxt").read_text()) for graph in GRAPHS
    )
    assert encoder.max_batch_size == 8
    assert encoder.dynamic_batching.default_queue_policy.max_queue_size == 64
    assert decoder.max_batch_size == 0
    assert not decoder.HasField("dynamic_batching")


def test_a_batch_as_the_server_makes_it_gives_what_each_image_gives_alone(
    repository: Path,
) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(repository / "small_encoder" / "1" / "model.onnx")
    pixels = np.random.default_rng(0).normal(size=(8, 3, 128, 128)).astype(np.float32)
    together = session.run(None, {"pixels": pixels})
    for index in range(len(pixels)):
        alone = session.run(None, {"pixels": pixels[index : index + 1]})
        for one, many in zip(alone, together, strict=True):
            assert np.abs(one[0] - many[index]).max() < 1e-4


def test_the_repository_is_still_a_model_of_every_command(
    repository: Path, exported_nano: Path
) -> None:
    found = []
    for folder in (repository, exported_nano):
        predictor = Predictor(str(folder), tta=False)
        predictor.set_image(picture())
        found.append(predictor.predict(Prompt(box=(20, 20, 70, 60))).low_res_logits)
    assert np.array_equal(*found)


def test_what_is_exported_already_is_taken_as_it_is(exported_nano: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    files = export_repository(ModelSpec.parse(str(exported_nano)), out)
    assert files == sorted(path for path in out.rglob("*") if path.is_file())
    for graph in GRAPHS:
        model = out / f"small_{graph}" / "1" / "model.onnx"
        assert model.read_bytes() == (exported_nano / f"{graph}.onnx").read_bytes()
    with pytest.raises(UltraSamError, match="--overwrite"):
        export_repository(ModelSpec.parse(str(exported_nano)), out)
    export_repository(ModelSpec.parse(str(exported_nano)), out, overwrite=True)


def test_damaged_folders_and_those_of_other_runtimes_are_refused(
    exported_nano: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(exported_nano, copy)
    content = json.loads((copy / "model.json").read_text())
    (copy / "model.json").write_text(json.dumps({**content, "runtime": "openvino"}))
    with pytest.raises(ConfigError, match="is exported for openvino"):
        write_repository(copy, tmp_path / "out")
    (copy / "model.json").write_text(json.dumps(content))
    (copy / "encoder.onnx").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="is not the file that was exported"):
        write_repository(copy, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_type_that_no_graph_has_is_refused() -> None:
    tensor = {"name": "a", "dtype": "complex64", "shape": ["images", 3]}
    with pytest.raises(ConfigError, match="'a' is complex64"):
        model_config("x", {"inputs": [tensor], "outputs": [tensor]})


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--precision", "int8"], "leave --precision"),
        (["--precision", "float16"], "leave --precision"),
    ],
)
def test_an_exported_folder_keeps_its_precision(
    options: list[str],
    text: str,
    exported_nano: Path,
    tmp_path: Path,
    ultrasam: Callable[..., int],
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    assert ultrasam("export", exported_nano, "--to", "triton", "-o", out, *options) == 1
    assert text in capfd.readouterr().err
    assert ultrasam("export", exported_nano, "--to", "triton", "-o", out) == 0
    assert str(out / "small_encoder" / "config.pbtxt") in capfd.readouterr().out
    assert ultrasam("export", "nano", "--to", "triton", "--precision", "int8", "-o", out) == 1
    assert "to onnx first" in capfd.readouterr().err
