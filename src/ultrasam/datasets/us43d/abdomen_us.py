"""AbdomenUS: eight organs, marked by color. Only the real images are read, not the simulated ones."""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import SPLITS, Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.label_rules import ByColor
from ultrasam.datasets.readers.paired_images import paired

_COLORS = {
    (100, 0, 100): "liver",
    (255, 255, 0): "kidney",
    (0, 0, 255): "pancreas",
    (255, 0, 0): "vessels",
    (0, 255, 255): "adrenals",
    (0, 255, 0): "gallbladder",
    (255, 255, 255): "bones",
    (255, 0, 255): "spleen",
}

INFO = DatasetInfo(
    id="abdomen_us",
    name="AbdomenUS",
    url="https://www.kaggle.com/datasets/ignaciorlando/ussimandsegm",
    access="kaggle",
    organ="abdomen",
    structures=tuple(_COLORS.values()),
    kind="still",
    size="617 real images after conversion (OpenUS)",
    layout="abdominal_US/<AUS|RUS>/images/<split>/x.png, …/annotations/<split>/x.png",
    folders=("ussimandsegm",),
    generic_folders=("abdominal_US",),
    citation=bibtex(
        "article",
        "vitale2020",
        author="Vitale, Santiago and Orlando, José Ignacio and Iarussi, Emmanuel and Larrabide, Ignacio",
        title="Improving realism in patient-specific abdominal ultrasound simulation using CycleGANs",
        journal="International Journal of Computer Assisted Radiology and Surgery",
        volume=15,
        year=2020,
    ),
    note="Mask colors are read in RGB order: liver violet, kidney yellow, pancreas blue, vessels red, "
    "adrenals cyan, gallbladder green, bones white, spleen pink. This was not verified on original files.",
)


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    return paired(
        INFO.id,
        tree,
        report,
        image=r"/(?P<kind>[^/]+)/images/(?P<part>[^/]+)/(?P<stem>[^/]+)\.(png|jpe?g)$",
        mask=r"/(?P<kind>[^/]+)/annotations/(?P<part>[^/]+)/(?P<stem>[^/]+)\.png$",
        exclude={r"/AUS/.*\.(png|jpe?g)$": "simulated image"},
        labels=ByColor(_COLORS),
        describe=lambda g: {
            "split": g["part"].casefold() if g["part"].casefold() in SPLITS else None
        },
    )


DATASET = DatasetSpec(INFO, _cases)
