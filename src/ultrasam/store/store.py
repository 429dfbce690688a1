"""The store: images as PNG, and two Arrow tables that are mapped, not read: of images and of instances.

    STORE/manifest.json      versions, settings, counts; written last
    STORE/images.arrow       one row an image, grouped by data set
    STORE/instances.arrow    one row an instance: the image's row, and again all that selects it
    STORE/images/<id>/*.png  pixels, grey or RGB
    STORE/skipped.csv        all that was left out, and why
    STORE/journal/           lets a build go on; may be deleted

A row's `split` is train, val, test, or excluded (it would leak into another side).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.errors import DataError
from ultrasam.extras import needs
from ultrasam.files import atomic_file
from ultrasam.images.masks import BoolMask, decode_rle
from ultrasam.images.pixels import Frame

with needs("Working with data sets", extra="data"):
    import polars as pl
    import pyarrow as pa
    import pyarrow.compute as pc

VERSION = 1
_NAME = pa.dictionary(pa.int32(), pa.string())

IMAGES = pa.schema(
    [
        ("dataset", _NAME),
        ("name", pa.string()),
        ("file", pa.string()),
        ("source", pa.string()),
        ("subject", pa.string()),
        ("subject_known", pa.bool_()),
        ("study", pa.string()),
        ("frame", pa.int32()),
        ("split", _NAME),
        ("source_split", _NAME),
        ("class_label", _NAME),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("spacing_row", pa.float64()),
        ("spacing_column", pa.float64()),
        ("sha256", pa.binary(32)),
        ("shape_hash", pa.binary(32)),
        ("texture_hash", pa.binary(32)),
        ("group", pa.int32()),
        ("first_instance", pa.int32()),
        ("instance_count", pa.int32()),
    ]
)
INSTANCES = pa.schema(
    [
        ("image", pa.int32()),
        ("dataset", _NAME),
        ("subject", pa.string()),
        ("split", _NAME),
        ("structure", _NAME),
        ("x0", pa.int32()),
        ("y0", pa.int32()),
        ("x1", pa.int32()),
        ("y1", pa.int32()),
        ("area", pa.int32()),
        ("rle", pa.binary()),
        ("spacing_row", pa.float64()),
        ("spacing_column", pa.float64()),
        ("source", pa.string()),
        ("sha256", pa.binary(32)),
    ]
)


# What an AnnotatedImage says of itself.
_DESCRIBING = ["dataset", "name", "subject", "source", "study", "frame", "spacing_row",
               "spacing_column", "split", "class_label"]  # fmt: skip
_BLOCK = 4096


@dataclass(frozen=True)
class Store:
    """An open store. Opening maps the tables; pixels and masks are read when asked for.

    Pickling one sends its path only, so workers share the mapped pages.
    """

    root: Path

    @classmethod
    def open(cls, root: Path) -> Store:
        """Open a finished store.

        Raises:
            DataError: there is none, its build was not finished, or another version wrote it.
        """
        store = cls(root)
        found = store.manifest.get("store_version")
        if found != VERSION:
            raise DataError(
                f"{root} was written as version {found}, this program reads {VERSION}; build it again."
            )
        for table in (store.images, store.instances):
            if (table.schema.metadata or {}).get(b"build") != store.manifest["build"].encode():
                raise DataError(
                    f"The last build of {root} was cut off at its end; run the same command again."
                )
        return store

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root}

    @cached_property
    def manifest(self) -> dict[str, Any]:
        path = self.root / "manifest.json"
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise DataError(
                f"{self.root} is not a finished store (no manifest.json); make one with "
                "ultrasam data build RAW -o STORE."
            ) from error
        except (OSError, ValueError) as error:
            raise DataError(f"{path} is damaged: {error}; build the store again.") from error
        return content

    @cached_property
    def images(self) -> pa.Table:
        return self._mapped("images.arrow")

    @cached_property
    def instances(self) -> pa.Table:
        return self._mapped("instances.arrow")

    def _mapped(self, name: str) -> pa.Table:
        try:
            return pa.ipc.open_file(pa.memory_map(str(self.root / name))).read_all()
        except (OSError, pa.ArrowException) as error:
            raise DataError(
                f"{self.root / name} is missing or damaged; build the store again."
            ) from error

    def images_df(self) -> pl.DataFrame:
        """The table of images, for queries."""
        return pl.DataFrame(pl.from_arrow(self.images))

    def instances_df(self) -> pl.DataFrame:
        """The table of instances, for queries."""
        return pl.DataFrame(pl.from_arrow(self.instances))

    @cached_property
    def boxes(self) -> npt.NDArray[np.int32]:
        """All boxes [N, 4]: x0, y0, x1, y1."""
        return np.stack([self.column(name) for name in ("x0", "y0", "x1", "y1")], axis=1)

    def column(self, name: str) -> npt.NDArray[Any]:
        """A numeric column of the table of instances, without a copy."""
        chunks = self.instances[name].chunks
        if not chunks:  # a store without a single object
            return np.zeros(0, self.instances.schema.field(name).type.to_pandas_dtype())
        return np.asarray(chunks[0].to_numpy(zero_copy_only=True))

    def box(self, instance: int) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1 of one instance, without reading the others'."""
        x0, y0, x1, y1 = (int(self.column(name)[instance]) for name in ("x0", "y0", "x1", "y1"))
        return x0, y0, x1, y1

    def mask(self, instance: int) -> BoolMask:
        """One instance's mask [H, W]."""
        image = int(self.column("image")[instance])
        size = [self.images[name][image].as_py() for name in ("height", "width")]
        return decode_rle(
            {"size": size, "counts": self.instances["rle"][instance].as_py().decode()}
        )

    def instances_of(self, image: int) -> range:
        """Rows of an image's instances."""
        first = self.images["first_instance"][image].as_py()
        return range(first, first + self.images["instance_count"][image].as_py())

    def path(self, image: int) -> Path:
        """The image's file."""
        return self.root / str(self.images["file"][image].as_py())

    def pixels(self, image: int, *, colour: bool = False) -> Frame:
        """One image, [H, W] uint8; with ``colour`` [H, W, 3] RGB where it is stored so.

        Raises:
            DataError: missing or damaged.
        """
        flag = cv2.IMREAD_UNCHANGED if colour else cv2.IMREAD_GRAYSCALE
        found = cv2.imread(str(self.path(image)), flag)
        if found is None:
            raise DataError(
                f"{self.path(image)} is missing or damaged; delete it and run ultrasam data build again."
            )
        return np.asarray(found[..., ::-1] if found.ndim == 3 else found, dtype=np.uint8)

    def image(self, row: int) -> AnnotatedImage:
        """One image, its pixels and masks not read yet."""
        return next(self.annotated_images([row]))

    def annotated_images(self, rows: Sequence[int]) -> Iterator[AnnotatedImage]:
        """Images by their rows, pixels and masks not read yet.

        The table is read in blocks, which is some hundred times faster than row by row.
        """
        for start in range(0, len(rows), _BLOCK):
            block = np.asarray(rows[start : start + _BLOCK], np.int64)
            table = self.images.select(_DESCRIBING).take(pa.array(block))
            for row, values in zip(block.tolist(), table.to_pylist(), strict=True):
                spacing = values.pop("spacing_row"), values.pop("spacing_column")
                yield AnnotatedImage(
                    **values,
                    reader=_StoredImage(self, row),
                    spacing=None if None in spacing else spacing,
                )

    def select(
        self,
        *,
        datasets: Iterable[str] | None = None,
        splits: Iterable[str] | None = None,
        with_instances: bool = False,
    ) -> npt.NDArray[np.int64]:
        """Rows of images of some data sets and sides, in order."""
        kept = pa.scalar(True)
        for name, values in (("dataset", datasets), ("split", splits)):
            if values is not None:
                wanted = pa.array(list(values), pa.string())
                kept = pc.and_(kept, pc.is_in(self.images[name].cast(pa.string()), wanted))
        if with_instances:
            kept = pc.and_(kept, pc.greater(self.images["instance_count"], 0))
        if isinstance(kept, pa.Scalar):
            return np.arange(len(self.images))
        return np.flatnonzero(np.asarray(kept.to_numpy()))


