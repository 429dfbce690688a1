"""Open any model to evaluate by name: UltraSam's models, transformers models, baselines and plug-ins.

Another package adds a segmenter with an entry point in the group ``ultrasam.segmenters``: a callable that
takes the text after ``NAME:`` (empty if there is none) and returns a `Segmenter`. A segmenter that accepts
only some prompts lists them in an attribute ``accepts``: {"box"}, {"point"} or both; one whose training data
are known lists the ids of their data sets in an attribute ``trained_on``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, cast

from ultrasam.errors import CheckpointError, EvaluationError, UltraSamError, one_line
from ultrasam.evaluation.models import baselines
from ultrasam.evaluation.models.trained_on import NONE_SEEN, of_repository, trained_on
from ultrasam.hardware import default_device
from ultrasam.inference.predictor import Predictor
from ultrasam.inference.segmenter import Segmenter
from ultrasam.weights.registry import PREPROCESSING, REGISTRY, known_names
from ultrasam.weights.spec import ModelSpec
from ultrasam.weights.tasks import ARCHITECTURES, detect_task

GROUP = "ultrasam.segmenters"
_BOTH = frozenset({"box", "point"})
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_PLUG_IN_NAME = re.compile(r"[A-Za-z]\w*(-\w+)*(:.*)?")


@dataclass(frozen=True, slots=True)
class EvaluationModel:
    """A segmenter ready for evaluation.

    Attributes:
        accepts: accepted prompt types: ``box``, ``point`` or both.
        weights: hash of an UltraSam model's weights, so that other weights of the same name are detected.
        preprocessing: that model's preprocessing and test-time augmentation.
        trained_on: ids of the data sets whose source the weights have seen; None if unknown.
    """

    name: str
    segmenter: Segmenter
    accepts: frozenset[str]
    weights: str = ""
    preprocessing: dict[str, Any] = field(default_factory=dict)
    trained_on: frozenset[str] | None = None


def check_model_name(spec: str) -> None:
    """Check that a name refers to a model, without reading or downloading weights.

    Raises:
        EvaluationError: A transformers repository is neither a folder nor ORGANIZATION/NAME, or a baseline is
            given an argument.
        CheckpointError, ConfigError: The name is unknown.
    """
    kind, colon, argument = spec.partition(":")
    if kind in _BASELINES and colon:
        raise EvaluationError(f"'{spec}': the baseline '{kind}' takes no argument; write '{kind}'.")
    if kind == "transformers":
        folder = Path(argument).expanduser()
        if not _REPOSITORY.fullmatch(argument) and not (argument and folder.is_dir()):
            raise EvaluationError(
                f"'{spec}': '{argument}' is neither a folder nor ORGANIZATION/NAME of a repository, such as "
                "transformers:facebook/sam-vit-base."
            )
    if not _is_own(spec):
        return
    try:
        ModelSpec.parse(spec)
    except CheckpointError as error:
        if not _PLUG_IN_NAME.fullmatch(spec):
            raise
        names = [*_BASELINES, *known_names(), *_plug_ins()]
        similar = difflib.get_close_matches(spec.partition("+")[0], names, n=1)
        hint = (
            f"did you mean {similar[0]}?" if similar else f"baselines are {', '.join(_BASELINES)}."
        )
        raise CheckpointError(
            f"{str(error).rstrip('.')}, and no installed plug-in has this name; {hint}"
        ) from error


def declared_prompts(spec: str) -> frozenset[str] | None:
    """The prompt types that a model accepts, as far as its name tells; no weights are read.

    Returns:
        ``box``, ``point`` or both; None if only the opened model tells.
    """
    kind, _, argument = spec.partition(":")
    if kind in _BASELINES:
        return frozenset(_BASELINES[kind].accepts) & _BOTH
    if kind == "transformers":
        return frozenset({"box"}) if "medsam" in argument.lower() else None
    if not _is_own(spec):
        return None
    parsed = ModelSpec.parse(spec)
    name = parsed.preprocessing
    if name is None and parsed.kind == "registered":
        name = REGISTRY[parsed.name].preprocessing
    return None if name is None else frozenset(PREPROCESSING[name].prompt_types) & _BOTH


def check_trainable(spec: str) -> None:
    """Refuse a model that cannot be fine-tuned to segment from prompts; no weights are read.

    Raises:
        EvaluationError: It has no weights of ours to train, or takes no prompts.
        CheckpointError, ConfigError: The name is unknown.
    """
    if not _is_own(spec):
        raise EvaluationError(
            f"'{spec}' cannot be fine-tuned; give a model that 'ultrasam train' can start from, such as nano."
        )
    parsed = ModelSpec.parse(spec)
    other = parsed.kind in ("imagenet", "architecture") or parsed.name in ARCHITECTURES
    if other or (parsed.kind == "path" and detect_task(parsed.path) is not None):
        raise EvaluationError(f"'{spec}' takes no prompts; give a promptable model, such as nano.")


def _is_own(spec: str) -> bool:
    """Whether a name means weights that `ultrasam.load` reads; a baseline or a peer is none."""
    kind = spec.partition(":")[0]
    return kind not in _BUILT_IN and kind not in _plug_ins()


def open_evaluation_model(
    spec: str, *, device: str | None = None, runtime: str | None = None
) -> EvaluationModel:
    """Open a model to evaluate by name.

    Args:
        spec: a baseline (``ellipse``, ``filled-box``, ``grabcut``, ``disc``, ``random-walker``);
            ``transformers:REPO`` (SAM, MedSAM or SAM 2 as implemented by Hugging Face, from a repository or
            folder) or ``transformers-random:sam-vit-b`` (that SAM, untrained); a plug-in (``NAME`` or
            ``NAME:ARGUMENT``); or a model with options, as parsed by `ultrasam.weights.spec.ModelSpec`:
            ``nano+no-tta``, ``ultrasam+bf16+refine``, ``random:vit-b``.
        runtime: what a model of ours runs in, as in `ultrasam.load`; baselines, peers and plug-ins have their
            own.

    Raises:
        EvaluationError: A plug-in fails, or the model takes no prompts.
        CheckpointError, ConfigError: The name is unknown, or the weights cannot be loaded.
    """
    kind, _, argument = spec.partition(":")
    weights, preprocessing = "", dict[str, Any]()
    training_sets: frozenset[str] | None = None
    if kind in _BUILT_IN:
        segmenter = _BUILT_IN[kind](argument, device)
        training_sets = of_repository(argument) if kind == "transformers" else NONE_SEEN
    elif (entry := _plug_ins().get(kind)) is not None:
        try:
            segmenter = cast(Segmenter, entry.load()(argument))
            training_sets = getattr(segmenter, "trained_on", None)
            training_sets = None if training_sets is None else frozenset(training_sets)
        except UltraSamError:
            raise
        except Exception as error:
            raise EvaluationError(
                f"Cannot open '{kind}' ({entry.value}): {type(error).__name__}: {one_line(error)}."
            ) from error
    else:
        segmenter = predictor = _predictor(spec, device, runtime)
        weights = _weights_of(predictor.backend)
        preprocessing = {
            **predictor.backend.preprocessor.to_dict(),
            **predictor.tta.to_dict(),
            **predictor.postprocessor.to_dict(),
        }
        training_sets = trained_on(spec)
    return EvaluationModel(
        spec, segmenter, _accepted(segmenter), weights, preprocessing, training_sets
    )


def _weights_of(backend: Any) -> str:
    """The hash of a backend's weights, or of those that it was exported from."""
    exported = getattr(backend, "exported", None)
    if exported is not None:
        return str(exported.content["weights_sha256"])
    from ultrasam.weights.hashing import weights_hash

    return weights_hash(backend.model)


