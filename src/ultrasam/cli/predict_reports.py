"""What `ultrasam predict` tells about each file, and the tables that it writes at the end."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ultrasam.cli.outputs import remove
from ultrasam.cli.progress import progress_bar
from ultrasam.text import counted

if TYPE_CHECKING:
    from ultrasam.downstream.classification.predict import ClassResult
    from ultrasam.inference.frames import FrameChoice
    from ultrasam.inference.processing import FileResult

logger = logging.getLogger(__name__)


def report_files(
    files: Iterator[FileResult],
    paths: Sequence[Path],
    out: Path,
    *,
    refused: int = 0,
    index: bool = True,
) -> None:
    """Segment the files, report each, and write predictions.json even if interrupted.

    Args:
        refused: number of entries of the prompts file that are no prompts.
        index: write predictions.json.
    """
    from ultrasam.inference.batch import write_results

    results: list[FileResult] = []
    seen: set[Path] = set()
    complete = False
    try:
        with progress_bar("segmenting") as on_progress:
            for result in files:
                results.append(result)
                seen.add(result.path)
                for sentence in (*result.refused, *([result.error] if result.error else [])):
                    logger.error("%s", sentence)
                for note in result.notes:
                    logger.warning("%s", note)
                on_progress(len(seen), len(paths), frames=sum(not r.files for r in results))
        complete = True
    finally:
        if index and any(not result.error for result in results):
            table = write_results(results, out)
            if not complete:
                _tell_incomplete(table, len(seen), len(paths))
    done = [result for result in results if not result.error]
    for result in done:
        written = [*([result.overlay] if result.overlay else []), *result.pictures, *result.files]
        print(*written, sep="\n", end="\n" if written else "")
    if done and index:
        print(table)
    doubtful = sum(bool(e.get("low_confidence")) for result in done for e in result.results)
    if doubtful > 1:
        total = sum(len(result.results) for result in done)
        logger.warning("%d of %d masks are empty or have low confidence.", doubtful, total)
    refused += sum(len(result.refused) for result in done)
    if refused:
        logger.error("%d %s refused.", refused, "prompt was" if refused == 1 else "prompts were")
    failed = {result.path for result in results if result.error}
    if failed:
        logger.error("%d of %s failed.", len(failed), counted(len(seen), "file"))
    if failed or refused:
        raise typer.Exit(1)


def _tell_incomplete(table: Path, done: int, count: int) -> None:
    logger.warning(
        "%s has only what was done until then: %d of %s.", table, done, counted(count, "file")
    )


def report_classes(
    model: str,
    paths: list[Path],
    out: Path,
    *,
    frames: FrameChoice,
    device: str | None,
    earlier: Sequence[Path],
) -> None:
    """Classify the files, report each, and write classes.csv even if interrupted; ``earlier`` goes first."""
    from ultrasam.downstream.classification.exported import open_classifier
    from ultrasam.downstream.classification.predict import classify_files, write_classes

    classifier = open_classifier(model, device)
    remove(earlier)
    results: list[ClassResult] = []
    complete = False
    try:
        for result in classify_files(classifier, paths, frames=frames):
            results.append(result)
            if result.error:
                logger.error("%s", result.error)
            for note in result.notes:
                logger.warning("%s", note)
            if result.probabilities:
                print(result)
        complete = True
    finally:
        if any(not result.error for result in results):
            table = write_classes(results, classifier.classes, out)
            if not complete:
                _tell_incomplete(table, len({result.path for result in results}), len(paths))
    if any(not result.error for result in results):
        print(table)
    failed = {result.path for result in results if result.error}
    if failed:
        logger.error("%d of %s failed.", len(failed), counted(len(paths), "file"))
        raise typer.Exit(1)
