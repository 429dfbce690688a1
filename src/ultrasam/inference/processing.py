"""Read, predict and write file by file; a file or frame that fails is reported and does not stop the others.

The three steps may overlap: while one frame is in the network, the next is read and the last one is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from ultrasam.errors import DiskFullError, UltraSamError, one_line
from ultrasam.images.pixels import Frame
from ultrasam.images.reading import read_scan
from ultrasam.images.scan import Scan
from ultrasam.inference.frames import FrameChoice, choose_frames
from ultrasam.inference.inputs import ResultNames, stem_of
from ultrasam.inference.overlap import ahead

T = TypeVar("T")
Finish = Callable[[Scan, str, Sequence["FileResult"]], tuple[Sequence[Path], Sequence[str]]]
Open = Callable[[Path], AbstractContextManager[Scan]]


@dataclass(frozen=True, slots=True)
class FileResult:
    """The result of one frame of a file, or of a file that failed.

    Attributes:
        path: the input file.
        overlay: the overlay image; None if the file or frame failed, or none was asked for.
        results: its entries in the COCO results file.
        error: one sentence if the file or frame failed, else None.
        refused: a sentence for each prompt that could not be used.
        notes: sentences about what should be looked at.
        frame: index of the frame.
        pictures: of the candidates of clicks.
        size: height and width of the frame; None if it failed.
        files: what was written of all frames of a file together; the result then is of no frame.
    """

    path: Path
    overlay: Path | None = None
    results: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None
    refused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    frame: int = 0
    pictures: tuple[Path, ...] = ()
    size: tuple[int, int] | None = None
    files: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class ScanFrame:
    """One frame to process.

    Attributes:
        path: the file.
        scan: its content.
        index: of the frame.
        name: for the results; no two frames of a run share it.
        number: counts the frames of a run from 1.
        pixels: of the frame, [H, W] or [H, W, 3] uint8.
    """

    path: Path
    scan: Scan
    index: int
    name: str
    number: int
    pixels: Frame


@dataclass(frozen=True, slots=True, eq=False)
class _End:
    """All frames of a file have been read.

    Attributes:
        close: closes the file.
    """

    path: Path
    scan: Scan
    name: str
    close: Callable[[], object]


@dataclass(frozen=True, slots=True, eq=False)
class _Step(Generic[T]):
    """A frame on its way, or a failure in its place."""

    frame: ScanFrame | None
    failed: FileResult | None = None
    notes: tuple[str, ...] = ()
    predicted: T | None = None


def open_file(path: Path) -> AbstractContextManager[Scan]:
    """Open a file as a scan; nothing needs to be closed."""
    return nullcontext(read_scan(path))


@dataclass(frozen=True, slots=True)
class Pipeline:
    """How files go through the three steps.

    Attributes:
        opened: opens a file, and closes it once its results are written.
        depth: how many frames reading may be ahead of predicting, and predicting of writing. 0 does one after
            the other; else, each of the three has a thread.
        complete: called with the scan and the result of each frame that did not fail; returns the result with
            what is to be added.
    """

    opened: Open = open_file
    depth: int = 0
    complete: Callable[[Scan, FileResult], FileResult] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ReadFrame:
    """A frame as it was read, or why it could not be.

    Attributes:
        path: the file.
        index: of the frame; 0 if the file could not be read.
        pixels: [H, W] or [H, W, 3] uint8; None if they could not be read.
        notes: sentences about what was chosen without being asked for.
        error: one sentence if it failed, else None.
    """

    path: Path
    index: int = 0
    pixels: Frame | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None


def read_frames(
    paths: Sequence[Path], frames: FrameChoice, opened: Open = open_file
) -> Iterator[ReadFrame]:
    """The chosen frames of each file, with a failure in the place of a file or frame that cannot be read."""
    for path in paths:
        with ExitStack() as stack:
            try:
                scan = stack.enter_context(opened(path))
                chosen, notes = choose_frames(scan, frames, path)
            except DiskFullError:
                raise  # of a copy out of an archive: no other file could be read
            except Exception as error:
                yield ReadFrame(path, error=describe_failure(path, error))
                continue
            for index in chosen:
                try:
                    yield ReadFrame(path, index, scan.frame(index), notes)
                except Exception as error:
                    yield ReadFrame(path, index, None, notes, describe_failure(path, error))
                notes = ()


def process_files(
    paths: Sequence[Path],
    predict: Callable[[ScanFrame], T],
    write: Callable[[ScanFrame, T], FileResult],
    *,
    frames: FrameChoice = None,
    finish: Finish | None = None,
    pipeline: Pipeline | None = None,
) -> Iterator[FileResult]:
    """Read, predict and write the chosen frames of each file, in order; errors become results.

    Args:
        paths: the files.
        predict: called for each frame; its result goes to ``write``.
        write: writes what was predicted, and tells what it wrote.
        frames: of cines and volumes.
        finish: writes what all frames of a file make together. It gets the scan, the name of its results and
            those of its frames that did not fail, and returns the files and sentences about them.
        pipeline: how; by default, one step after the other.

    Raises:
        DiskFullError: A result could not be written.
    """
    how = pipeline or Pipeline()
    reading = ahead(_read(paths, frames, how.opened), how.depth)
    predicting = ahead(_predict(reading, predict), how.depth)
    done: list[FileResult] = []
    try:
        for step in predicting:
            if isinstance(step, _End):
                if finish is not None and any(result.size for result in done):
                    yield _finished(finish, step, done)
                step.close()
                done = []
                continue
            result = _written(step, write, how)
            yield result
            if result.error is None:
                done.append(replace(result, overlay=None))
    finally:
        predicting.close()  # type: ignore[attr-defined]  # a generator, whose threads end here


def _read(paths: Sequence[Path], frames: FrameChoice, opened: Open) -> Iterator[_Step[Any] | _End]:
    names, number, renamed = ResultNames(), 0, False
    for path in paths:
        with ExitStack() as stack:
            try:
                scan = stack.enter_context(opened(path))
                chosen, notes = choose_frames(scan, frames, path)
            except DiskFullError:
                raise  # of a copy out of an archive: no other file could be read
            except Exception as error:
                number += 1
                yield _Step(None, FileResult(path, error=describe_failure(path, error)))
                continue
            name = names.take(stem := stem_of(path))
            if name != stem and not renamed:
                renamed = True
                text = f"its results are named {name}, because several inputs are called {stem}"
                notes = (*notes, f"{path}: {text}; predictions.json says which is which.")
            for index in chosen:
                number += 1
                of_frame = name
                if scan.num_frames > 1:
                    digits = len(str(scan.num_frames - 1))
                    of_frame = names.take(f"{name}_frame_{index:0{digits}d}")
                step: _Step[Any]
                try:
                    frame = ScanFrame(path, scan, index, of_frame, number, scan.frame(index))
                    step = _Step(frame, notes=notes)
                except Exception as error:
                    text = describe_failure(path, error)
                    step = _Step(None, FileResult(path, error=text, notes=notes, frame=index))
                yield step
                notes = ()
            yield _End(path, scan, name, stack.pop_all().close)


def _predict(
    steps: Iterator[_Step[Any] | _End], predict: Callable[[ScanFrame], T]
) -> Iterator[_Step[T] | _End]:
    for step in steps:
        if isinstance(step, _End) or step.frame is None:
            yield step
            continue
        frame = step.frame
        try:
            step = replace(step, predicted=predict(frame))
        except DiskFullError:
            raise
        except Exception as error:
            step = replace(step, failed=_failed(frame, error, step.notes))
        yield step


def _written(
    step: _Step[T], write: Callable[[ScanFrame, T], FileResult], how: Pipeline
) -> FileResult:
    if step.failed is not None:
        return step.failed
    frame = step.frame
    assert frame is not None
    try:
        result = write(frame, step.predicted)  # type: ignore[arg-type]  # predicted, as it did not fail
        result = replace(result, frame=frame.index)
        if how.complete is not None:
            result = how.complete(frame.scan, result)
    except DiskFullError:
        raise  # no other result could be written
    except Exception as error:
        return _failed(frame, error, step.notes)
    return replace(result, notes=(*step.notes, *result.notes))


def _failed(frame: ScanFrame, error: Exception, notes: tuple[str, ...]) -> FileResult:
    text = describe_failure(frame.path, error)
    return FileResult(frame.path, error=text, notes=notes, frame=frame.index)


def _finished(finish: Finish, end: _End, done: Sequence[FileResult]) -> FileResult:
    try:
        files, notes = finish(end.scan, end.name, done)
    except DiskFullError:
        raise
    except Exception as error:
        return FileResult(end.path, error=describe_failure(end.path, error))
    return FileResult(end.path, files=tuple(files), notes=tuple(notes))


def describe_failure(path: Path, error: Exception) -> str:
    """An error of a file as a sentence that names it; an unexpected one must not stop the other files."""
    if isinstance(error, UltraSamError):
        return str(error)
    return f"{path}: {type(error).__name__}: {one_line(error)}"
