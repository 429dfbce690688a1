"""Read the prompts of many images from a JSON file; an entry that is no prompt costs no other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ultrasam.errors import PromptError, one_line
from ultrasam.images.mask_sequence import MaskSequence
from ultrasam.images.masks import bounding_box
from ultrasam.inference.inputs import match_names
from ultrasam.prompts import Prompt
from ultrasam.text import decode_text

_KEYS = ("box", "points", "labels", "category")
_TRACK_KEYS = ("frame", "object", "gone")  # of entries for objects that are followed
_OTHERS = "*"  # the name that stands for all images without an entry
_LISTED = 4
_EXAMPLE = '{"box": [120, 80, 260, 190]}'

_NO_PROMPT = "The list is empty; give a prompt, or leave the image out."


@dataclass(frozen=True, slots=True)
class PromptEntry:
    """One entry of an image's list of prompts.

    Attributes:
        number: its place in the list, from 0.
        prompt: None if the entry is no valid prompt.
        error: why it is none, in a sentence; else None.
        category: name or ID of what is prompted for, if given.
        frame: the index of the frame that it is for, if given.
        object: number of the object that is followed, if given.
        gone: whether it says that the object is not seen from its frame on; there is no prompt then.
    """

    number: int
    prompt: Prompt | None
    error: str | None = None
    category: str | None = None
    frame: int | None = None
    object: int | None = None
    gone: bool = False


@dataclass(frozen=True, slots=True)
class PromptsFile:
    """The entries of a prompts file.

    Attributes:
        path: of the file.
        entries: by image name, as it stands in the file; each list has at least one entry.
    """

    path: Path
    entries: Mapping[str, list[PromptEntry]]

    @property
    def refused(self) -> list[str]:
        """The entries that are no prompts, each with the reason, in a sentence."""
        return [
            f"{self.path}: '{name}'{_place(entry)}: {entry.error}"
            for name, entries in self.entries.items()
            for entry in entries
            if entry.error is not None
        ]


def read_prompts(path: Path, *, of_tracks: bool = False) -> PromptsFile:
    """Read a prompts file: a JSON object from image names to lists of prompts; ``*`` means all other images.

    ``{"a.png": [{"box": [x0, y0, x1, y1]}, {"points": [[x, y], …], "labels": [1, 0, …]}]}``

    A prompt may have a ``category``. The text may be in any common encoding.

    Args:
        path: the file.
        of_tracks: prompts may also have a ``frame`` and the number of an ``object``, and ``"gone": true`` in
            the place of a prompt.

    Raises:
        PromptError: The file cannot be read, is not of this form, names an image twice, or has no valid
            prompt.
    """
    content = _content(path)
    entries = {name: list(_entries(value, of_tracks=of_tracks)) for name, value in content.items()}
    file = PromptsFile(path, entries)
    prompts = [entry for entries in file.entries.values() for entry in entries if entry.prompt]
    if not prompts:
        reason = file.refused[0] if file.refused else f"The prompts file {path} has no prompts."
        raise PromptError(reason)
    return file


@dataclass(frozen=True, slots=True)
class AssignedPrompts:
    """The prompts of each image.

    Attributes:
        entries: those of each image that has some.
        missing: why an image has none, in a sentence.
        unused: names in the prompts file that mean no image.
    """

    entries: Mapping[Path, list[PromptEntry]]
    missing: Mapping[Path, str]
    unused: tuple[str, ...] = ()


def assign_prompts(file: PromptsFile, paths: Sequence[Path]) -> AssignedPrompts:
    """Find the prompts of each image (see `ultrasam.inference.inputs.match_names`).

    Raises:
        PromptError: No image has prompts.
    """
    names = [name for name in file.entries if name != _OTHERS]
    matches = match_names(paths, names, folder=file.path.parent)
    entries: dict[Path, list[PromptEntry]] = {}
    missing: dict[Path, str] = {}
    for path in paths:
        name = matches.names.get(path, _OTHERS)
        if path in matches.ambiguous:
            missing[path] = (
                f"{path}: {matches.ambiguous[path]} in {file.path}; write more of the path there."
            )
        elif name in file.entries:
            entries[path] = file.entries[name]
        else:
            missing[path] = (
                f"{file.path} has no prompts for {path.name} ({path}); add an entry for it, or '*' for all "
                "images."
            )
    if not entries:
        raise PromptError(next(iter(missing.values())))
    return AssignedPrompts(entries, missing, matches.unused)


def describe_unused(file: PromptsFile, unused: Sequence[str]) -> str:
    """A sentence about names in the prompts file that mean no image."""
    named = ", ".join(unused[:_LISTED])
    more = len(unused) - _LISTED
    listed = f"{named} and {more} more" if more > 0 else named
    return f"{file.path} has prompts for images that are not among the inputs: {listed}."


def mask_entries(masks: MaskSequence, frame: int, *, first: int) -> list[PromptEntry]:
    """Each mask of a frame that is not empty as a prompt, with its box; numbered from ``first``."""
    return [
        PromptEntry(first + number, Prompt(box=bounding_box(mask), mask=mask), category=name)
        for number, (name, mask) in enumerate(zip(masks.names, masks.masks(frame), strict=True))
        if mask.any()
    ]


def _content(path: Path) -> dict[str, Any]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PromptError(f"Cannot read the prompts file {path}: {one_line(error)}.") from error
    text = decode_text(data)
    if not text.strip():
        raise PromptError(f"The prompts file {path} is empty.")
    try:
        content = json.loads(text, object_pairs_hook=_no_repeats)
    except (ValueError, RecursionError) as error:
        raise PromptError(f"The prompts file {path} is not JSON: {one_line(error)}.") from error
    if not isinstance(content, dict):
        raise PromptError(
            f"The prompts file {path} must map image names to lists of prompts, as "
            f'{{"a.png": [{_EXAMPLE}]}}.'
        )
    return content


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; Python's reader would pass over all but the last of equal keys.

    Raises:
        ValueError: A key is there twice.
    """
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"'{twice}' is there twice")
    return content