@dataclass(frozen=True, slots=True)
class _StoredImage:
    """Reads one row's pixels and masks. Pickling sends the store's path and the row."""

    store: Store
    row: int

    def pixels(self) -> Frame:
        return self.store.pixels(self.row, colour=True)

    def grey(self) -> npt.NDArray[np.uint8]:
        return self.store.pixels(self.row)

    def structures(self) -> tuple[str, ...]:
        names = self.store.instances["structure"]
        return tuple(str(names[i].as_py()) for i in self.store.instances_of(self.row))

    def areas(self) -> tuple[int, ...]:
        rows = self.store.instances_of(self.row)
        return tuple(self.store.column("area")[rows.start : rows.stop].tolist())

    def mask(self, index: int) -> BoolMask:
        return self.store.mask(self.store.instances_of(self.row)[index])


class StoredImages(Sequence[AnnotatedImage]):
    """Some images of a store, none of them read: 280,000 rows cost two megabytes.

    Args:
        rows: [N] rows of the table of images.
    """

    def __init__(self, store: Store, rows: npt.NDArray[np.int64]) -> None:
        self.store, self.rows = store, rows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> AnnotatedImage: ...
    @overload
    def __getitem__(self, index: slice) -> StoredImages: ...
    def __getitem__(self, index: int | slice) -> AnnotatedImage | StoredImages:
        if isinstance(index, slice):
            return StoredImages(self.store, self.rows[index])
        return self.store.image(int(self.rows[index]))

    def __iter__(self) -> Iterator[AnnotatedImage]:
        return self.store.annotated_images(self.rows.tolist())


def write_table(path: Path, table: pa.Table, *, build: str) -> None:
    """Write a table so that it can be mapped: uncompressed, in one batch, whole or not at all."""
    table = table.combine_chunks().replace_schema_metadata({"build": build})
    with atomic_file(path) as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=max(1, len(table)))
