"""`ultrasam data build` and `import`: raw data sets, and one's own, into a store."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ultrasam.cli.progress import progress_bar
from ultrasam.errors import DataError

if TYPE_CHECKING:
    from ultrasam.datasets.description import DatasetSpec
    from ultrasam.store.build import BuildResult
    from ultrasam.store.index import BuildSettings

logger = logging.getLogger(__name__)

OutStore = Annotated[
    Path, typer.Option("--out", "-o", metavar="STORE", help="The store; made, or added to.")
]
Workers = Annotated[int, typer.Option(help="Processes; 0 works in this one.")]
LeastArea = Annotated[
    int, typer.Option(help="Leave out instances of fewer pixels; the manifest counts them.")
]
LeastShare = Annotated[
    float,
    typer.Option(
        help="Leave out instances smaller than this share of their image's largest (the paper's code "
        "used 0.95 for a test set); the manifest counts them."
    ),
]


def build(
    raw: Annotated[
        list[str],
        typer.Argument(metavar="RAW...", help="Folders with data sets, or NAME=FOLDER."),
    ],
    out: OutStore,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="NAME", help="Only this one; repeat.")
    ] = None,
    with_: Annotated[
        list[str] | None,
        typer.Option(
            "--with", metavar="ID.STRUCTURE", help="A structure that is off by default; repeat."
        ),
    ] = None,
    workers: Workers = 2,
    least_area: LeastArea = 1,
    least_share: LeastShare = 0.0,
    val: Annotated[float, typer.Option(help="Share of subjects that validate.")] = 0.05,
    test: Annotated[float, typer.Option(help="Share of subjects that test.")] = 0.05,
    hold_out: Annotated[
        list[str] | None,
        typer.Option("--hold-out", metavar="NAME", help="All of this data set tests; repeat."),
    ] = None,
    zero_shot: Annotated[
        bool,
        typer.Option("--zero-shot", help="Hold out the paper's: BUS-BRA, GIST514-DB, MMOTU-2D."),
    ] = False,
) -> None:
    """Build one indexed, validated, patient-safe store from the downloaded data sets.

    Safe to interrupt: run it again and it resumes. More data sets can be added to a store later.
    """
    from ultrasam.datasets.catalogue import dataset
    from ultrasam.datasets.discover import find_datasets
    from ultrasam.store.index import PAPER_TEST_SETS, BuildSettings
    from ultrasam.store.splits import SplitFractions

    if not (val >= 0 and test >= 0 and val + test < 1):
        raise DataError("--val and --test are shares from 0 that sum to less than 1.")
    if least_area < 1 or not 0 <= least_share <= 1:
        raise DataError("--least-area is at least 1, --least-share within 0 and 1.")
    held = {dataset(name).info.id for name in hold_out or []}
    settings = BuildSettings(
        min_area=least_area,
        min_relative_area=least_share,
        split_fractions=SplitFractions(val, test),
        test_datasets=tuple(sorted(held | set(PAPER_TEST_SETS if zero_shot else ()))),
    )
    sources = find_datasets(raw, only=only or [])
    _run(sources, out, settings, frozenset(with_ or []), workers)


def import_(
    folder: Annotated[Path, typer.Argument(help="The folder with images and annotations.")],
    out: OutStore,
    name: Annotated[
        str, typer.Option(help="What the data set is called in the store: a-z, 0-9, _.")
    ],
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            help="coco, via, labelme, or masks (images/x.png with masks/x.png or masks/STRUCTURE/x.png).",
        ),
    ],
    structure: Annotated[
        str | None, typer.Option(help="What the masks show, where no folder or label says.")
    ] = None,
    workers: Workers = 2,
) -> None:
    """Add your own annotated images to a store."""
    from ultrasam.datasets import custom
    from ultrasam.datasets.catalogue import catalogue

    if not re.fullmatch(r"[a-z0-9_]{1,40}", name):
        raise DataError(f"'{name}' is no name for a data set; use a-z, 0-9 and _.")
    if name in catalogue():
        raise DataError(f"'{name}' is a data set of the catalogue; take another name.")
    if format_ == "masks":
        data = custom.image_mask_folder(name, structure=structure)
    elif format_ in ("coco", "via", "labelme"):
        readers = {
            "coco": custom.coco_file,
            "via": custom.via_files,
            "labelme": custom.labelme_files,
        }
        data = readers[format_](name)  # type: ignore[operator]
    else:
        raise DataError(f"There is no format '{format_}'; there are coco, via, labelme and masks.")
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.")
    _run([(data, folder)], out, _settings_of(out), frozenset(), workers)


def _settings_of(store: Path) -> BuildSettings:
    """Those of the store's last build, so that adding to it changes no side."""
    from ultrasam.store.index import BuildSettings
    from ultrasam.store.store import Store

    if not (store / "manifest.json").exists():
        return BuildSettings()
    return BuildSettings.from_manifest(Store(store).manifest)


def _run(
    sources: list[tuple[DatasetSpec, Path]],
    out: Path,
    settings: BuildSettings,
    extras: frozenset[str],
    workers: int,
) -> None:
    from ultrasam.store.build import build_store as run

    with progress_bar("reading") as on_progress:
        built = run(
            sources,
            out,
            settings=settings,
            include=extras,
            workers=workers,
            on_progress=on_progress,
        )
    _report(built, out)


def _report(built: BuildResult, out: Path) -> None:
    manifest = built.summary.manifest
    for name, reasons in built.summary.skips.items():
        images = manifest["datasets"][name]["images"]
        skipped = sum(reasons.values())
        print(f"{name}: {images:,} images" + (f"; {skipped:,} left out:" if skipped else ""))
        for reason, count in reasons.most_common(4):
            print(f"    {count:,} × {reason}")
        if len(reasons) > 4:
            print(f"    and {len(reasons) - 4} more reasons")
    alike, sides = manifest["duplicates"], manifest["splits"]
    print(
        f"{manifest['images']:,} images, {manifest['instances']:,} instances, "
        f"{manifest['subjects']:,} subjects: "
        + ", ".join(f"{n:,} {side}" for side, n in sides.items())
    )
    print(
        f"{alike['exact']:,} exact and {alike['similar']:,} near duplicates, kept on one side each"
    )
    for what, count in manifest["dropped_instances"].items():
        if count:
            print(f"{count:,} instances left out ({what.replace('_', ' ')})")
    if any(built.summary.skips.values()):
        print(f"All that was left out: {out / 'skipped.csv'}")
    print(out)
    for name, reason in built.failed.items():
        logger.error("%s: %s", name, reason)
    if built.failed:
        raise DataError(f"{len(built.failed)} of the data sets could not be built.")
