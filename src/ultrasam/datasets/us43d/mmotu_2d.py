"""MMOTU-2D: ovarian tumors, one class per image. Two lists give the class and the split."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.label_rules import LabelRule, Threshold
from ultrasam.datasets.readers.paired_images import Groups, paired

_CLASSES = (
    "chocolate_cyst", "serous_cystadenoma", "teratoma", "theca_cell_tumor", "simple_cyst",
    "normal_ovary", "mucinous_cystadenoma", "high_grade_serous",
)  # fmt: skip

INFO = DatasetInfo(
    id="mmotu_2d",
    name="MMOTU-2D",
    url="https://github.com/cv516Buaa/MMOTU_DS2Net",
    access="open",
    license="research only",
    organ="ovary",
    structures=_CLASSES,
    kind="still",
    size="1469 images of 294 patients",
    layout="OTU_2d/images/<i>.JPG, OTU_2d/annotations/<i>.PNG, train_cls.txt, val_cls.txt",
    folders=("OTU_2d", "MMOTU_2d", "MMOTU-2D"),
    citation=bibtex(
        "article",
        "zhao2022",
        author="Zhao, Qi and Lyu, Shuchang and Bai, Wenpei and others",
        title="A multi-modality ovarian tumor ultrasound image dataset for unsupervised cross-domain "
        "semantic segmentation",
        journal="arXiv:2207.06799",
        year=2022,
    ),
    note="Hosted on a cloud drive linked from the page. Patients are not identified.",
)


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    kind: dict[str, str] = {}
    split: dict[str, str] = {}
    for entry, groups in tree.match(r"/(?P<part>train|val)_cls\.txt$"):
        for line in entry.read().decode("utf-8", errors="replace").splitlines():
            words = line.split()
            if not words:
                continue
            stem = words[0].rsplit(".", 1)[0].casefold()
            if len(words) < 2 or not words[1].isdigit() or int(words[1]) >= len(_CLASSES):
                report.skip(f"{entry.path} {words[0]}", "unknown class", what="annotation")
                continue
            kind[stem] = _CLASSES[int(words[1])]
            split[stem] = "test" if groups["part"].casefold() == "val" else "trainval"

    def rule(groups: Groups) -> LabelRule:
        return Threshold(kind.get(groups["stem"].casefold(), "unknown_class"))

    return paired(
        INFO.id,
        tree,
        report,
        image=r"^(?!.*/OTU_3d/).*/images/(?P<stem>[^/]+)\.jpe?g$",
        mask=r"^(?!.*/OTU_3d/).*/annotations/(?P<stem>[^/]+)\.png$",
        exclude={r"/annotations/[^/]+_binary\.png$": "copy of the color mask"},
        labels=rule,
        describe=lambda g: {
            "split": split.get(g["stem"].casefold()),
            "class_label": kind.get(g["stem"].casefold()),
        },
    )


DATASET = DatasetSpec(INFO, _cases)
