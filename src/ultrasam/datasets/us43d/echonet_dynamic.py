"""EchoNet-Dynamic: the left ventricle, traced on two frames per clip as chords across it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial

from ultrasam.datasets.annotated_image import SPLITS, Case
from ultrasam.datasets.description import DatasetInfo, DatasetSpec, bibtex
from ultrasam.datasets.file_tree import FileTree, SkipReport
from ultrasam.datasets.readers.tables import column, measurements, number, read_table
from ultrasam.datasets.readers.tracings import read_tracings
from ultrasam.errors import DataError

INFO = DatasetInfo(
    id="echonet_dynamic",
    name="EchoNet-Dynamic",
    url="https://echonet.github.io/dynamic",
    access="registration",
    license="Stanford research use agreement",
    organ="heart",
    structures=("left_ventricle",),
    kind="cine",
    size="10,030 clips, two traced frames each; 20,048 images after conversion (OpenUS)",
    layout="EchoNet-Dynamic/Videos/<name>.avi, FileList.csv, VolumeTracings.csv",
    folders=("EchoNet-Dynamic",),
    citation=bibtex(
        "article",
        "ouyang2020",
        author="Ouyang, David and He, Bryan and Ghorbani, Amirata and others",
        title="Video-based AI for beat-to-beat assessment of cardiac function",
        journal="Nature",
        volume=580,
        year=2020,
    ),
)

_MEASURED = {
    "EF": "ejection_fraction_percent",
    "ESV": "end_systolic_volume_ml",
    "EDV": "end_diastolic_volume_ml",
}
Chord = tuple[float, float, float, float]


def _cases(tree: FileTree, report: SkipReport) -> Iterator[Case]:
    table = tree.first(r"/VolumeTracings\.csv$")
    if table is None:
        raise DataError("EchoNet-Dynamic: VolumeTracings.csv is missing; add it to the folder.")
    rows = read_table(table)
    columns = [column(rows, table, name) for name in ("FileName", "Frame", "X1", "Y1", "X2", "Y2")]
    tracings: dict[str, dict[int, list[Chord]]] = defaultdict(lambda: defaultdict(list))
    for name, frame, *cells in zip(*columns, strict=True):
        chord = [number(cell) for cell in cells]
        index = number(frame)
        if index is None or None in chord:
            report.skip(f"{table.path} {name}", "tracing without numbers", what="annotation")
            continue
        tracings[_stem(name)][int(index)].append(tuple(chord))  # type: ignore[arg-type]
    split: dict[str, str] = {}
    measured: dict[str, dict[str, float]] = {}
    files = tree.first(r"/FileList\.csv$")
    if files is not None:
        rows = read_table(files)
        pairs = zip(column(rows, files, "FileName"), column(rows, files, "Split"), strict=True)
        split = {_stem(name): value.casefold() for name, value in pairs}
        stated = measurements(rows, files, "FileName", _MEASURED)
        measured = {_stem(name): values for name, values in stated.items()}
    for clip, _ in tree.match(r"/Videos/[^/]+\.avi$"):
        key = _stem(clip.name)
        if key not in tracings:
            report.skip(clip, "clip without tracings")
            continue
        polygons = []
        for frame, chords in sorted(tracings.pop(key).items()):
            across = chords[1:]  # the first is the long axis
            left = [(x1, y1) for x1, y1, _, _ in across]
            right = [(x2, y2) for _, _, x2, y2 in reversed(across)]
            polygons.append((frame, (*left, *right)))
        yield Case(
            INFO.id,
            key,
            (clip,),
            partial(
                read_tracings,
                clip,
                "left_ventricle",
                tuple(polygons),
                **({"measurements": found} if (found := measured.get(key)) else {}),
            ),
            subject=key,
            study=key,
            split=split[key] if split.get(key) in SPLITS else None,
        )
    for name in tracings:
        report.skip(f"{name}.avi", "traced clip not found", what="file")


def _stem(name: str) -> str:
    return name.casefold().removesuffix(".avi")


DATASET = DatasetSpec(INFO, _cases, version=3)
