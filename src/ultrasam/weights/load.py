"""`load` opens a model by name or path, on a device and in a precision; everything else goes through it."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ultrasam.errors import CheckpointError, ConfigError
from ultrasam.hardware import choose_precision, default_device, place
from ultrasam.model.config import CONFIGS, ModelConfig
from ultrasam.model.preprocessing import TestTimeAugmentation
from ultrasam.model.ultrasam import UltraSam
from ultrasam.weights.adapter_files import find_adaptation, load_adaptation
from ultrasam.weights.adapters import merge
from ultrasam.weights.cache import cached_file
from ultrasam.weights.exported import is_exported, read_exported
from ultrasam.weights.files import build_model, read_checkpoint
from ultrasam.weights.hashing import weights_hash
from ultrasam.weights.imagenet import from_imagenet
from ultrasam.weights.infer import named_medsam
from ultrasam.weights.registry import PREPROCESSING, REGISTRY, TTA, Weights
from ultrasam.weights.spec import ModelSpec
from ultrasam.weights.tasks import (
    ARCHITECTURES,
    OPENERS,
    SERVERS,
    TASKS,
    detect_task,
    is_address,
    resolve,
)

log = logging.getLogger(__name__)
SpecLike = ModelSpec | str | os.PathLike[str]


def load(
    spec: SpecLike = "nano",
    *,
    device: str | None = None,
    precision: str | None = None,
    runtime: str | None = None,
    seed: int = 0,
) -> Any:
    """Load a model of any kind.

    Args:
        spec: ``nano`` (included in the package); ``ultrasam``, ``sam-vit-b``, ``sam-vit-l``, ``sam-vit-h`` or
            ``medsam`` (downloaded once); ``random:SIZE``; ``imagenet`` (a ViT-B encoder); ``resnet50``; the
            path of a checkpoint, an adapter (with its base model) or a folder from ``ultrasam finetune`` or
            ``ultrasam export``; a Hugging Face repository; or the address of ``ultrasam serve``. See
            `ultrasam.weights.spec.ModelSpec`.
        device: a torch device; by default the GPU if available, otherwise the CPU.
        precision: of the image encoder's weights: ``float32`` (the default), ``bfloat16`` (half the memory,
            and faster on hardware that supports it) or ``auto``. The decoder stays in float32.
        runtime: what a promptable model runs in: ``torch``, ``onnx``, ``openvino`` or ``auto`` (the fastest);
            by default that of an exported folder, else ``torch``.
        seed: for random weights.

    Returns:
        An `UltraSam`, for use with `Predictor`; in another runtime, a `Backend`; on a server, a
        `RemoteSegmenter`, which is used as a `Predictor` is. A fine-tuned folder gives
        the result of its task's loader (``load_classifier``, ``load_region_classifier`` or
        ``load_instance_segmenter``); another architecture gives its network.

    Raises:
        CheckpointError: The weights cannot be found, downloaded, read or trusted.
        ConfigError: A size, option or precision is unknown.
        DeviceError: The device is not available.
        MissingDependencyError: The model needs an extra that is not installed.
    """
    if is_address(spec):
        opener = resolve(SERVERS[0])
        return opener(spec, device=device, precision=precision, runtime=runtime)
    spec = _spec(spec)
    if spec.kind == "path" and (task := detect_task(spec.path)) is not None:
        return _load_task(spec, task, device, precision, runtime)
    elsewhere = (runtime or spec.runtime) not in (None, "torch")
    if (elsewhere or _is_exported(spec)) and not spec.refine:
        return resolve(OPENERS[0])(spec, runtime=runtime, device=device, precision=precision)
    device = default_device(device)
    choose_precision(precision or spec.precision, device)  # rejects an unknown precision
    if spec.refine:
        raise ConfigError(
            f"'{spec.text}': '+refine' is an option of the predictor; use ultrasam.Predictor or the command "
            "line."
        )
    prefix, _, argument = spec.name.partition(":")
    if spec.kind == "architecture":
        return place(resolve(ARCHITECTURES[prefix])(argument or None, True), device)
    if spec.kind == "random" and spec.name in ARCHITECTURES:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return place(resolve(ARCHITECTURES[spec.name])(None, False), device)
    return load_model(spec, device=device, precision=precision, seed=seed)


def _load_task(
    spec: ModelSpec, task: str, device: str | None, precision: str | None, runtime: str | None
) -> Any:
    """A model that is fine-tuned for a task, exported or not."""
    choose_precision(precision or spec.precision, "cpu")  # rejects an unknown precision
    if spec.has_options or precision not in (None, "float32", "fp32", "auto"):
        raise ConfigError(
            f"{spec.path} is fine-tuned for a task; the options of promptable models do not apply to it."
        )
    if task not in TASKS:
        raise CheckpointError(
            f"{spec.path} is fine-tuned for '{task}', which this UltraSam does not know; update the package."
        )
    exported = is_exported(spec.path)
    if runtime not in (None, "auto", "onnx" if exported else "torch"):
        raise ConfigError(
            f"{spec.path} does not run in {runtime}; "
            + ("leave it out." if exported else "export it to onnx with 'ultrasam export' first.")
        )
    return resolve(TASKS[task])(spec.path, device or ("cpu" if exported else default_device()))


def load_model(
    spec: SpecLike = "nano",
    *,
    device: str | None = None,
    precision: str | None = None,
    seed: int = 0,
) -> UltraSam:
    """Load a promptable network; arguments and errors as in `load`.

    Raises:
        CheckpointError: The model does not take prompts, or its weights cannot be loaded.
    """
    spec = _spec(spec)
    if _is_exported(spec) or spec.runtime not in (None, "torch"):
        raise CheckpointError(
            f"'{spec.text}' runs in another runtime, but PyTorch's weights are needed here; use the model "
            "that it was exported from."
        )
    device = default_device(device)
    choice = choose_precision(precision or spec.precision, device)
    model = _model(spec, seed)
    if not spec.tta:
        model.tta = TestTimeAugmentation()
    if choice.precision == "bfloat16":
        encoder_to_bfloat16(model)
    if choice.reason not in ("as requested", "the default"):
        log.info("The image encoder runs in %s: %s.", choice.precision, choice.reason)
    if log.isEnabledFor(logging.DEBUG):
        log.debug(
            "%s runs on %s, its image encoder in %s (%s); SHA-256 of its weights: %s.",
            spec.text, device, choice.precision, choice.reason, weights_hash(model),
        )  # fmt: skip
    return place(model, device)


def resolve_config(spec: SpecLike) -> ModelConfig:
    """The configuration of a promptable model; weights are read only if the name does not determine it."""
    spec = _spec(spec)
    if spec.kind == "registered":
        return CONFIGS[REGISTRY[spec.name].architecture]
    if spec.kind == "imagenet" or (spec.kind == "random" and spec.name in CONFIGS):
        return CONFIGS[spec.name if spec.kind == "random" else "vit-b"]
    return load_model(spec, device="cpu", precision="float32").config


def encoder_to_bfloat16(model: UltraSam) -> None:
    """Convert the image encoder's weights to bfloat16, in place; its inputs and outputs stay float32."""
    encoder = model.image_encoder
    if encoder.pos_embed.dtype != torch.bfloat16:
        encoder.to(torch.bfloat16)
        encoder.register_forward_pre_hook(_input_to_weights)
        encoder.register_forward_hook(_output_to_float32)


