"""What a stated license lets a user do with a data set: train on it, ship what was trained, or only measure.

This is a reading of what the sources state, not legal advice. It errs on the strict side: only a statement
that is known and nothing else counts; with any doubt beside it, the data set is only measured with.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from ultrasam.datasets.description import UNKNOWN, DatasetInfo


class Tier(StrEnum):
    """What a data set may be used for, the freest first; all may be measured with.

    SHIP: weights may be trained on it and shipped, with attribution. RESEARCH: weights may be trained on it
    for noncommercial research, and not shipped. MEASURE: models are only measured with it.
    """

    SHIP = "ship"
    RESEARCH = "research"
    MEASURE = "measure"


MEANING = {
    Tier.SHIP: "may be trained on and shipped",
    Tier.RESEARCH: "may be trained on for noncommercial research, not shipped",
    Tier.MEASURE: "only measured with; ask the authors for more",
}


@dataclass(frozen=True, slots=True)
class Terms:
    """What a license allows.

    Attributes:
        tier: what the data set may be used for.
        reason: the condition, or why the data set is only measured with.
        share_alike: whether what is made of it must have the same license.
    """

    tier: Tier
    reason: str
    share_alike: bool = False

    def __str__(self) -> str:
        meaning, *rest = MEANING[self.tier].partition(";")
        return f"{meaning} ({self.reason})" + "".join(rest)

    @property
    def strictness(self) -> tuple[int, bool]:
        """Orders terms, the freest first."""
        return list(Tier).index(self.tier), self.share_alike


_WITH_SAME_LICENSE = "with attribution, under the same license: share-alike"
_FREE = Terms(Tier.SHIP, "without conditions")
_ATTRIBUTION = Terms(Tier.SHIP, "with attribution")
_SHARE_ALIKE = Terms(Tier.SHIP, _WITH_SAME_LICENSE, share_alike=True)
_NONCOMMERCIAL = Terms(Tier.RESEARCH, "with attribution")
_NONCOMMERCIAL_SHARE_ALIKE = Terms(Tier.RESEARCH, _WITH_SAME_LICENSE, share_alike=True)
_NO_DERIVATIVES = Terms(Tier.MEASURE, "the license allows no derivatives")
_NOT_STATED = Terms(Tier.MEASURE, "no license is known")
_ON_REQUEST = Terms(Tier.MEASURE, "it is given on request")
_AGREEMENT = Terms(Tier.MEASURE, "its agreement or rules decide")
_FOR_RESEARCH = Terms(Tier.MEASURE, "'research' does not state what may be trained")
_UNCLEAR = Terms(Tier.MEASURE, "the license is not clear")

_CREATIVE_COMMONS = {
    "by": _ATTRIBUTION,
    "by sa": _SHARE_ALIKE,
    "by nc": _NONCOMMERCIAL,
    "by nc sa": _NONCOMMERCIAL_SHARE_ALIKE,
    "by nd": _NO_DERIVATIVES,
    "by nc nd": _NO_DERIVATIVES,
}
# In the spelling of `_normalized`.
_OTHER_LICENSES = {
    "cc0": _FREE,
    "cc0 1.0": _FREE,
    "cc0 1.0 universal": _FREE,
    "public domain": _FREE,
    "pddl": _FREE,
    "pddl 1.0": _FREE,
    "apache 2.0": _ATTRIBUTION,
    "mit": _ATTRIBUTION,
    "bsd 2 clause": _ATTRIBUTION,
    "bsd 3 clause": _ATTRIBUTION,
    "odc by": _ATTRIBUTION,
    "odc by 1.0": _ATTRIBUTION,
    "odbl": _SHARE_ALIKE,
    "odbl 1.0": _SHARE_ALIKE,
}
_NOTHING_SAID = {"", UNKNOWN, "none", "none stated", "not stated", "unspecified", "?"}
_DEED = re.compile(
    r"^(?:https?://)?(?:www\.)?creativecommons\.org/"
    r"(?:licenses/(?P<kind>by[a-z-]*)|publicdomain/zero)/\d\.\d(?:/[a-z./]*)?$"
)


def terms(license_text: str, access: str = UNKNOWN) -> Terms:
    """What a data set with this license may be used for.

    Args:
        license_text: the license as stated, for example ``CC BY 4.0``, an SPDX identifier, or the address of
            a Creative Commons deed. Of several licenses, the strictest counts.
        access: how the data set can be had (`DatasetInfo.access`). What the authors hand out on request, or
            against a signed agreement, is only measured with, whatever license they state.
    """
    if access == "request":
        return _ON_REQUEST
    if access == "agreement":
        return _AGREEMENT
    text = re.sub(r",\s*version\b", "", license_text.strip(), flags=re.IGNORECASE)
    parts = re.split(r"\s*(?:;|,|\+|\bor\b|\band\b)\s*", text)
    found = strictest(_one(part) for part in parts)
    if access in ("registration", "kaggle") and found.tier is not Tier.MEASURE:
        return replace(found, reason=f"{found.reason}; the terms of its site apply as well")
    return found


def terms_of(info: DatasetInfo) -> Terms:
    """What a data set of the catalog may be used for."""
    return terms(info.license, info.access)


def strictest(several: Iterable[Terms]) -> Terms:
    """The strictest of several terms; share-alike if any of them is."""
    listed = list(several)
    found = max(listed, key=lambda one: one.strictness)
    if found.tier is not Tier.MEASURE and any(one.share_alike for one in listed):
        return replace(found, reason=_WITH_SAME_LICENSE, share_alike=True)
    return found


def _one(text: str) -> Terms:
    plain = text.strip().casefold()
    deed = _DEED.match(plain)
    if deed is not None:
        kind = deed["kind"]
        return _FREE if kind is None else _CREATIVE_COMMONS.get(kind.replace("-", " "), _UNCLEAR)
    key = _normalized(plain)
    if key in _NOTHING_SAID:
        return _NOT_STATED
    if key in _OTHER_LICENSES:
        return _OTHER_LICENSES[key]
    found = re.fullmatch(r"cc (by(?: nc)?(?: sa| nd)?)(?: [1-4]\.\d)?(?: international)?", key)
    if found is not None:
        return _CREATIVE_COMMONS[found[1]]
    if re.search(r"\b(agreement|dua|signed|rules)\b", key):
        return _AGREEMENT
    return _FOR_RESEARCH if key.startswith("research") else _UNCLEAR


_WORDS = (
    (r"licen[cs]ed?|\bthe\b", ""),
    (r"creative commons", "cc"),
    (r"\battribution\b", "by"),
    (r"non ?commercial", "nc"),
    (r"share ?alike", "sa"),
    (r"no ?deriv(?:ative)?s?(?: works)?", "nd"),
    (r"\bv(?=\d)", ""),
)


def _normalized(text: str) -> str:
    """One spelling of a license's name: ``CC-BY-NC 4.0``, ``cc by nc 4.0`` and so on."""
    text = re.sub(r"[-_\s]+", " ", text).rstrip(" .")
    for pattern, word in _WORDS:
        text = re.sub(pattern, word, text)
    return " ".join(text.split())
