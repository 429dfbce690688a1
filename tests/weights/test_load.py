"""Model names: how they are parsed, and what `load` returns on which device."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import ultrasam
from tests.conftest import TINY, randomized
from ultrasam import hardware
from ultrasam.downstream.backbone import load_backbone
from ultrasam.downstream.resnet import ResNet
from ultrasam.errors import CheckpointError, ConfigError, DeviceError, UltraSamWarning
from ultrasam.evaluation.models.registry import check_model_name
from ultrasam.hardware import choose_precision, default_device
from ultrasam.inference.predictor import Predictor
from ultrasam.model.config import CONFIGS
from ultrasam.model.ultrasam import UltraSam
from ultrasam.weights.hub import save_pretrained
from ultrasam.weights.load import load, load_model, resolve_config
from ultrasam.weights.registry import PREPROCESSING, REGISTRY
from ultrasam.weights.spec import ModelSpec


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("nano", "registered", "nano"),
        ("medsam", "registered", "medsam"),
        ("random:vit-l", "random", "vit-l"),
        ("random:resnet50", "random", "resnet50"),
        ("imagenet", "imagenet", "google/vit-base-patch16-224-in21k"),
        ("imagenet:some/vit", "imagenet", "some/vit"),
        ("resnet50", "architecture", "resnet50"),
        ("owner/repository", "hub", "owner/repository"),
    ],
)
def test_names_are_read(text: str, kind: str, name: str) -> None:
    spec = ModelSpec.parse(text)
    assert (spec.kind, spec.name, spec.text) == (kind, name, text)
    assert (spec.precision, spec.refine, spec.tta, spec.preprocessing) == (None, False, True, None)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("base", "ultrasam"),
        ("sam", "sam-vit-b"),
        ("sam-base", "sam-vit-b"),
        ("sam-large", "sam-vit-l"),
        ("sam-huge", "sam-vit-h"),
        ("untrained:base", "random:vit-b"),
        ("scratch:nano", "random:nano"),
        ("random:huge", "random:vit-h"),
    ],
)
def test_earlier_names_mean_the_same_with_a_warning(old: str, new: str) -> None:
    with pytest.warns(UltraSamWarning, match=f"'{old}' is deprecated; use '{new}'"):
        earlier = ModelSpec.parse(old)
    now = ModelSpec.parse(new)
    assert (earlier.kind, earlier.name) == (now.kind, now.name)


def test_options_are_read_in_any_order() -> None:
    spec = ModelSpec.parse("medsam+bf16+refine+no-tta+preprocessing=sam")
    assert (spec.precision, spec.refine, spec.tta) == ("bfloat16", True, False)
    assert spec.preprocessing == "sam"
    assert ModelSpec.parse("nano+once").tta is False
    assert ModelSpec.parse("nano+auto").precision == "auto"


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("nano+turbo", ConfigError, r"unknown option '\+turbo'"),
        ("nano+preprocessing=clip", ConfigError, "unknown preprocessing 'clip'; use nano, sam"),
        ("random:giant", ConfigError, "unknown size; use nano, vit-b"),
        ("nonsense", CheckpointError, "neither a file nor a known model"),
        ("./missing.pth", CheckpointError, "neither a file nor a known model"),
        ("a/b/c", CheckpointError, "neither a file nor a known model"),
    ],
)
def test_a_wrong_name_is_refused_before_any_file_is_opened(
    text: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ModelSpec.parse(text)
    with pytest.raises(error, match=message):
        check_model_name(text)


def test_a_path_may_hold_a_plus_sign_and_a_known_name_is_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a+b.safetensors"
    path.touch()
    assert ModelSpec.parse(path).path == path
    assert ModelSpec.parse(f"{path}+bf16").precision == "bfloat16"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nano").mkdir()
    assert ModelSpec.parse("nano").kind == "registered"
    assert ModelSpec.parse("./nano").kind == "path"


@pytest.mark.parametrize("size", ["nano", "vit-b", "vit-l", "vit-h"])
def test_every_size_loads_without_weights(size: str) -> None:
    assert resolve_config(f"random:{size}") is CONFIGS[size]
    with torch.device("meta"):
        model = UltraSam(CONFIGS[size])
    counts = {"nano": 4.9, "vit-b": 93.7, "vit-l": 312.3, "vit-h": 641.1}  # of Meta's, in millions
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(counts[size], abs=0.1)


def test_sizes_of_registered_weights_are_known_without_a_download() -> None:
    for entry in REGISTRY.values():
        assert resolve_config(entry.name) is CONFIGS[entry.architecture]


def test_random_weights_follow_their_seed_and_nothing_else() -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    a, b = (load("random:nano", device="cpu", seed=s).image_encoder.pos_embed for s in (0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.equal(a, b)
    assert torch.equal(a, load("random:nano", device="cpu").image_encoder.pos_embed)


def test_registered_weights_bring_their_preprocessing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Regardless of the downloaded file's metadata."""
    torch.save(randomized(TINY).state_dict(), tmp_path / "w.pth")
    monkeypatch.setattr("ultrasam.weights.download.fetch", lambda _: tmp_path / "w.pth")
    monkeypatch.setattr("ultrasam.weights.download.fetch_hub", lambda _: tmp_path / "w.pth")
    for name, key in (("ultrasam", "ultrasam"), ("sam-vit-b", "sam"), ("medsam", "medsam"),
                      ("wanglab/medsam-vit-base", "medsam"), ("facebook/sam-vit-base", "sam")):  # fmt: skip
        model = load(name, device="cpu")
        assert model.preprocessor.resize == PREPROCESSING[key].resize
        assert model.preprocessor.resample == PREPROCESSING[key].resample


