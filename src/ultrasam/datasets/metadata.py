"""What a user states about images whose files do not: subject, split and pixel size."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from ultrasam.datasets.annotated_image import SPLITS, Case, CaseImage, Spacing
from ultrasam.datasets.description import DatasetSpec
from ultrasam.datasets.file_tree import FileTree, Skip, SkipReport
from ultrasam.datasets.split_names import split_of
from ultrasam.errors import DataError
from ultrasam.text import name_key

_NNUNET = {"tr": "train", "ts": "test"}  # as in imagesTr and imagesTs
_MIN_PIXEL, _MAX_PIXEL = 0.001, 10.0  # mm

# How paths may name subjects, the most specific first; each has one group.
_WORDS = "patient", "subject", "case", "pat", "sub", "subj", "pt", "id", "p", "s"
_SUBJECT_EXPRESSIONS = (
    *(rf"^({word}{gap}\d+)" for word in _WORDS for gap in ("", "[ _-]")),
    r"([^/]+)[ _-]\d+\.",
    r"^([^/]+)/",
    r"^[^/]+/([^/]+)/",
)


def with_metadata(
    spec: DatasetSpec,
    *,
    subject: str | None = None,
    split: str | None = None,
    pixel_size: Spacing | None = None,
) -> DatasetSpec:
    """A data set whose images have the subject, split and pixel size that a user states.

    Args:
        spec: the data set.
        subject: expression to search in the path of each image (see `text_in`); what it finds is the
            subject.
        split: expression that finds train, val or test in the path of each image.
        pixel_size: (row, column) distance between pixel centers in mm.

    Raises:
        DataError: An expression is malformed. Listing the data set raises it if an expression finds nothing
            in an image's path, or no split.
    """
    find_subject = None if subject is None else text_in(subject, option="--subject")
    find_split = None if split is None else text_in(split, option="--split-from")

    def cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
        found = list(spec.cases(tree, report))
        paths = [case.source for case in found]
        subjects = [case.subject for case in found]
        if find_subject is not None:
            spellings: dict[str, str] = {}  # p1 and P1 are one patient
            texts = _found(find_subject, paths, "--subject")
            subjects = [spellings.setdefault(name_key(text), text) for text in texts]
        splits = [case.split for case in found]
        if find_split is not None:
            splits = [_split(text) for text in _found(find_split, paths, "--split-from")]
        elif not any(splits) and (note := _split_note(paths)) is not None:
            report.notes.append(note)
        unknown = [path for path, of in zip(paths, subjects, strict=True) if of is None]
        if len(unknown) > 1:
            report.notes.append(_subject_note(unknown, all_of_them=len(unknown) == len(paths)))
        for case, of_subject, of_split in zip(found, subjects, splits, strict=True):
            read = case.read if pixel_size is None else partial(_sized, case.read, pixel_size)
            yield replace(case, subject=of_subject, split=of_split, read=read)

    return replace(spec, cases=cases)


def text_in(expression: str, *, option: str) -> Callable[[str], str | None]:
    """A function that finds what an expression's first group matches in a path, or all that it matches.

    Raises:
        DataError: The expression is malformed.
    """
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise DataError(f"{option} '{expression}' is not a regular expression: {error}.") from error

    def find(path: str) -> str | None:
        """The text in the path, else in the file's name; a ``^`` fits the beginning of either."""
        match = pattern.search(path) or pattern.search(path.rsplit("/", 1)[-1])
        if match is None:
            return None
        groups = [group for group in match.groups() if group]
        return (groups[0] if groups else "" if match.groups() else match[0]) or None

    return find


def parse_pixel_size(text: str) -> Spacing:
    """Read ``0.1``, or ``0.1,0.2`` for the distances between rows and between columns, in mm.

    Raises:
        DataError: It is neither, or no size that a pixel has.
    """
    try:
        sizes = [float(part) for part in text.split(",")]
    except ValueError:
        sizes = []
    if len(sizes) not in (1, 2):
        raise DataError(
            f"--pixel-size is '{text}'; write mm, for example 0.1, or ROW,COLUMN such as 0.1,0.2."
        )
    if not all(_MIN_PIXEL <= size <= _MAX_PIXEL for size in sizes):
        raise DataError(
            f"--pixel-size is {text} mm; pixels of ultrasound measure {_MIN_PIXEL:g} to {_MAX_PIXEL:g} mm."
        )
    return sizes[0], sizes[-1]


def suggest_subject(paths: Sequence[str]) -> tuple[str, list[str]] | None:
    """An expression that groups images by what looks like a subject in their paths, and the subjects.

    Returns:
        None if nothing looks like one: each group would be one image, or all images one group.
    """
    for expression in _SUBJECT_EXPRESSIONS:
        pattern = re.compile(expression, re.IGNORECASE)
        matches = [
            pattern.search(path) or pattern.search(path.rsplit("/", 1)[-1]) for path in paths
        ]
        distinct = {match[1] for match in matches if match}
        if not all(matches) or all(map(_split_or_none, distinct)):
            continue
        if 2 <= len(distinct) <= max(2, len(paths) * 2 // 3) < len(paths):
            same_case = all(re.search(expression, m[0]) for m in matches if m)
            return expression if same_case else f"(?i){expression}", sorted(distinct)
    return None


def _found(find: Callable[[str], str | None], paths: Sequence[str], option: str) -> Iterator[str]:
    texts = [find(path) for path in paths]
    missed = [path for path, text in zip(paths, texts, strict=True) if text is None]
    if missed:
        raise DataError(
            f"{option} finds nothing in {len(missed):,} of {len(paths):,} paths, for example '{missed[0]}'; "
            "change the expression, or add an alternative with |."
        )
    return (text for text in texts if text is not None)


def _split_or_none(text: str) -> str | None:
    return split_of(text) or _NNUNET.get(text.strip().casefold())


def _split(text: str) -> str:
    split = _split_or_none(text)
    if split is None:
        raise DataError(f"--split-from finds '{text}', which is not one of {', '.join(SPLITS)}.")
    return split


def _split_note(paths: Sequence[str]) -> str | None:
    """How to keep the splits that folders name; None unless each path is in one such folder of several."""
    found = [[f for f in path.split("/")[:-1] if split_of(f) in SPLITS] for path in paths]
    names = sorted({folder for folders in found for folder in folders})
    if len(names) < 2 or any(len(folders) != 1 for folders in found):
        return None
    expression = f"(?:^|/)({'|'.join(map(re.escape, names))})/"
    listed = ", ".join(names)
    return f"No image has a split; to keep those of the folders {listed}, use --split-from '{expression}'."


def _subject_note(paths: Sequence[str], *, all_of_them: bool) -> str:
    which = "Each image" if all_of_them else f"Each of {len(paths):,} images without a subject"
    count = f"{which} counts as a subject of its own"
    suggestion = suggest_subject(paths)
    if suggestion is None:
        return (
            f"{count}. If a patient has several images, find the patient in their paths with --subject "
            "REGEX."
        )
    expression, subjects = suggestion
    listed = ", ".join(subjects[:3]) + (", …" if len(subjects) > 3 else "")
    return (
        f"{count}. If {listed} in their paths are patients ({len(subjects):,} of them), add --subject "
        f"'{expression}'; otherwise one patient may be in several splits."
    )


def _sized(
    read: Callable[[], Iterable[CaseImage | Skip]], pixel_size: Spacing
) -> Iterator[CaseImage | Skip]:
    for image in read():
        yield image if isinstance(image, Skip) else replace(image, spacing=pixel_size)
