"""What the name of a file may say of a mask: of which image it is, and what it shows.

Names are given twice: in the form in which names are compared (`ultrasam.text.name_key`), and as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

MASK_WORDS = (
    r"masks?|seg(?:s|m|mentations?)?|labels?|gts?|ground[ _.-]?truths?|annotations?|"
    r"segmentation[ _]?(?:class|mask)(?:es|s|png)?"
)
IMAGE_WORDS = r"images?|imgs?|jpegimages|originals?|origs?|frames?"
GAP = r"[ _.-]"
_MASK_SUFFIX = re.compile(rf"{GAP}+(?:{MASK_WORDS})(?={GAP}|\(|\d|$)")
_MASK_PREFIX = re.compile(rf"(?:{MASK_WORDS})(?:{GAP}+|(?=\d))")
# As in 001GT.png and mask001.png; words that also end other words need a gap.
_JOINED_SUFFIX = re.compile(
    r"(?<=[^\W_])(?:masks?|gts?|ground[ _.-]?truths?|segmentations?|labels?)$"
)
_JOINED_PREFIX = re.compile(r"(?:masks?|gts?)(?=[^\W_])")
_WHOLE_MASK = re.compile(MASK_WORDS)  # mask.png beside image.png, a pair in each folder
_WHOLE_IMAGES = ("image", "img", "original", "orig", "frame")
_FILE_SUFFIX = re.compile(
    r"\.(?:png|jpe?g|bmp|tiff?|gif|webp)$"
)  # as in x.jpg.png and x.jpg_mask.png
_IMAGE_SUFFIX = re.compile(rf"{GAP}+(?:{IMAGE_WORDS}|0000)$")
_IMAGE_PREFIX = re.compile(rf"(?:{IMAGE_WORDS})(?:{GAP}+|(?=\d))")


class Meaning(NamedTuple):
    """What a mask's name says: the name of its image, the structure, the number of the object, and by which
    word it is a mask."""

    base: str
    word: str = ""
    structure: str | None = None
    number: str = ""


def meanings(stem: str, text: str) -> Iterator[Meaning]:
    """What a file's name may say of a mask, the longest name of an image first.

    Args:
        stem: the name without suffix, in the form in which names are compared.
        text: the same as it is.
    """
    whole = _FILE_SUFFIX.sub("", stem)
    if whole != stem:
        yield Meaning(whole, "the suffix of an image")
    for match in reversed(list(_MASK_SUFFIX.finditer(stem))):
        rest = re.sub(rf"^{GAP}+", "", _as_given(stem, text)[match.end() :])
        number = re.fullmatch(r"\(?(\d*)\)?", rest)
        if match.start():
            base = _FILE_SUFFIX.sub("", stem[: match.start()])
            word = match[0].strip(" _.-")
            yield Meaning(base, word, None if number else rest, number[1] if number else "")
    prefix = _MASK_PREFIX.match(stem)
    if prefix and prefix.end() < len(stem):
        yield Meaning(stem[prefix.end() :], prefix[0].strip(" _.-"))
    joined = _JOINED_SUFFIX.search(stem)
    if joined:
        yield Meaning(stem[: joined.start()], joined[0])
    joined = _JOINED_PREFIX.match(stem)
    if joined:
        yield Meaning(stem[joined.end() :], joined[0])
    if _WHOLE_MASK.fullmatch(stem):
        yield from (Meaning(image, stem) for image in _WHOLE_IMAGES)


def longer_meanings(stem: str, text: str, exact: Sequence[Meaning]) -> Iterator[Meaning]:
    """What a mask's name says if it begins with that of its image, and then names a structure or an object.

    Args:
        stem, text: see `meanings`.
        exact: what the name says if it holds nothing but that of the image, such as ``x_cyst``.
    """
    given = _as_given(stem, text)
    for meaning in exact:
        if meaning.structure is not None or not stem.startswith(meaning.base):
            continue
        for gap in reversed(list(re.finditer(rf"{GAP}+", meaning.base))):
            rest = given[gap.end() : len(meaning.base)]
            if not gap.start() or not rest:
                continue
            number = re.fullmatch(r"\(?(\d+)\)?", rest)
            base = meaning.base[: gap.start()]
            if number:
                yield Meaning(base, meaning.word, None, f"{number[1]} {meaning.number}")
            else:
                yield Meaning(base, meaning.word, rest, meaning.number)


def short_name(stem: str) -> str:
    """An image's name without what says that it is an image."""
    prefix = _IMAGE_PREFIX.match(stem)
    short = stem[prefix.end() :] if prefix else _IMAGE_SUFFIX.sub("", stem)
    return short or stem


def beginnings(stem: str) -> Iterator[str]:
    """The parts of a name that end before a gap: ``a_b_1`` begins with ``a`` and with ``a_b``."""
    return (stem[: gap.start()] for gap in re.finditer(rf"{GAP}+", stem) if gap.start())


def _as_given(stem: str, text: str) -> str:
    return (
        text if len(text) == len(stem) else stem
    )  # case folding rarely changes the length of a name