def test_other_architectures_and_tasks_are_opened_by_one_load(tmp_path: Path) -> None:
    assert isinstance(load("random:resnet50", device="cpu"), ResNet)
    with pytest.raises(CheckpointError, match="does not take prompts"):
        load_model("random:resnet50", device="cpu")
    (tmp_path / "classifier.json").write_text("{}")
    with pytest.raises(CheckpointError, match="Cannot read model 'classifier'"):
        load(tmp_path, device="cpu")
    with pytest.raises(CheckpointError, match="fine-tuned for another task"):
        load_model(tmp_path, device="cpu")
    with pytest.raises(CheckpointError):
        load_backbone(str(tmp_path))


def test_a_missing_device_is_a_device_error() -> None:
    with pytest.raises(DeviceError, match="Device 'nowhere' is not available; use 'cpu'"):
        ultrasam.load("nano", device="nowhere")
    with pytest.raises(RuntimeError):
        Predictor("nano", device="cuda:7")
    assert default_device("cpu") == "cpu"


@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        ({"avx2", "fma"}, "float32"),
        ({"avx512f", "avx512_vnni"}, "float32"),
        ({"avx512f", "avx512_bf16"}, "bfloat16"),
        ({"amx_bf16"}, "bfloat16"),
        ({"asimd", "bf16"}, "bfloat16"),
        (set(), "float32"),
    ],
)
def test_auto_takes_bfloat16_only_where_the_processor_has_it(
    flags: set[str], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "processor_flags", lambda: frozenset(flags))
    choice = choose_precision("auto", "cpu")
    assert choice.precision == precision
    assert "bf16" in choice.reason or "no bfloat16" in choice.reason
    given = choose_precision("bf16", "cpu")
    assert given.precision == "bfloat16"
    assert ("slower" in given.reason) == (precision == "float32")
    assert choose_precision(None, "cpu").precision == "float32"
    with pytest.raises(
        ConfigError, match="Unknown precision 'half'; use auto, float32 or bfloat16"
    ):
        choose_precision("half", "cpu")


def test_the_choice_of_auto_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hardware, "processor_flags", lambda: frozenset({"avx512_bf16"}))
    with caplog.at_level("INFO", logger="ultrasam"):
        model = load_model("nano+auto", device="cpu")
    assert "runs in bfloat16: the processor has avx512_bf16" in caplog.text
    assert model.image_encoder.pos_embed.dtype == torch.bfloat16
    assert load_model("nano", device="cpu").image_encoder.pos_embed.dtype == torch.float32


