"""FOCUS: the fetal heart in the thorax, each as a mask and as the ellipse that it was drawn from.

An ellipse file has a line ``cx cy a b angle label`` per structure, with the half axes a and b in pixels.
"""

from __future__ import annotations

from collections.abc import Iterator

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, Download, bibtex
from ultrasam.datasets.file_tree import FileEntry, FileTree, SkipReport
from ultrasam.datasets.readers.label_rules import Threshold
from ultrasam.datasets.readers.paired_images import Groups, key_of, paired
from ultrasam.datasets.readers.tables import number
from ultrasam.datasets.split_names import split_of
from ultrasam.errors import DataError
from ultrasam.text import decode_text

INFO = DatasetInfo(
    id="focus",
    name="FOCUS",
    url="https://zenodo.org/records/14597550",
    access="open",
    license="CC BY 4.0",
    organ="fetal heart",
    structures=("fetal_heart", "fetal_thorax"),
    kind="still",
    size="300 images of 217 subjects",
    layout="<training|validation|testing>/images/<i>.png, annfiles_mask/<i>-<cardiac|thorax>.png, "
    "annfiles_ellipse/<i>.txt",
    folders=("FOCUS", "FOCUS-dataset"),
    download=Download("zenodo", "14597550"),
    citation=bibtex(
        "misc",
        "focus2025",
        title="FOCUS: Four-chamber ultrasound image dataset for fetal cardiac biometric measurement",
        publisher="Zenodo",
        doi="10.5281/zenodo.14597550",
        year=2025,
    ),
    note="The images are from FETAL_PLANES_DB. Subjects are not identified, so a subject may have images in "
    "several of the source's splits. The cardiothoracic ratio is that of the ellipses' minor axes.",
    part_of_paper=False,
)

_PART = r"/(?P<split>training|validation|testing)/"
_WHAT = {"cardiac": "heart", "thorax": "thorax", "thoracic": "thorax"}


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    measured: dict[tuple[str, ...], dict[str, float]] = {}
    for file, groups in tree.match(_PART + r"annfiles_ellipse/(?P<stem>[^/]+)\.txt$"):
        try:
            measured[_key(groups)] = _measurements(file)
        except DataError as error:
            report.skip(file, str(error), what="annotation")
    for file, _ in tree.match(_PART + r"annfiles_rectangle/[^/]+\.txt$"):
        report.skip(file, "box around an ellipse", what="file")
    for case in paired(
        INFO.id,
        tree,
        report,
        image=_PART + r"images/(?P<stem>[^/]+)\.png$",
        mask=_PART + r"annfiles_mask/(?P<stem>[^/]+)-(?P<what>cardiac|thorax|thoracic)\.png$",
        labels=lambda g: Threshold(f"fetal_{_WHAT[g['what'].casefold()]}", 128),
        describe=lambda g: {"split": split_of(g["split"])},
        measurements=lambda g: measured.get(_key(g), {}),
    ):
        if len(case.sources) == 3:
            yield case
        else:
            report.skip(case.source, "not one mask of the heart and one of the thorax")


def _key(groups: Groups) -> tuple[str, ...]:
    return key_of(groups, ["split", "stem"])


def _measurements(file: FileEntry) -> dict[str, float]:
    """The axes of both ellipses in pixels, and the ratio of their minor axes.

    Raises:
        DataError: The file is not a list of ellipses.
    """
    values: dict[str, float] = {}
    for line in decode_text(file.read()).splitlines():
        cells = line.split()
        if not cells:
            continue
        numbers = [number(cell) for cell in cells[:5]]
        name = _WHAT.get(cells[-1].casefold())
        if len(cells) != 6 or name is None or None in numbers:
            raise DataError(f"not an ellipse: '{line.strip()}'")
        half_axes = sorted(value for value in numbers[2:4] if value is not None)
        if half_axes[0] <= 0:
            raise DataError(f"an ellipse without area: '{line.strip()}'")
        values[f"{name}_minor_axis_px"] = 2 * half_axes[0]
        values[f"{name}_major_axis_px"] = 2 * half_axes[1]
    if {"heart_minor_axis_px", "thorax_minor_axis_px"} <= values.keys():
        ratio = values["heart_minor_axis_px"] / values["thorax_minor_axis_px"]
        values["cardiothoracic_ratio"] = ratio
    return values


DATASET = DatasetSpec(INFO, _cases)