def _entries(value: Any, *, of_tracks: bool) -> Iterator[PromptEntry]:
    """The entries of one image; what is no list is one entry, which may be a prompt."""
    values = value if isinstance(value, list) and value else [value]
    for number, one in enumerate(values):
        try:
            if value == []:
                raise PromptError(_NO_PROMPT)
            if not isinstance(one, dict):
                raise PromptError(
                    f"A prompt must be an object such as {_EXAMPLE}, not {one_line(json.dumps(one))}."
                )
            if of_tracks:
                yield _track_entry(number, one)
            else:
                yield PromptEntry(number, _prompt(one), category=_category(one))
        except (PromptError, RecursionError) as error:
            yield PromptEntry(number, None, one_line(error, limit=None) + ".")


def _track_entry(number: int, entry: dict[str, Any]) -> PromptEntry:
    rest = {key: value for key, value in entry.items() if key not in _TRACK_KEYS}
    frame, of_object = _index(entry, "frame"), _index(entry, "object")
    gone = entry.get("gone", False)
    if not isinstance(gone, bool):
        raise PromptError(
            f"The prompt's gone must be true or false, not {one_line(json.dumps(gone))}."
        )
    if gone and rest:
        raise PromptError("An entry with gone has no prompt; leave the prompt or gone out.")
    prompt = None if gone else _prompt(rest)
    return PromptEntry(number, prompt, None, _category(rest), frame, of_object, gone)


def _index(entry: dict[str, Any], key: str) -> int | None:
    value = entry.get(key)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise PromptError(
        f"The prompt's {key} must be a number from 0, not {one_line(json.dumps(value))}."
    )


def _place(entry: PromptEntry) -> str:
    return "" if entry.error == _NO_PROMPT else f", prompt {entry.number}"


def _prompt(entry: dict[str, Any]) -> Prompt:
    if set(entry) - set(_KEYS):
        unknown = ", ".join(sorted(set(entry) - set(_KEYS)))
        raise PromptError(
            f"A prompt may have only the keys {', '.join(_KEYS[:-1])} and {_KEYS[-1]}, not {unknown}."
        )
    for key in ("box", "points", "labels"):
        if not _is_numeric(entry.get(key)):
            raise PromptError(
                f"The prompt's {key} must be numbers, not {one_line(json.dumps(entry[key]))}."
            )
    return Prompt(entry.get("points"), entry.get("labels"), entry.get("box"))


def _is_numeric(value: Any) -> bool:
    """Whether a value is absent, a number or a list of such; text and true are no numbers here, though NumPy
    takes them for some."""
    if isinstance(value, list):
        return all(_is_numeric(one) and one is not None for one in value)
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _category(entry: dict[str, Any]) -> str | None:
    category = entry.get("category")
    if category is None or (isinstance(category, str) and category.strip()):
        return category
    if isinstance(category, int) and not isinstance(category, bool):
        return str(category)
    raise PromptError(
        f"The prompt's category must be a name or an ID, not {one_line(json.dumps(category))}."
    )
