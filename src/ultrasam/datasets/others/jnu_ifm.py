"""JNU-IFM: pubic symphysis and fetal head in video frames, one folder per video.

A woman may have several videos, and which ones is not published. The videos are named after the time of
recording, so all videos of a day count as one subject.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.label_rules import ByValue, Values, require_values
from ultrasam.datasets.readers.paired_images import MaskOptions, paired
from ultrasam.datasets.readers.tables import column, number, read_table
from ultrasam.errors import DataError

INFO = DatasetInfo(
    id="jnu_ifm",
    name="JNU-IFM",
    url="https://figshare.com/articles/dataset/JNU-IFM/14371652",
    access="open",
    license="CC BY 4.0",
    organ="fetal head and pelvis",
    structures=("pubic_symphysis", "fetal_head"),
    kind="still",
    size="6,224 frames of 78 videos, 51 women",
    layout="us_data/<video>/image/<video>_<frame>.png, mask/<video>_<frame>_mask.png, frame_label.csv",
    folders=("JNU-IFM", "JNU_IFM"),
    generic_folders=("us_data",),
    citation=bibtex(
        "article",
        "lu2022",
        author="Lu, Yaosheng and Zhou, Mengqiang and Zhi, Dengjiang and others",
        title="The JNU-IFM dataset for segmenting pubic symphysis-fetal head",
        journal="Data in Brief",
        volume=41,
        pages=107904,
        year=2022,
    ),
    note="Which videos are of one woman is not published: all videos of one day, by their names, count as "
    "one subject. FH-PS-AOP and PSFHS are by the same group and may have images in common, and clips of "
    "IUGC have the names of its videos: never evaluate on one after training on another.",
    overlaps=("fh_ps_aop", "iugc", "psfhs"),
    part_of_paper=False,
)

_SEEN = {3: "none", 4: "pubic_symphysis", 5: "fetal_head", 6: "both"}


def _checked(values: Values, shape: tuple[int, int]) -> Values:
    return require_values(values, (0, 7, 8))


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    seen: dict[tuple[str, int], str] = {}
    for table, groups in tree.match(r"/(?P<study>[^/]+)/frame_?label\.csv$"):
        try:
            rows = read_table(table)
            pairs = zip(
                column(rows, table, "frame_id"), column(rows, table, "frame_label"), strict=True
            )
        except DataError as error:
            report.skip(table, str(error), what="file")
            continue
        for frame, label in pairs:
            index, value = number(frame), number(label)
            if index is None or value not in _SEEN:
                report.skip(f"{table.path} {frame}", "unknown frame label", what="annotation")
            else:
                seen[groups["study"].casefold(), int(index)] = _SEEN[int(value)]
    for entry, _ in tree.match(r"/mask_enhance/[^/]+$"):
        report.skip(entry, "picture of a mask", what="file")

    def describe(groups: dict[str, str]) -> dict[str, str | None]:
        frame = re.search(r"_(\d+)$", groups["stem"])
        day = re.match(r"(\d{8})T\d{6}", groups["study"])
        key = (groups["study"].casefold(), int(frame[1]) if frame else -1)
        return {"subject": day[1] if day else groups["study"], "class_label": seen.get(key)}

    yield from paired(
        INFO.id,
        tree,
        report,
        image=r"/(?P<study>[^/]+)/image/(?P<stem>[^/]+)\.png$",
        mask=r"/(?P<study>[^/]+)/mask/(?P<stem>[^/]+)_mask\.png$",
        labels=ByValue({7: "pubic_symphysis", 8: "fetal_head"}),
        options=MaskOptions(fit=_checked),
        describe=describe,
    )


DATASET = DatasetSpec(INFO, _cases)
