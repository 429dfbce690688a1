"""UPBD: six structures around the brachial plexus, as LabelMe files with pinyin labels."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import (
    MISSING_IMAGE,
    MISSING_MASK,
    DatasetInfo,
    DatasetSpec,
    bibtex,
)
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.labelme import read_labelme

_PINYIN = {
    "dongmai": "artery",
    "jingmai": "vein",
    "jirouzuzhi": "muscle",
    "shenjing": "nerve",
    "zhifang": "fat",
    "jizhu": "spine",
}

INFO = DatasetInfo(
    id="ubpd",
    name="UPBD",
    url="https://ubpd.worldwidetracing.com:9443/",
    access="registration",
    organ="brachial plexus",
    structures=tuple(_PINYIN.values()),
    kind="still",
    size="955 images of 91 patients for training, of 1,052 images of 101 patients",
    layout="<stem>.jpg and <stem>.json (LabelMe) at any depth",
    folders=("UBPD", "UPBD"),
    citation=bibtex(
        "article",
        "ding2022",
        author="Ding, Yi and Yang, Qiqi and Wang, Yiqian and Chen, Dajiang and Qin, Zhiguang and "
        "Zhang, Jian",
        title="MallesNet: A multi-object assistance based network for brachial plexus segmentation in "
        "ultrasound images",
        journal="Medical Image Analysis",
        volume=80,
        pages=102511,
        year=2022,
    ),
    note="The host did not answer in September 2026. The name in its paper is UBPD.",
)


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    files = {entry.path.rsplit(".", 1)[0].casefold(): entry for entry, _ in tree.match(r"\.json$")}
    for image, groups in tree.match(r"/(?P<subject>[^/_]+)[^/]*\.jpe?g$"):
        file = files.pop(image.path.rsplit(".", 1)[0].casefold(), None)
        if file is None:
            report.skip(image, MISSING_MASK)
            continue
        yield Case(
            INFO.id,
            image.stem.casefold(),
            (image, file),
            partial(read_labelme, image, file, _PINYIN),
            subject=groups["subject"].rsplit(".", 1)[0],
        )
    for file in files.values():
        report.skip(file, MISSING_IMAGE, what="file")


DATASET = DatasetSpec(INFO, _cases, version=2)
