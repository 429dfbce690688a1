"""Read the masks of a data set once, to tell what their values mean: the same for all of them.

One mask alone cannot tell: 2 may be the second class, or the only one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ultrasam.datasets.file_tree import FileEntry
from ultrasam.datasets.readers.mask_labels import IGNORE, MaskLabels
from ultrasam.datasets.readers.mask_profiles import INVERTED, LOSSY, MaskProfile, profile_of
from ultrasam.errors import DataError, UltraSamError
from ultrasam.images.mask_files import COLOR, code_name, decode_mask

# The values that people write for "object" in a mask of one structure.
_WHOLE = frozenset({1, 255, 65535})
_VOID = 255
_MAX_SMALL_CLASS = 64
FULL = (
    "its mask has one value everywhere, which is an object that fills the image or an inverted mask without "
    "one; state which with --labels, for example --labels 255=cyst"
)
FAINT = (
    "the brightest value of its soft mask is far below that of other masks, so that where the object ends is "
    "not certain"
)


@dataclass(frozen=True, slots=True)
class SurveyedMasks:
    """What the masks of one structure, or of all, mean.

    Attributes:
        labels: what each code is.
        problems: for masks that cannot be read as they are, why, by path.
        notes: sentences on the values found and what they became.
    """

    labels: MaskLabels
    problems: dict[str, str]
    notes: list[str]


def survey(masks: Sequence[FileEntry]) -> dict[str, MaskProfile]:
    """The profile of each mask by path; damaged masks are left out, since reading them tells why."""

    profiles = {entry.path: _profile(entry) for entry in masks}
    return {path: profile for path, profile in profiles.items() if profile is not None}


@lru_cache(maxsize=1 << 17)  # a training run lists its data several times
def _profile(entry: FileEntry) -> MaskProfile | None:
    try:
        return profile_of(decode_mask(entry.read(), entry.path))
    except UltraSamError:
        return None


def guess_labels(profiles: Mapping[str, MaskProfile], name: str, where: str) -> SurveyedMasks:
    """Tell what the values of the masks of ``name`` mean.

    Args:
        profiles: of the masks, by path.
        name: the structure that they show; with several values, ``name_VALUE`` is the structure of each.
        where: the masks, for messages.

    Raises:
        DataError: It is not certain what is background, or which values are structures.
    """
    problems = _problems(profiles, stated=False)
    usable = {path: p for path, p in profiles.items() if path not in problems}
    counts = _counts(usable)
    _require_certain(usable, counts, where)
    ignored = _void(usable, counts, where)
    values = sorted(counts.keys() - ignored)
    coexisting = any(len(p.levels.keys() - ignored) > 1 for p in usable.values())
    soft = {code for p in usable.values() if p.near_binary for code in p.levels}
    if len(values) <= 1 or (set(values) <= _WHOLE | soft and not coexisting):
        names = dict.fromkeys(values, name)
    else:
        names = {value: f"{name}_{code_name(value).lstrip('#')}" for value in values}
    names |= dict.fromkeys(ignored, IGNORE)
    notes = _notes(usable, counts, names, where)
    full = sum(p.constant for p in usable.values())
    if full:
        notes.append(
            f"{where}: {_masks(full)} {'is' if full == 1 else 'are'} all object, without background; "
            "check that this is meant."
        )
    if len(set(names.values()) - {IGNORE}) > 1:
        example = ",".join(f"{code_name(value)}=NAME" for value in values[:3])
        more = ",…" if len(values) > 3 else ""
        notes.append(
            f"To name them: --labels '{example}{more}' (255=ignore for a region to ignore)."
        )
    return SurveyedMasks(MaskLabels(names), problems, notes)


def apply_labels(
    profiles: Mapping[str, MaskProfile], names: Mapping[int, str], where: str
) -> SurveyedMasks:
    """Check a user's labels against the masks.

    Raises:
        DataError: No mask has any of the values.
    """
    problems = _problems(profiles, stated=True)
    usable = {path: p for path, p in profiles.items() if path not in problems}
    lossy = any(p.problem == LOSSY for p in usable.values())
    rule = MaskLabels(dict(names), stated=True)
    counts: Counter[int] = Counter()
    for p in usable.values():
        if p.problem != LOSSY:
            counts.update(rule.nominal(code) if p.near_binary else code for code in p.levels)
    zeros = sum(p.has_zero for p in usable.values())
    if zeros and 0 in names:
        counts[0] = zeros
    found = ", ".join(code_name(code) for code in sorted(counts)[:12])
    present = [code for code in names if code in counts]
    if not present and counts and not lossy:
        raise DataError(
            f"{where}: no mask has a value that --labels names "
            f"({', '.join(code_name(code) for code in names)}); the masks have {found}."
        )
    notes = _notes(usable, counts, {code: names[code] for code in present}, where)
    absent = [code_name(code) for code in names if code not in counts]
    if absent and not lossy:
        notes.append(f"{where}: no mask has the value {', '.join(absent)} of --labels.")
    rest = sorted(counts.keys() - names.keys())
    if rest and not lossy:
        listed = ", ".join(f"{code_name(code)} ({_masks(counts[code])})" for code in rest[:12])
        notes.append(f"{where}: not in --labels and therefore background: {listed}.")
    return SurveyedMasks(rule, problems, notes)


def _problems(profiles: Mapping[str, MaskProfile], *, stated: bool) -> dict[str, str]:
    tolerated = {INVERTED, LOSSY} if stated else set()
    problems = {
        path: p.problem for path, p in profiles.items() if p.problem and p.problem not in tolerated
    }
    if stated:
        return problems
    if INVERTED in problems.values() or not any(p.has_zero for p in profiles.values()):
        problems |= {path: FULL for path, p in profiles.items() if p.constant}
    soft = {path: p for path, p in profiles.items() if len(p.levels) == 1 and not p.sharp}
    tops = {path: max(p.levels) for path, p in soft.items()}
    highest = max((max(p.levels, default=0) for p in profiles.values()), default=0)
    if highest < COLOR:
        problems |= {path: FAINT for path, top in tops.items() if 4 * top < 3 * highest}
    return problems


def _counts(profiles: Mapping[str, MaskProfile]) -> Counter[int]:
    """The number of masks that have each level."""
    return Counter(code for p in profiles.values() for code in p.levels)


def _require_certain(profiles: Mapping[str, MaskProfile], counts: Counter[int], where: str) -> None:
    found = ", ".join(code_name(code) for code in sorted(counts)[:12])
    several = [p for p in profiles.values() if len(p.levels) > 1]
    if several and not any(p.has_zero for p in profiles.values()):
        raise DataError(
            f"{where}: no mask has the value 0 for background (they have {found}); name the values with "
            "--labels VALUE=NAME,…; values that it does not name are background."
        )
    if len(counts) < 2:
        return
    certain = {code for p in profiles.values() for code in (p.core if p.values > 1 else p.levels)}
    unsure = sorted(code for code in counts if code not in certain)
    if unsure and not any(p.sharp and set(unsure) & p.levels.keys() for p in profiles.values()):
        values = ", ".join(code_name(code) for code in unsure[:12])
        raise DataError(
            f"{where}: the values {values} are soft edges of a region, or thin structures; name those "
            f"that are structures with --labels VALUE=NAME,… (the masks have {found})."
        )


def _void(profiles: Mapping[str, MaskProfile], counts: Counter[int], where: str) -> set[int]:
    """255 along with class numbers marks pixels to ignore, as in PASCAL VOC, Cityscapes and LabelMe.

    Raises:
        DataError: 255 has more pixels than the classes, like an object next to noise.
    """
    others = counts.keys() - {_VOID}
    together = [p for p in profiles.values() if {_VOID} < p.levels.keys()]
    if not together or max(others) > _MAX_SMALL_CLASS:
        return set()
    area = sum(p.levels.get(_VOID, 0) for p in together)
    rest = sum(sum(p.levels.values()) for p in together) - area
    if area > rest or not any(p.core - {_VOID} for p in together):
        found = ", ".join(code_name(code) for code in sorted(others)[:12])
        raise DataError(
            f"{where}: 255 may be an object or a region to ignore, since the masks also have {found}; state "
            f"which with --labels, for example --labels 255=cyst or --labels 1=cyst,255={IGNORE}."
        )
    return {_VOID}


def _notes(
    profiles: Mapping[str, MaskProfile],
    counts: Counter[int],
    names: Mapping[int, str],
    where: str,
) -> list[str]:
    became = [
        f"{_value(code)} is {'a region to ignore' if name == IGNORE else name} ({_masks(counts[code])})"
        for code, name in sorted(names.items())
    ]
    if len(became) > 12:
        became[12:] = [f"{len(became) - 12} more values"]
    empty = sum(not p.levels for p in profiles.values())
    if empty and 0 not in names:
        became.append(f"{_masks(empty)} without an object")
    notes = [f"{where}: {'; '.join(became)}."] if became else []
    near = sum(p.near_binary or not p.sharp for p in profiles.values())
    if near:
        have = "has" if near == 1 else "have"
        notes.append(
            f"{where}: {_masks(near)} {have} soft edges, which are divided at half the value of the object."
        )
    return notes


def _value(code: int) -> str:
    return f"color {code_name(code)}" if code >= COLOR else f"value {code_name(code)}"


def _masks(count: int) -> str:
    return "1 mask" if count == 1 else f"{count:,} masks"
