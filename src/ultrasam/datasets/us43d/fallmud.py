"""FALLMUD: muscle aponeuroses. Fascicles are optional, since the paper's code does not read them.

Some masks lie on their left side.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.label_rules import LabelRule, Threshold, Values
from ultrasam.datasets.readers.paired_images import Groups, MaskOptions, paired

INFO = DatasetInfo(
    id="fallmud",
    name="FALLMUD",
    url="https://kalisteo.cea.fr/index.php/fallmud/",
    access="registration",
    organ="muscle",
    structures=("aponeurosis",),
    optional_structures=("fascicle",),
    kind="still",
    size="813 images after conversion (OpenUS)",
    layout="FALLMUD/<NeilCronin|RyanCunningham>/images/x.*, aponeurosis_masks/x.*, fascicle_masks/x.*",
    folders=("FALLMUD",),
    citation=bibtex(
        "inproceedings",
        "michard2021",
        author="Michard, Hugo and Luvison, Bertrand and Pham, Quoc-Cuong and "
        "Morales-Artacho, Antonio J. and Guilhem, Gaël",
        title="AW-Net: Automatic muscle structure analysis on B-mode ultrasound images for injury "
        "prevention",
        booktitle="ACM Conference on Bioinformatics, Computational Biology, and Health Informatics",
        year=2021,
    ),
    note="Masks with width and height swapped, of the half RyanCunningham, are rotated by 90 degrees "
    "clockwise, as the paper's code does; check a contact sheet. The half NeilCronin has the file names of "
    "DL_Track and is probably of its images: never evaluate on it after training on DL_Track.",
    overlaps=("dl_track",),
)


def _upright(values: Values, shape: tuple[int, int]) -> Values:
    return np.rot90(values, -1) if values.shape[:2] != shape else values


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    def rule(groups: Groups) -> LabelRule | None:
        what = groups["what"].casefold()
        return Threshold(what, 100) if what == "aponeurosis" or what in tree.include else None

    return paired(
        INFO.id,
        tree,
        report,
        image=r"/(?P<group>NeilCronin|RyanCunningham)/images/(?P<stem>[^/]+)\.\w+$",
        mask=r"/(?P<group>NeilCronin|RyanCunningham)/(?P<what>aponeurosis|fascicle)_masks/(?P<stem>[^/]+)\.\w+$",
        labels=rule,
        options=MaskOptions(fit=_upright),
    )


DATASET = DatasetSpec(INFO, _cases, version=2)
