"""Which prompt types stand for a protocol on the first screen, and what they are called."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ultrasam.evaluation.prompt_types import PromptKind
from ultrasam.evaluation.report.results import Results

_PREFERRED = {
    ("exact", "box"): ("box",),
    ("exact", "click"): ("interior", "point"),
    ("human", "box"): ("box-noisy", "box10", "box15", "box20", "box5"),
    ("human", "click"): ("random", "human", "point-noise20", "offcenter"),
}


@dataclass(frozen=True, slots=True)
class Primary:
    """The prompt type that stands for a protocol's boxes or clicks.

    Attributes:
        protocol: ``exact`` or ``human``.
        what: ``box`` or ``click``.
        kind: its name.
    """

    protocol: str
    what: str
    kind: str

    @property
    def title(self) -> str:
        """What it is called in the head of a table."""
        return f"{self.protocol} {self.what}"


def all_kinds(all_results: Iterable[Results]) -> list[str]:
    """Prompt types that at least one model accepts, in the order requested."""
    return list(dict.fromkeys(kind for results in all_results for kind in results.kinds))


def primary_prompts(kinds: Sequence[str]) -> list[Primary]:
    """One prompt type per protocol for boxes and for clicks, as far as they were evaluated."""
    parsed = [PromptKind.parse(kind) for kind in kinds]
    found = []
    for (protocol, what), preferred in _PREFERRED.items():
        uses = frozenset({"box" if what == "box" else "point"})
        names = [k.name for k in parsed if (k.protocol, k.uses, k.rounds) == (protocol, uses, 1)]
        chosen = [name for name in preferred if name in names] or names
        if chosen:
            found.append(Primary(protocol, what, chosen[0]))
    return found


def of_protocol(kinds: Sequence[str], protocol: str) -> list[str]:
    """The prompt types of one protocol."""
    return [kind for kind in kinds if PromptKind.parse(kind).protocol == protocol]


def with_clicks(kinds: Sequence[str]) -> list[str]:
    """The prompt types with corrective clicks."""
    return [kind for kind in kinds if PromptKind.parse(kind).rounds > 1]