def _input_to_weights(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    # The weights' current type, since a model may be cast back.
    return (inputs[0].to(module.get_parameter("pos_embed").dtype),)


def _output_to_float32(
    _module: nn.Module, _inputs: tuple[Tensor], out: tuple[Tensor, tuple[Tensor, ...]]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    embedding, high_res = out
    return embedding.float(), tuple(part.float() for part in high_res)


def _is_exported(spec: ModelSpec) -> bool:
    """Whether a spec names an exported folder without weights for PyTorch."""
    return (
        spec.kind == "path"
        and is_exported(spec.path)
        and read_exported(spec.path).runtime != "torch"
    )


def _spec(spec: SpecLike) -> ModelSpec:
    return spec if isinstance(spec, ModelSpec) else ModelSpec.parse(spec)


def _model(spec: ModelSpec, seed: int) -> UltraSam:
    """The network on the CPU, in fp32 and evaluation mode."""
    preprocessor = PREPROCESSING[spec.preprocessing] if spec.preprocessing else None
    if spec.kind == "random" and spec.name in CONFIGS:
        default = PREPROCESSING["nano" if spec.name == "nano" else "sam"]
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return UltraSam(
                CONFIGS[spec.name], preprocessor=preprocessor or default, tta=TTA.get(spec.name)
            ).eval()
    if spec.kind == "imagenet":
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = from_imagenet(spec.name).eval()
        model.preprocessor = preprocessor or model.preprocessor
        return model
    if spec.kind not in ("registered", "path", "hub"):
        raise CheckpointError(f"'{spec.text}' does not take prompts; use a Segment-Anything model.")
    preprocessing = spec.preprocessing
    if spec.kind == "path":
        path = spec.path
        if detect_task(path) is not None:
            raise CheckpointError(
                f"{path} is fine-tuned for another task, but a promptable model is required here."
            )
        if (adapter := find_adaptation(path)) is not None:
            model = _with_adapter(*adapter)
            if preprocessor is not None:
                model.preprocessor = replace(preprocessor, size=model.config.image_size)
            return model
    elif spec.kind == "hub":
        from ultrasam.weights.download import fetch_hub

        path = fetch_hub(spec.name)
        preprocessing = preprocessing or repository_preprocessing(spec.name)
    else:
        path = _nano_file() if spec.name == "nano" else _published(REGISTRY[spec.name])
        preprocessing = preprocessing or REGISTRY[spec.name].preprocessing
    try:
        return build_model(read_checkpoint(path, preprocessing=preprocessing))
    except CheckpointError as error:
        if spec.kind == "registered" and spec.name != "nano":
            raise CheckpointError(f"{error} Delete this file to download it again.") from error
        raise


def _published(weights: Weights) -> Path:
    cached = cached_file(weights)
    if cached is not None:
        return cached
    from ultrasam.weights.download import fetch

    return fetch(weights)


def _nano_file() -> Path:
    path = Path(str(files("ultrasam.weights") / "nano" / "nano.safetensors"))
    if not path.exists():
        raise CheckpointError(
            "The weights of nano are missing from this installation; reinstall UltraSam."
        )
    return path


def repository_preprocessing(repository: str) -> str | None:
    """The preprocessing of a Hugging Face repository, or a folder with its files, if it is known.

    It is known from the registry; MedSAM's copies are detected by name.
    """
    if Path(repository).is_dir():
        return "medsam" if named_medsam(Path(repository)) else None
    known = (entry for entry in REGISTRY.values() if entry.repository == repository)
    return next(
        (entry.preprocessing for entry in known),
        "medsam" if "medsam" in repository.lower() else None,
    )


def _with_adapter(file: Path, init: str) -> UltraSam:
    try:
        model = _model(ModelSpec.parse(init), 0)
    except (CheckpointError, ConfigError) as error:
        raise CheckpointError(f"Cannot load the base model of adapter {file}: {error}") from error
    adaptation = load_adaptation(model, file)
    return (merge(model) if adaptation.kind == "lora" else model).eval()
