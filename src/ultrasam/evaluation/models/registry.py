"""Whatever can be evaluated, by name: our models, other people's, baselines, and third parties' own.

Another package adds one by an entry point in the group ``ultrasam.segmenters``: a callable that takes
what follows ``NAME:`` (a string, empty without it) and gives a `Segmenter`. If it can't use every
prompt, it says which ones with an attribute ``accepts``: {"box"}, {"point"} or both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from ultrasam.errors import EvaluationError, UltraSamError
from ultrasam.evaluation.models import baselines
from ultrasam.hardware import default_device
from ultrasam.inference.predictor import Predictor
from ultrasam.inference.segmenter import Segmenter
from ultrasam.weights.spec import ModelSpec
from ultrasam.weights.tasks import detect_task

GROUP = "ultrasam.segmenters"
_BOTH = frozenset({"box", "point"})


@dataclass(frozen=True, slots=True)
class EvaluationModel:
    """A segmenter ready to be evaluated.

    Attributes:
        accepts: the prompts that it can use, ``box``, ``point`` or both.
        weights: a hash of a model of ours, so that another one of its name is told from it.
        preprocessing: how that model is fed, and its test-time augmentation.
    """

    name: str
    segmenter: Segmenter
    accepts: frozenset[str]
    weights: str = ""
    preprocessing: dict[str, Any] = field(default_factory=dict)


def check_model_name(spec: str) -> None:
    """Refuse a name that means nothing; no weights are read, nothing is downloaded.

    Raises:
        CheckpointError, ConfigError: there is nothing of this name.
    """
    kind = spec.partition(":")[0]
    if kind not in _BUILT_IN and kind not in _third_parties():
        ModelSpec.parse(spec)


def open_evaluation_model(spec: str, *, device: str | None = None) -> EvaluationModel:
    """A competitor by its name.

    Args:
        spec: ``ellipse``, ``filled-box``, ``grabcut``, ``disc``, ``random-walker``; ``transformers:REPO``
            (SAM, MedSAM or SAM 2 in Hugging Face's implementation, by repository or folder); a third party's
            ``NAME`` or ``NAME:ARGUMENT``; or else a model with its options, as
            `ultrasam.weights.spec.ModelSpec` reads it: ``nano+no-tta``, ``ultrasam+bf16+refine``,
            ``random:vit-b``.

    Raises:
        EvaluationError: a third party's segmenter fails.
        CheckpointError, ConfigError: there is nothing of this name, or weights can't be loaded.
    """
    kind, _, argument = spec.partition(":")
    weights, fed = "", dict[str, Any]()
    if kind in _BUILT_IN:
        segmenter = _BUILT_IN[kind](argument, device)
    elif (entry := _third_parties().get(kind)) is not None:
        try:
            segmenter = cast(Segmenter, entry.load()(argument))
        except UltraSamError:
            raise
        except Exception as error:
            raise EvaluationError(
                f"'{kind}' of {entry.value} can't be opened: {type(error).__name__}: {error}"
            ) from error
    else:
        from ultrasam.weights.hashing import weights_hash

        segmenter = predictor = _predictor(spec, device)
        weights = weights_hash(cast(Any, predictor.backend).model)
        fed = {**predictor.backend.preprocessor.to_dict(), **predictor.tta.to_dict()}
    return EvaluationModel(spec, segmenter, _accepted(segmenter), weights, fed)


def _accepted(segmenter: Segmenter) -> frozenset[str]:
    return frozenset(getattr(segmenter, "accepts", _BOTH)) & _BOTH


def _third_parties() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _predictor(spec: str, device: str | None) -> Predictor:
    """A model of ours, or a fine-tuned one that takes prompts."""
    from ultrasam.weights.load import load  # here, so that a bad name needs no PyTorch

    parsed = ModelSpec.parse(spec)
    if parsed.kind == "path" and detect_task(parsed.path) is not None:
        opened = load(parsed, device=device)
        if not hasattr(opened, "predictor"):
            raise EvaluationError(
                f"{spec} takes no prompts; 'ultrasam evaluate' compares models that do."
            )
        return cast(Predictor, opened.predictor)
    return Predictor(spec, device=device)


def _transformers(argument: str, device: str | None) -> Segmenter:
    from ultrasam.evaluation.models.peers import open_transformers

    return open_transformers(argument, device=default_device(device))


def _plain(make: Callable[[], Any]) -> Callable[[str, str | None], Segmenter]:
    return lambda _argument, _device: cast(Segmenter, make())


_BUILT_IN: dict[str, Callable[[str, str | None], Segmenter]] = {
    "ellipse": _plain(baselines.EllipseInBox),
    "filled-box": _plain(baselines.FilledBox),
    "grabcut": _plain(baselines.GrabCut),
    "disc": _plain(baselines.DiscAtClick),
    "random-walker": _plain(baselines.RandomWalker),
    "transformers": _transformers,
}
