"""Images that an evaluation has twice: they are named, and their subjects count as one in all intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ultrasam.reporting.document import Section, section
from ultrasam.reporting.tables import Table
from ultrasam.text import counted

Record = Mapping[str, Any]


def equal_images(records: Iterable[Record]) -> list[list[tuple[str, str]]]:
    """Groups of at least two images (data set, name) of equal size and pixels, each sorted, in order."""
    by_pixels: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for record in records:
        if record.get("pixels"):
            by_pixels[record["pixels"]].add((record["dataset"], record["image"]))
    return sorted(sorted(images) for images in by_pixels.values() if len(images) > 1)


def joined_subjects(records: Iterable[Record]) -> dict[tuple[str, str], str]:
    """The subject of every image (data set, name), as ``data set/subject``.

    Subjects that share an image are one: people's images stand under two names in several public data sets,
    and values of one person are not independent. The joined subject has the first of the names.
    """
    records = [record for record in records if "subject" in record]
    first: dict[str, str] = {}

    def root(name: str) -> str:
        while first.get(name, name) != name:
            name = first[name]
        return name

    own = {(r["dataset"], r["image"]): f"{r['dataset']}/{r['subject']}" for r in records}
    for images in equal_images(records):
        roots = sorted({root(own[image]) for image in images})
        for other in roots[1:]:
            first[other] = roots[0]
    return {image: root(name) for image, name in own.items()}


def duplicate_table(record_lists: Sequence[Sequence[Record]]) -> Table | None:
    """The images that are equal, a row per group; None if there are none."""
    groups = equal_images(record for records in record_lists for record in records)
    if not groups:
        return None
    subjects = {
        (r["dataset"], r["image"]): r["subject"]
        for records in record_lists for r in records if "subject" in r
    }  # fmt: skip
    rows = tuple(
        (
            ", ".join(f"{dataset}: {image}" for dataset, image in images),
            ", ".join(sorted({f"{image[0]}: {subjects[image]}" for image in images})),
        )
        for images in groups
    )
    return Table("Equal images", ("images", "subjects"), rows)


def duplicate_section(record_lists: Sequence[Sequence[Record]]) -> Section | None:
    """The table with what it means; None if no two images are equal."""
    table = duplicate_table(record_lists)
    if table is None:
        return None
    groups = equal_images(record for records in record_lists for record in records)
    extra = sum(len(images) - 1 for images in groups)
    text = (
        f"{counted(extra, 'image')} of this evaluation {'repeats' if extra == 1 else 'repeat'} another, "
        "pixel for pixel. Means count all of them; in the intervals, the subjects of equal images are one "
        "subject.\n"
    )
    return section("Duplicates", text, table, says=counted(extra, "repeated image"))
