"""kidneyUS: the renal capsule by the first reader. Inner structures and the second reader are optional."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.label_rules import LabelRule, Threshold
from ultrasam.datasets.readers.paired_images import Groups, MaskOptions, paired

INFO = DatasetInfo(
    id="kidney_us",
    name="kidneyUS",
    url="https://github.com/rsingla92/kidneyUS",
    access="request",
    license="CC BY-NC-SA 4.0",
    organ="kidney",
    structures=("kidney",),
    optional_structures=("central_echo_complex", "cortex", "medulla", "second_reader"),
    kind="still",
    size="514 images of 514 patients, and 20 copies; 487 images after conversion (OpenUS)",
    layout="kidneyUS_images_14_june_2022.zip: <stem>.png; labels/reviewed_masks_<1|2>/<part>/<stem>.png",
    folders=("kidneyUS-main",),
    generic_folders=("kidneyUS",),
    citation=bibtex(
        "inproceedings",
        "singla2023",
        author="Singla, Rohit and Ringstrom, Cailin and Hu, Grace and others",
        title="The open kidney ultrasound data set",
        booktitle="Simplifying Medical Ultrasound (ASMUS)",
        year=2023,
    ),
    note="The labels are public; the images are available on request. The copies have names of their own; in "
    "a store, they stay in one split with what they repeat.",
)


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    def rule(groups: Groups) -> LabelRule | None:
        part = groups["part"].casefold().replace(" ", "_")
        if part != "capsule" and part not in tree.include:
            return None
        if groups["reader"] == "2" and "second_reader" not in tree.include:
            return None
        name = "kidney" if part == "capsule" else part
        return Threshold(name if groups["reader"] == "1" else f"{name}_second_reader")

    return paired(
        INFO.id,
        tree,
        report,
        image=r"/kidneyUS_images[^/]*/(.+/)?(?P<stem>(?P<subject>[^/_]+)[^/]*)\.png$",
        mask=r"/reviewed_masks_(?P<reader>[12])/(?P<part>[^/]+)/(?P<stem>[^/]+)\.png$",
        labels=rule,
        options=MaskOptions(skip_empty=True),
    )


DATASET = DatasetSpec(INFO, _cases)
