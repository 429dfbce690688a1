"""`ultrasam data build`: raw data sets into a store."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ultrasam.cli import checks
from ultrasam.cli.data.packages import require_packages
from ultrasam.cli.options import TEST_FRACTION, Datasets, Workers, out_option
from ultrasam.cli.progress import progress_bar
from ultrasam.errors import DataError
from ultrasam.text import counted

if TYPE_CHECKING:
    from ultrasam.datasets.description import DatasetSpec
    from ultrasam.store.build import BuildResult
    from ultrasam.store.index import BuildSettings

logger = logging.getLogger(__name__)

OutStore = Annotated[
    Path, out_option("The store, which is created, or added to if it exists.", metavar="STORE")
]


def build(
    raw: Annotated[
        list[str],
        typer.Argument(metavar="RAW", help="Folders with data sets, or NAME=FOLDER."),
    ],
    out: OutStore,
    dataset: Datasets = None,
    with_: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="ID.STRUCTURE",
            help="Include a structure that is off by default (repeatable).",
        ),
    ] = None,
    workers: Workers = 2,
    min_area: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="PIXELS",
            help="Leave out smaller instances; the manifest counts them.",
        ),
    ] = 1,
    min_fraction: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            metavar="FRACTION",
            help="Leave out instances smaller than this fraction of the largest in their image (0.95 in the "
            "paper's code, for one test set); the manifest counts them.",
        ),
    ] = 0.0,
    val_fraction: Annotated[
        float,
        typer.Option(
            min=0,
            max=0.99,
            metavar="FRACTION",
            help="Fraction of the subjects to validate on, if the data have no validation split.",
        ),
    ] = 0.05,
    test_fraction: Annotated[
        float,
        typer.Option(min=0, max=0.99, metavar="FRACTION", help=TEST_FRACTION),
    ] = 0.05,
    hold_out: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Use this entire data set for testing (repeatable)."),
    ] = None,
    zero_shot: Annotated[
        bool,
        typer.Option(
            "--zero-shot",
            help="Hold out the data sets of the paper: BUS-BRA, GIST514-DB, MMOTU-2D.",
        ),
    ] = False,
) -> None:
    """Build an indexed, validated store with patient-level splits from downloaded data sets.

    Interrupted builds resume when the command is run again. Data sets can be added later.
    """  # fmt: skip
    require_packages()
    if val_fraction + test_fraction >= 1:
        raise DataError(
            "--val-fraction and --test-fraction sum to 1 or more; nothing is left to train on."
        )
    checks.check_paths(raw, option="RAW", takes="a folder or an archive")
    checks.check_output(out)
    from ultrasam.datasets.catalogue import dataset as described
    from ultrasam.datasets.discover import find_datasets
    from ultrasam.store.index import PAPER_TEST_SETS, BuildSettings
    from ultrasam.store.splits import SplitFractions

    test_datasets = {described(name).info.id for name in hold_out or []}
    try:
        sources = find_datasets(raw, only=dataset or [], left_out=logger.warning)
    except DataError as error:
        raise DataError(_hint(raw) or str(error)) from error
    settings = BuildSettings(
        min_area=min_area,
        min_relative_area=min_fraction,
        split_fractions=SplitFractions(val_fraction, test_fraction),
        test_datasets=tuple(sorted(test_datasets | set(PAPER_TEST_SETS if zero_shot else ()))),
    )
    run_build(sources, out, settings, frozenset(with_ or []), workers)


def _hint(raw: list[str]) -> str | None:
    """Which command reads a custom folder that was given in place of a published data set."""
    from ultrasam.datasets.custom import detect_layout

    for text in raw:
        path = Path(text).expanduser()
        folder = path.parent if path.is_file() else path
        try:
            layout = detect_layout(folder)
        except DataError:
            continue
        format_name = "masks" if layout == "image_mask_folder" else layout
        return (
            f"{text} looks like your own annotated images; import them with: ultrasam data import {folder} "
            f"--format {format_name} --name NAME -o STORE"
        )
    return None


def run_build(
    sources: list[tuple[DatasetSpec, Path]],
    out: Path,
    settings: BuildSettings,
    extras: frozenset[str],
    workers: int,
) -> None:
    """Build a store, with a progress bar, and print what it holds and what was left out."""
    from ultrasam.store.build import build_store as run

    before = _image_names(out, [spec.info.id for spec, _ in sources])
    with progress_bar("reading") as on_progress:
        built = run(
            sources,
            out,
            settings=settings,
            include=extras,
            workers=workers,
            on_progress=on_progress,
        )
    after = _image_names(out, list(before))
    for name, images in before.items():
        gone = len(images - after.get(name, set()))
        if gone:
            logger.warning(
                "%s: %s of the earlier build %s no longer in the store, because a data set is replaced when "
                "it is read again. To keep two folders, give each its own name.",
                name, counted(gone, "image"), "is" if gone == 1 else "are",
            )  # fmt: skip
    _report(built, out)


def _image_names(store: Path, datasets: Sequence[str]) -> dict[str, set[str]]:
    """The images that a store has of some data sets."""
    from ultrasam.store.store import Store

    if not (store / "manifest.json").exists():
        return {}
    images = Store.open(store).images
    names: dict[str, set[str]] = {}
    for dataset, name in zip(
        images["dataset"].to_pylist(), images["name"].to_pylist(), strict=True
    ):
        if dataset in datasets:
            names.setdefault(dataset, set()).add(name)
    return names


def _report(built: BuildResult, out: Path) -> None:
    from ultrasam.datasets.annotated_image import SPLITS
    from ultrasam.datasets.file_tree import describe_skips
    from ultrasam.store.splits import EXCLUDED

    manifest = built.summary.manifest
    for name, counts in built.summary.skips.items():
        images, empty = (
            manifest["datasets"][name][key] for key in ("images", "images_without_objects")
        )
        if name not in built.notes:
            continue  # not read now; what the store has of it is of an earlier build
        without = f", {empty:,} of them without objects" * bool(empty)
        print(f"{name}: {counted(images, 'image')}{without}")
        for line in (*built.notes.get(name, ()), *describe_skips(counts)):
            print(f"    {line}")
    duplicates, splits = manifest["duplicates"], manifest["splits"]
    split_text = ", ".join(
        f"{splits[split]:,} {split}" for split in (*SPLITS, EXCLUDED) if split in splits
    )
    print(
        f"Store: {counted(manifest['images'], 'image')} ({split_text}), "
        f"{counted(manifest['instances'], 'instance')}, {counted(manifest['subjects'], 'subject')}"
    )
    if duplicates["exact"] or duplicates["similar"]:
        print(
            f"Duplicates: {duplicates['exact']:,} exact, {counted(duplicates['similar'], 'similar pair')}; "
            "images of one group stay in one split"
        )
    for what, count in manifest["dropped_instances"].items():
        if count:
            print(f"{counted(count, 'instance')} left out ({what.replace('_', ' ')})")
    if any(reasons for counts in built.summary.skips.values() for reasons in counts.values()):
        print(f"All that was left out: {out / 'skipped.csv'}")
    print(out)
    for name, reason in built.failed.items():
        logger.error("%s: %s", name, reason)
    if built.failed:
        previous = [name for name in built.failed if name in manifest["datasets"]]
        earlier = (
            f" The store still has {' and '.join(previous)} of an earlier build."
            if previous
            else ""
        )
        count = counted(len(built.failed), "data set")
        raise DataError(f"{count} could not be built.{earlier}")
