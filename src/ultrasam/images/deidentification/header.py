"""Remove identity from a DICOM header by the Basic Profile of PS3.15, Annex E.

The table of the standard, edition 2026c, and the replacement of values are those of the package
dicom-anonymizer (Kitware). It applies them to the outermost level only; here, they hold for the items of
sequences, too.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from ultrasam.extras import needs

with needs("De-identification", extra="outputs"):
    from dicomanonymizer.simpledicomanonymizer import (
        delete,
        delete_or_empty,
        empty,
        initialize_actions,
    )
    from pydicom.dataset import Dataset
    from pydicom.sr.codedict import codes
    from pydicom.tag import BaseTag

_EDITION = "dicomfields_2026c"
Action = Callable[[Dataset, BaseTag], None]

# What else in the header must not repeat: names and numbers of the patient, people, the institution.
_IDENTITY = (
    "PatientName", "PatientID", "OtherPatientIDs", "OtherPatientNames", "PatientBirthDate",
    "PatientBirthName", "PatientMotherBirthName", "PatientAddress", "PatientTelephoneNumbers",
    "AccessionNumber", "InstitutionName", "ReferringPhysicianName", "PerformingPhysicianName",
    "PhysiciansOfRecord", "NameOfPhysiciansReadingStudy", "OperatorsName",
    "RequestingPhysician", "IssuerOfPatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID",
)  # fmt: skip
_MIN_LENGTH = 3  # characters of a word that can identify; shorter ones are in any text


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to an element.

    Attributes:
        name: keyword, with those of the sequences that it is in; the tag, if private.
        before: its value, cut to a line.
        after: its new value; None if it was removed.
    """

    name: str
    before: str
    after: str | None


def identity_of(dataset: Dataset) -> frozenset[str]:
    """The words by which a header names the patient, people, the institution and its own objects."""
    words: set[str] = set()
    for element in dataset.iterall():
        if element.keyword in _IDENTITY and element.value:
            text = str(element.value)
            parts = [text] if element.VR == "UI" else [text, *re.split(r"[\^=\\,;\[\]'\" ]+", text)]
            words |= {part.strip() for part in parts if len(part.strip()) >= _MIN_LENGTH}
    return frozenset(words)


def clean_header(dataset: Dataset) -> list[Change]:
    """Apply the Basic Profile to a dataset, in place; equal UIDs become equal ones in one process.

    A patient's ID becomes a number of chance, so that files can still be grouped by patient.

    Private elements, and other elements that repeat the identity, are removed, too.
    """
    words = identity_of(dataset)
    patient = str(dataset.get("PatientID") or "").strip()
    changes = list(_clean(dataset, ""))
    if patient:
        dataset.PatientID = number = _pseudonym(patient)
        changes = [replace(c, after=number) if c.name == "PatientID" else c for c in changes]
    changes += list(_remove_repeats(dataset, words, ""))
    return changes


@cache
def _pseudonym(patient: str) -> str:
    """A number for a patient, drawn by chance: equal for all files of a run, and in no other run."""
    return f"ANON-{secrets.token_hex(4)}"


def mark(dataset: Dataset, *, pixels: bool) -> None:
    """State that, and how, identity was removed (PS3.15 E.1, PS3.3 C.7.1.1).

    Args:
        pixels: all but the scanned sector was blanked.
    """
    options = [codes.DCM.BasicApplicationConfidentialityProfile]
    options += [codes.DCM.CleanPixelDataOption] if pixels else []
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "UltraSam: PS3.15 Basic Profile"
    dataset.DeidentificationMethodCodeSequence = [_code(option) for option in options]
    dataset.LongitudinalTemporalInformationModified = "REMOVED"
    if pixels:
        dataset.BurnedInAnnotation = "NO"


def _code(concept: Any) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = concept.value, concept.scheme_designator
    item.CodeMeaning = concept.meaning
    return item


@cache
def _rules() -> tuple[dict[int, Action], tuple[tuple[int, int, Action], ...]]:
    """The actions by tag; and for repeating groups, by tag and mask."""
    single: dict[int, Action] = {}
    repeating: list[tuple[int, int, Action]] = []
    for tag, action in initialize_actions(_EDITION).items():
        number = tag[0] << 16 | tag[1]
        if len(tag) == 2:
            single[number] = action
        else:
            repeating.append((number, tag[2] << 16 | tag[3], action))
    return single, tuple(repeating)


def _action(tag: BaseTag) -> Action | None:
    if tag.is_private:
        return delete  # type: ignore[no-any-return]
    single, repeating = _rules()
    if int(tag) in single:
        return single[int(tag)]
    return next((a for number, mask, a in repeating if int(tag) & mask == number & mask), None)


def _clean(dataset: Dataset, place: str) -> Iterator[Change]:
    for tag in list(dataset.keys()):
        element = dataset[tag]
        name = place + (element.keyword or str(tag))
        action = _action(tag)
        if action is None:
            for item in element.value if element.VR == "SQ" else ():
                yield from _clean(item, f"{name}.")
            continue
        before = _shown(element)
        try:
            if action is delete:
                # The package would keep a date, as the first of January of the year 1.
                del dataset[tag]
            else:
                action(dataset, tag)
                _date(dataset[tag], must_stay=action not in (empty, delete_or_empty))
        except (NotImplementedError, TypeError, ValueError):
            dataset.pop(tag, None)  # a type for which there is no dummy value
        if tag in dataset and dataset[tag].VR == "SQ":
            # Of a sequence that must stay, all values are dummies; a private element in it is none.
            for item in dataset[tag].value:
                item.remove_private_tags()
        after = _shown(dataset[tag]) if tag in dataset else None
        if after != before:
            yield Change(name, before, after)


def _date(element: Any, *, must_stay: bool) -> None:
    """Replace the package's dummy for dates, in the year 1, which validators refuse."""
    if element.VR in ("DA", "DT", "TM"):
        dummies = {"DA": "19000101", "DT": "19000101000000", "TM": "000000"}
        element.value = dummies[element.VR] if must_stay else ""


def _remove_repeats(dataset: Dataset, words: frozenset[str], place: str) -> Iterator[Change]:
    """Empty elements that repeat a word of the identity, as a comment that names the patient."""
    folded = [word.casefold() for word in words]
    for tag in list(dataset.keys()):
        element = dataset[tag]
        name = place + (element.keyword or str(tag))
        if element.VR == "SQ":
            for item in element.value:
                yield from _remove_repeats(item, words, f"{name}.")
        elif element.VR in ("LO", "LT", "PN", "SH", "ST", "UC", "UI", "UR", "UT", "AE", "UN"):
            if element.VR == "UI" and str(element.value) not in words:
                continue  # numbers repeat in any UID
            value = element.value
            text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
            found = set(re.split(r"[\W_]+", text.casefold()))
            for word in folded:
                whole = word in found or (len(word) > _MIN_LENGTH + 2 and word in text.casefold())
                if whole:
                    yield Change(name, _shown(element), "")
                    element.value = None
                    break


def _shown(element: Any) -> str:
    if element.VR == "SQ":
        count = len(element.value)
        return f"{count} item{'s' * (count != 1)}"
    if isinstance(element.value, bytes):
        return f"{len(element.value)} bytes"
    text = "".join(c if c.isprintable() else "?" for c in str(element.value))
    return text if len(text) <= 60 else f"{text[:60]} …"
