"""EchoNet-Pediatric: the left ventricle of children, traced as polygons. Frame numbers are 1-based."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial

from ultrasam.datasets.annotated_image import Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.tables import column, measurements, number, read_table
from ultrasam.datasets.readers.tracings import read_tracings

INFO = DatasetInfo(
    id="echonet_pediatric",
    name="EchoNet-Pediatric",
    url="https://echonet.github.io/pediatric",
    access="registration",
    license="Stanford research use agreement",
    organ="heart",
    structures=("left_ventricle",),
    kind="cine",
    size="7,810 clips (A4C, PSAX); 15,450 images after conversion (OpenUS)",
    layout="pediatric_echo_avi/pediatric_echo_avi/<A4C|PSAX>/Videos/<name>.avi, FileList.csv, "
    "VolumeTracings.csv",
    folders=("pediatric_echo_avi", "EchoNet-Pediatric"),
    citation=bibtex(
        "article",
        "reddy2023",
        author="Reddy, Charitha D. and Lopez, Leo and Ouyang, David and Zou, James Y. and He, Bryan",
        title="Video-based deep learning for automated assessment of left ventricular ejection fraction in "
        "pediatric patients",
        journal="Journal of the American Society of Echocardiography",
        volume=36,
        number=5,
        year=2023,
    ),
    note="Of the ten folds, 0-7 are the training split, 8 the validation split and 9 the test split.",
)

_VIEW = r"/(?P<view>A4C|PSAX)/"


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    tracings: dict[tuple[str, str], dict[int, list[tuple[float, float]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for table, groups in tree.match(_VIEW + r"VolumeTracings\.csv$"):
        rows = read_table(table)
        columns = [column(rows, table, name) for name in ("FileName", "Frame", "X", "Y")]
        for name, frame, *cells in zip(*columns, strict=True):
            index, x, y = number(frame), number(cells[0]), number(cells[1])
            if index is None or x is None or y is None:
                # Rows of untraced frames contain 'No Systolic' or 'No Diastolic'.
                report.skip(f"{table.path} {name}", "tracing without numbers", what="annotation")
                continue
            tracings[groups["view"].upper(), _stem(name)][int(index) - 1].append((x, y))
    split: dict[tuple[str, str], str] = {}
    measured: dict[tuple[str, str], dict[str, float]] = {}
    for table, groups in tree.match(_VIEW + r"FileList\.csv$"):
        rows = read_table(table)
        folds = zip(column(rows, table, "FileName"), column(rows, table, "Split"), strict=True)
        for name, fold in folds:
            split_of_fold = {8.0: "val", 9.0: "test"}.get(number(fold) or 0.0, "train")
            split[groups["view"].upper(), _stem(name)] = split_of_fold
        stated = measurements(rows, table, "FileName", {"EF": "ejection_fraction_percent"})
        for name, values in stated.items():
            measured[groups["view"].upper(), _stem(name)] = values
    for clip, groups in tree.match(_VIEW + r"Videos/[^/]+\.avi$"):
        key = groups["view"].upper(), _stem(clip.name)
        if key not in tracings:
            report.skip(clip, "clip without tracings")
            continue
        polygons = tuple(
            (frame, tuple(points)) for frame, points in sorted(tracings.pop(key).items())
        )
        yield Case(
            INFO.id,
            "/".join(key),
            (clip,),
            partial(
                read_tracings,
                clip,
                "left_ventricle",
                polygons,
                **({"measurements": found} if (found := measured.get(key)) else {}),
            ),
            subject=key[1],
            study=key[1],
            split=split.get(key),
        )
    for view, name in tracings:
        report.skip(f"{view}/{name}.avi", "traced clip not found", what="file")


def _stem(name: str) -> str:
    return name.casefold().removesuffix(".avi")


DATASET = DatasetSpec(INFO, _cases, version=3)
