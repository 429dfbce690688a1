"""Whatever can be evaluated, by name: our models, other people's, baselines, and third parties' own.

Another package adds one by an entry point in the group ``ultrasam.segmenters``: a callable that takes
what follows ``NAME:`` (a string, empty without it) and gives a `Segmenter`. If it can't use every
prompt, it says which ones with an attribute ``accepts``: {"box"}, {"point"} or both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, cast

from ultrasam.errors import EvaluationError, UltraSamError
from ultrasam.evaluation import baselines
from ultrasam.inference.segmenter import Segmenter

if TYPE_CHECKING:
    from ultrasam.inference.predictor import Predictor

GROUP = "ultrasam.segmenters"
_BOTH = frozenset({"box", "point"})


@dataclass(frozen=True, slots=True)
class Competitor:
    """A segmenter ready to be evaluated.

    Attributes:
        accepts: the prompts that it can use, ``box``, ``point`` or both.
        weights: a fingerprint of a model of ours, so that another one of its name is told from it.
    """

    name: str
    segmenter: Segmenter
    accepts: frozenset[str]
    weights: str = ""


def open_competitor(spec: str, *, device: str | None = None) -> Competitor:
    """A competitor by its name.

    Args:
        spec: ``ellipse``, ``filled-box``, ``grabcut``, ``disc``, ``random-walker``; ``untrained:base`` (a
            model of that size with random weights); ``transformers:REPO`` (SAM, MedSAM or SAM 2 in Hugging
            Face's implementation, by repository or folder); a third party's ``NAME`` or ``NAME:ARGUMENT``;
            or else one of our models, by name or path, as `ultrasam.load` has it. ``+bf16`` at the end of
            ours runs the encoder in bfloat16, ``+refine`` decodes twice (arXiv 2411.16222, 3.2),
            ``+once`` looks at each prompt in the whole image alone, where nano looks at further views.

    Raises:
        EvaluationError: there is nothing of this name, or a third party's fails.
        CheckpointError: weights can't be had.
    """
    kind, _, argument = spec.partition(":")
    weights = ""
    if kind in _BUILT_IN:
        segmenter = _BUILT_IN[kind](argument, device)
    else:
        others = {entry.name: entry for entry in entry_points(group=GROUP)}
        if kind in others:
            try:
                segmenter = cast(Segmenter, others[kind].load()(argument))
            except UltraSamError:
                raise
            except Exception as error:
                raise EvaluationError(
                    f"'{kind}' of {others[kind].value} can't be opened: {type(error).__name__}: {error}"
                ) from error
        else:
            from ultrasam.model.fingerprint import fingerprint

            segmenter = ours = _ours(spec, device)
            weights = fingerprint(ours.model)
    return Competitor(spec, segmenter, frozenset(getattr(segmenter, "accepts", _BOTH)), weights)


def _ours(spec: str, device: str | None) -> Predictor:
    from ultrasam.inference.loading import load
    from ultrasam.inference.predictor import Predictor

    name, *options = spec.split("+")
    unknown = set(options) - {"bf16", "once", "refine"}
    if unknown:
        raise EvaluationError(
            f"'{spec}': there is no option '+{min(unknown)}'; there are +bf16, +once and +refine."
        )
    model = load(name, device=device, precision="bfloat16" if "bf16" in options else "float32")
    return Predictor(model, refine="refine" in options, once="once" in options)


def _untrained(argument: str, device: str | None) -> Segmenter:
    import torch

    from ultrasam.inference.loading import device_or_default, placed
    from ultrasam.inference.predictor import Predictor
    from ultrasam.model.config import CONFIGS
    from ultrasam.model.ultrasam import UltraSam

    name, _, option = argument.partition("+")
    if name not in CONFIGS or option not in ("", "bf16"):
        raise EvaluationError(
            f"'untrained:{argument}': there is no model of that size; there are {', '.join(CONFIGS)}."
        )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = UltraSam(CONFIGS[name]).eval()
    if option:
        model.image_encoder.to(torch.bfloat16)
    return Predictor(placed(model, device_or_default(device)))


def _transformers(argument: str, device: str | None) -> Segmenter:
    from ultrasam.evaluation.peers import open_transformers
    from ultrasam.inference.loading import device_or_default

    return open_transformers(argument, device=device_or_default(device))


def _plain(make: Callable[[], Any]) -> Callable[[str, str | None], Segmenter]:
    return lambda _argument, _device: cast(Segmenter, make())


_BUILT_IN: dict[str, Callable[[str, str | None], Segmenter]] = {
    "ellipse": _plain(baselines.EllipseInBox),
    "filled-box": _plain(baselines.FilledBox),
    "grabcut": _plain(baselines.GrabCut),
    "disc": _plain(baselines.DiscAtClick),
    "random-walker": _plain(baselines.RandomWalker),
    "untrained": _untrained,
    "transformers": _transformers,
}