def _accepted(segmenter: Segmenter) -> frozenset[str]:
    return frozenset(getattr(segmenter, "accepts", _BOTH)) & _BOTH


def _plug_ins() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _predictor(spec: str, device: str | None, runtime: str | None) -> Predictor:
    """An UltraSam model, fine-tuned or not, that takes prompts."""
    from ultrasam.weights.load import load  # here, so that a bad name needs no PyTorch

    parsed = ModelSpec.parse(spec)
    if parsed.kind == "path" and detect_task(parsed.path) is not None:
        opened = load(parsed, device=device, runtime=runtime)
        if not hasattr(opened, "predictor"):
            raise EvaluationError(
                f"'{spec}' takes no prompts; 'ultrasam evaluate' needs a promptable model."
            )
        return cast(Predictor, opened.predictor)
    return Predictor(spec, device=device, runtime=runtime)


def _transformers(argument: str, device: str | None) -> Segmenter:
    from ultrasam.evaluation.models.transformers_models import open_transformers

    return open_transformers(argument, device=default_device(device))


def _random_transformers(argument: str, device: str | None) -> Segmenter:
    from ultrasam.evaluation.models.transformers_models import random_transformers

    return random_transformers(argument, device=default_device(device))


def _baseline(make: Callable[[], Any]) -> Callable[[str, str | None], Segmenter]:
    return lambda _argument, _device: cast(Segmenter, make())


_BASELINES: dict[str, Any] = {
    "ellipse": baselines.EllipseInBox,
    "filled-box": baselines.FilledBox,
    "grabcut": baselines.GrabCut,
    "disc": baselines.DiscAtClick,
    "random-walker": baselines.RandomWalker,
}
_BUILT_IN: dict[str, Callable[[str, str | None], Segmenter]] = {
    **{name: _baseline(make) for name, make in _BASELINES.items()},
    "transformers": _transformers,
    "transformers-random": _random_transformers,
}
