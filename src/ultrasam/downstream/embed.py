"""Features of many files; a file, frame or prompt that fails is reported and does not stop the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ultrasam.downstream.features import Embedder
from ultrasam.errors import PromptError
from ultrasam.extras import needs
from ultrasam.files import atomic_file
from ultrasam.images.pixels import Frame
from ultrasam.images.scan import Scan
from ultrasam.inference.batch import call_with_prompts
from ultrasam.inference.frames import FrameChoice
from ultrasam.inference.overlap import ahead
from ultrasam.inference.processing import Pipeline, describe_failure, read_frames
from ultrasam.inference.prompts_file import AssignedPrompts, PromptEntry
from ultrasam.text import valid_text


@dataclass(frozen=True, slots=True)
class EmbedResult:
    """The features of one frame of a file.

    Attributes:
        vectors: each with the number of its prompt; None is the whole frame.
        errors: a sentence for the frame, or for each of its prompts, that failed.
        notes: sentences about what was chosen without being asked for.
    """

    path: Path
    frame: int = 0
    vectors: tuple[tuple[int | None, list[float]], ...] = ()
    errors: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def embed_files(
    embedder: Embedder,
    paths: Sequence[Path],
    prompts: AssignedPrompts | None = None,
    *,
    frames: FrameChoice = None,
    pipeline: Pipeline | None = None,
) -> Iterator[EmbedResult]:
    """Embed the chosen frames of each file, or what their prompts mean. Pass the results to
    `write_features`.

    Args:
        embedder: computes the features.
        paths: the files.
        prompts: of the files; None for features of whole frames.
        frames: of cines and volumes.
        pipeline: how files are opened, and how many frames are read ahead; see
            `ultrasam.inference.processing.Pipeline`.
    """
    how = pipeline or Pipeline()
    pending: list[tuple[EmbedResult, Frame]] = []

    def opened(path: Path) -> AbstractContextManager[Scan]:
        if prompts is not None and path in prompts.missing:
            raise PromptError(prompts.missing[path])
        return how.opened(path)

    for read in ahead(read_frames(paths, frames, opened), how.depth * embedder.batch):
        errors = () if read.error is None else (read.error,)
        result, pixels = EmbedResult(read.path, read.index, (), errors, read.notes), read.pixels
        if pixels is None:
            yield result
        elif prompts is not None:
            yield _regions(embedder, result, pixels, prompts.entries[result.path])
        else:
            pending.append((result, pixels))
        if len(pending) == embedder.batch:
            yield from _images(embedder, pending)
            pending = []
    yield from _images(embedder, pending)


def _images(embedder: Embedder, frames: Sequence[tuple[EmbedResult, Frame]]) -> list[EmbedResult]:
    vectors = embedder.images([pixels for _, pixels in frames])
    return [
        EmbedResult(one.path, one.frame, ((None, vector.tolist()),), (), one.notes)
        for (one, _), vector in zip(frames, vectors, strict=True)
    ]


def _regions(
    embedder: Embedder, result: EmbedResult, pixels: Frame, entries: Sequence[PromptEntry]
) -> EmbedResult:
    try:
        used, found, refused = call_with_prompts(
            lambda prompts: embedder.regions(pixels, prompts), entries, result.path
        )
    except Exception as error:
        return replace(result, errors=(describe_failure(result.path, error),))
    vectors = []
    for entry, vector in zip(used, found, strict=True):
        if np.isnan(vector).any():
            where = f"{result.path}: prompt {entry.number}"
            refused.append(f"{where}: the mask is empty, so there are no features.")
        else:
            vectors.append((entry.number, vector.tolist()))
    return replace(result, vectors=tuple(vectors), errors=tuple(refused))


def write_features(results: Sequence[EmbedResult], out: Path, *, model: str) -> None:
    """Write a Parquet file with columns path, prompt, features and frame, and the model's name as metadata.

    Raises:
        UltraSamError: The file cannot be written.
    """
    with needs("Writing features", extra="downstream"):
        import polars as pl
    schema: dict[str, Any] = {
        "path": pl.String,
        "prompt": pl.Int64,
        "features": pl.List(pl.Float32),
        "frame": pl.Int64,
    }
    rows = [
        (valid_text(one.path), number, vector, one.frame)
        for one in results
        for number, vector in one.vectors
    ]
    table = pl.DataFrame(rows, schema=schema, orient="row")
    with atomic_file(out) as file:
        table.write_parquet(file, metadata={"model": model})