def test_models_lists_the_registry(
    ultrasam: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ultrasam("models", "--json") == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == set(REGISTRY)
    assert rows["nano"]["on_disk"] == "in the package"
    assert rows["medsam"]["prompts"] == ["box"]
    assert rows["medsam"]["preprocessing"]["resize"] == "stretch"
    assert rows["ultrasam"]["sha256"] == "unknown"
    assert ultrasam("models") == 0
    assert "CC-BY-NC" in capsys.readouterr().out


def test_the_command_warns_about_a_deprecated_name(
    ultrasam: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save_pretrained(randomized(TINY), tmp_path / "m")
    monkeypatch.setattr(
        "ultrasam.weights.download.fetch", lambda _: tmp_path / "m" / "model.safetensors"
    )
    image = Path(__file__).parents[2] / "examples" / "phantom.png"
    asked = ("predict", image, "--box", "192,58,534,402", "--model", "sam-base", "-o", tmp_path)
    assert ultrasam(*asked) == 0
    said = capsys.readouterr().err
    assert said.count("'sam-base' is deprecated; use 'sam-vit-b'") == 1


def test_options_that_do_not_apply_are_refused_and_others_reach_the_model(tmp_path: Path) -> None:
    assert load("nano+no-tta", device="cpu").tta.zoom == 0
    with pytest.raises(ConfigError, match=r"is an option of the predictor"):
        load("nano+refine", device="cpu")
    (tmp_path / "classifier.json").write_text("{}")
    for given in ({"spec": f"{tmp_path}+bf16"}, {"spec": tmp_path, "precision": "bfloat16"}):
        with pytest.raises(ConfigError, match="do not apply to it"):
            load(**given, device="cpu")
    with pytest.raises(ConfigError, match="Unknown precision 'half'"):
        load(tmp_path, device="cpu", precision="half")


def test_a_mirror_of_medsam_is_recognized_by_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "medsam-vit-base"
    folder.mkdir()
    torch.save(randomized(TINY).state_dict(), folder / "pytorch_model.bin")
    monkeypatch.setattr("ultrasam.weights.download.fetch_hub", lambda _: folder)
    for name in ("someone/medsam-vit-base", folder / "pytorch_model.bin"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UltraSamWarning)
            assert load(name, device="cpu").preprocessor.scale == "min-max"


def test_hub_names_may_hold_a_dot() -> None:
    assert ModelSpec.parse("owner/model-v1.5").kind == "hub"
    with pytest.raises(CheckpointError):
        ModelSpec.parse("owner/model.pth")


def test_a_device_may_be_torchs() -> None:
    assert load("random:nano", device=torch.device("cpu")).device.type == "cpu"


def test_a_predictor_of_something_else_is_refused() -> None:
    with pytest.raises(ConfigError, match="not a Linear"):
        Predictor(torch.nn.Linear(1, 1))  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="does not take prompts"):
        Predictor("random:resnet50", device="cpu")


def test_a_model_in_bfloat16_can_be_cast_back() -> None:
    model = load("nano+bf16", device="cpu").float()
    predictor = Predictor(model)
    predictor.set_image(np.zeros((60, 80), np.uint8))
    exact = Predictor(load("nano", device="cpu"))
    exact.set_image(np.zeros((60, 80), np.uint8))
    a, b = (p.embedding.image.image for p in (predictor, exact))
    assert (a - b).abs().max() < 0.1 * b.abs().max()


def test_a_damaged_file_in_the_cache_can_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "UltraSam.pth"
    path.write_bytes(b"PK\x03\x04 half of a file")
    monkeypatch.setattr("ultrasam.weights.load.cached_file", lambda _: path)
    with pytest.raises(CheckpointError, match=r"UltraSam.pth .* Delete this file to download it"):
        load_model("ultrasam", device="cpu")


@pytest.mark.parametrize("name", ["runs/w.pth", "runs/best.pth.tar", "runs/w.PKL", "a/b.zip"])
def test_a_missing_file_is_not_looked_for_on_the_hub(name: str) -> None:
    with pytest.raises(CheckpointError, match="is neither a file nor a known model"):
        ModelSpec.parse(name)


def test_loading_draws_no_random_numbers() -> None:
    torch.manual_seed(3)
    load_model("nano", device="cpu")
    drawn = torch.rand(4)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(4))


@pytest.mark.slow
def test_loading_imports_no_compiler() -> None:
    """Its import would take as long as all else."""
    code = "import sys, ultrasam; ultrasam.load('nano'); print({'torch._dynamo', 'sympy'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
