"""brachial plexus: clips with one folder of masks per structure; the k-th mask belongs to frame k."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from functools import partial

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import MISSING_IMAGE, DatasetInfo, DatasetSpec, Download, bibtex
from ultrasam.datasets.file_tree import FileEntry, FileTree, SkipReport
from ultrasam.datasets.readers.clips import read_masked_clip
from ultrasam.datasets.readers.label_rules import Threshold

INFO = DatasetInfo(
    id="brachial_plexus",
    name="brachial plexus",
    url="https://github.com/Regional-US/brachial_plexus",
    access="open",
    organ="shoulder and neck",
    structures=("nerve_plexus", "needle"),
    kind="cine",
    size="227 clips; 40,788 images after conversion (OpenUS)",
    layout="<n>_….mp4; folders '<n>_…ac_masks…' (plexus) and '<n>_…needle…' with one JPEG mask per frame",
    folders=("brachial_plexus-main",),
    generic_folders=("brachial_plexus", "brachial plexus"),
    download=Download("github", "Regional-US/brachial_plexus"),
    citation=bibtex(
        "misc",
        "regionalus",
        title="Regional-US: brachial plexus",
        howpublished="https://github.com/Regional-US/brachial_plexus",
    ),
)

_FOLDER = r"/(?P<folder>[^/]*?(?P<what>ac_masks|needle|P_021_09_masks)[^/]*)/(.+/)?[^/]+\.jpe?g$"


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    masks: dict[str, dict[str, list[FileEntry]]] = defaultdict(lambda: defaultdict(list))
    for entry, groups in tree.match(_FOLDER):
        name = "needle" if groups["what"].casefold() == "needle" else "nerve_plexus"
        masks[_clip(groups["folder"])][name].append(entry)
    for clip, _ in tree.match(r"\.mp4$"):
        key = _clip(clip.name)
        if key not in masks:
            report.skip(clip, "clip without masks")
            continue
        lists = tuple(
            (Threshold(name, 100), tuple(sorted(entries, key=lambda e: natural_sort_key(e.path))))
            for name, entries in sorted(masks.pop(key).items(), reverse=True)
        )
        yield Case(
            INFO.id,
            key,
            (clip, *(entry for _, entries in lists for entry in entries)),
            partial(read_masked_clip, clip, lists),
            subject=key,
            study=clip.stem,
        )
    for unpaired in masks.values():
        for entries in unpaired.values():
            for entry in entries:
                report.skip(entry, MISSING_IMAGE, what="file")


def _clip(name: str) -> str:
    """The number of the clip: the part before the first underscore; in one folder, the part after 'P_'."""
    exception = re.match(r"P_0*(\d+)_", name, re.IGNORECASE)
    first = exception.group(1) if exception else name.split("_")[0].rsplit(".", 1)[0]
    return first.lstrip("0").casefold() or "0"


def natural_sort_key(path: str) -> list[tuple[int, str]]:
    """A key that sorts paths by the numbers in them."""
    return [(int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"(\d+)", path)]


DATASET = DatasetSpec(INFO, _cases)
