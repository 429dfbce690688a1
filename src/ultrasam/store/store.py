"""Open a store, select images, and read pixels and masks.

A store has images as PNG files, and two memory-mapped Arrow tables:

    STORE/manifest.json      versions, settings and counts; written last
    STORE/images.arrow       one row per image, sorted by data set
    STORE/instances.arrow    one row per instance: the row of its image, and copies of columns of the image
    STORE/images/<id>/*.png  pixels, gray or RGB
    STORE/skipped.csv        files and images left out, with the reason
    STORE/journal/           lets an interrupted build resume; may be deleted

Column `split` is train, val, test or excluded (the image would leak between splits).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.errors import DataError
from ultrasam.extras import needs
from ultrasam.files import atomic_file
from ultrasam.images.masks import BoolMask, decode_rle
from ultrasam.images.pixels import Frame
from ultrasam.store.measurements import from_json
from ultrasam.store.migrations import upgrade_columns, upgrade_manifest

with needs("Working with data sets", extra="data"):
    import pyarrow as pa
    import pyarrow.compute as pc

if TYPE_CHECKING:
    import polars as pl

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
        ("ignored_rle", pa.binary()),  # union of the regions to ignore; null if there is none
        ("measurements", pa.string()),  # JSON; null if the source measured nothing
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


# Columns that become attributes of an AnnotatedImage.
_IMAGE_COLUMNS = ["dataset", "name", "subject", "source", "study", "frame", "spacing_row",
                  "spacing_column", "split", "class_label", "measurements"]  # fmt: skip
_BLOCK = 4096


@dataclass(frozen=True)
class Store:
    """An open store: tables are memory-mapped, and pixels and masks are read on access.

    Pickling sends only the path, so that worker processes share the mapped pages.

    Attributes:
        root: the folder of the store.
    """

    root: Path

    @classmethod
    def open(cls, root: Path) -> Store:
        """Open a complete store.

        Raises:
            DataError: The folder is no store, its build is incomplete, or its version is not supported.
        """
        store = cls(root)
        build = store.manifest["build"].encode()
        for table in (store.images, store.instances):
            if (table.schema.metadata or {}).get(b"build") != build:
                raise DataError(
                    f"The last build of {root} was interrupted; run the same command again to finish it."
                )
        return store

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root}

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Versions, settings, counts, and the license and citation of each data set.

        Raises:
            DataError: The manifest is missing or damaged, or its version is not supported.
        """
        path = self.root / "manifest.json"
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise DataError(
                f"{self.root} is not a complete store (no manifest.json). Build one with: "
                "ultrasam data build RAW -o STORE"
            ) from error
        except (OSError, ValueError) as error:
            raise DataError(f"{path} is damaged ({error}); build the store again.") from error
        return upgrade_manifest(content, where=self.root)

    @cached_property
    def images(self) -> pa.Table:
        """The image table (columns: `IMAGES`)."""
        return self._mapped("images.arrow")

    @cached_property
    def instances(self) -> pa.Table:
        """The instance table (columns: `INSTANCES`)."""
        return self._mapped("instances.arrow")

    def _mapped(self, name: str) -> pa.Table:
        try:
            table = pa.ipc.open_file(pa.memory_map(str(self.root / name))).read_all()
        except (OSError, pa.ArrowException) as error:
            raise DataError(
                f"{self.root / name} is missing or damaged; build the store again."
            ) from error
        return upgrade_columns(table)

    def images_df(self) -> pl.DataFrame:
        """The image table as a polars DataFrame."""
        return _frame(self.images)

    def instances_df(self) -> pl.DataFrame:
        """The instance table as a polars DataFrame."""
        return _frame(self.instances)

    @cached_property
    def boxes(self) -> npt.NDArray[np.int32]:
        """Boxes of all instances, [N, 4] int32: x0, y0, x1, y1 in pixels, x1 and y1 exclusive."""
        return np.stack([self.column(name) for name in ("x0", "y0", "x1", "y1")], axis=1)

    def column(self, name: str) -> npt.NDArray[Any]:
        """A numeric column of the instance table, [N], without a copy."""
        chunks = self.instances[name].chunks
        if not chunks:  # a store without objects
            return np.zeros(0, self.instances.schema.field(name).type.to_pandas_dtype())
        return np.asarray(chunks[0].to_numpy(zero_copy_only=True))

    def box(self, instance: int) -> tuple[int, int, int, int]:
        """The box of one instance (see `boxes`), without reading the others."""
        x0, y0, x1, y1 = (int(self.column(name)[instance]) for name in ("x0", "y0", "x1", "y1"))
        return x0, y0, x1, y1

    def mask(self, instance: int) -> BoolMask:
        """The mask of one instance, [H, W] bool."""
        image = int(self.column("image")[instance])
        size = [self.images[name][image].as_py() for name in ("height", "width")]
        return decode_rle(
            {"size": size, "counts": self.instances["rle"][instance].as_py().decode()}
        )

    def ignored(self, image: int) -> BoolMask | None:
        """The union of an image's regions to ignore, [H, W] bool; None if there is none."""
        counts = self.images["ignored_rle"][image].as_py()
        if counts is None:
            return None
        size = [self.images[name][image].as_py() for name in ("height", "width")]
        return decode_rle({"size": size, "counts": counts.decode()})

    def instances_of(self, image: int) -> range:
        """The rows of an image's instances in the instance table."""
        first = self.images["first_instance"][image].as_py()
        return range(first, first + self.images["instance_count"][image].as_py())

    def path(self, image: int) -> Path:
        """The file of an image."""
        return self.root / str(self.images["file"][image].as_py())

    def pixels(self, image: int, *, color: bool = False) -> Frame:
        """The pixels of an image, [H, W] uint8; with ``color``, [H, W, 3] RGB uint8 if it is stored in RGB.

        Raises:
            DataError: The image file is missing or damaged.
        """
        flag = cv2.IMREAD_UNCHANGED if color else cv2.IMREAD_GRAYSCALE
        try:
            # cv2.imread does not open non-ASCII paths on Windows.
            data = np.fromfile(self.path(image), np.uint8)
            pixels = cv2.imdecode(data, flag) if len(data) else None
        except OSError:
            pixels = None
        if pixels is None:
            raise DataError(
                f"{self.path(image)} is missing or damaged; delete it and build the store again."
            )
        return np.asarray(pixels[..., ::-1] if pixels.ndim == 3 else pixels, dtype=np.uint8)

    def image(self, row: int) -> AnnotatedImage:
        """The image in a row of the image table; pixels and masks are read on access."""
        return next(self.annotated_images([row]))

    def annotated_images(self, rows: Sequence[int]) -> Iterator[AnnotatedImage]:
        """The images in some rows of the image table; pixels and masks are read on access.

        Reads the table in blocks, which is about a hundred times faster than row by row.
        """
        for start in range(0, len(rows), _BLOCK):
            block = np.asarray(rows[start : start + _BLOCK], np.int64)
            table = self.images.select(_IMAGE_COLUMNS).take(pa.array(block))
            for row, values in zip(block.tolist(), table.to_pylist(), strict=True):
                spacing = values.pop("spacing_row"), values.pop("spacing_column")
                measurements = from_json(values.pop("measurements"), where=self.root)
                yield AnnotatedImage(
                    **values,
                    reader=_StoredImage(self, row),
                    spacing=None if None in spacing else spacing,
                    measurements=measurements,
                )

    def select(
        self,
        *,
        datasets: Iterable[str] | None = None,
        splits: Iterable[str] | None = None,
        with_instances: bool = False,
    ) -> npt.NDArray[np.int64]:
        """Rows [N] of the image table that meet all conditions, in ascending order.

        Args:
            datasets: ids of data sets; None selects all.
            splits: train, val, test or excluded; None selects all.
            with_instances: select only images with an instance.
        """
        selected = pa.scalar(True)
        for name, values in (("dataset", datasets), ("split", splits)):
            if values is not None:
                allowed = pa.array(list(values), pa.string())
                selected = pc.and_(selected, pc.is_in(self.images[name].cast(pa.string()), allowed))
        if with_instances:
            selected = pc.and_(selected, pc.greater(self.images["instance_count"], 0))
        if isinstance(selected, pa.Scalar):
            return np.arange(len(self.images))
        return np.flatnonzero(np.asarray(selected.to_numpy()))


@dataclass(frozen=True, slots=True)
class _StoredImage:
    """Reads the pixels and masks of one row. Pickling sends only the store's path and the row."""

    store: Store
    row: int

    def pixels(self) -> Frame:
        return self.store.pixels(self.row, color=True)

    def gray(self) -> npt.NDArray[np.uint8]:
        return self.store.pixels(self.row)

    def structures(self) -> tuple[str, ...]:
        names = self.store.instances["structure"]
        return tuple(str(names[i].as_py()) for i in self.store.instances_of(self.row))

    def areas(self) -> tuple[int, ...]:
        rows = self.store.instances_of(self.row)
        return tuple(self.store.column("area")[rows.start : rows.stop].tolist())

    def mask(self, index: int) -> BoolMask:
        return self.store.mask(self.store.instances_of(self.row)[index])

    def ignored(self) -> BoolMask | None:
        return self.store.ignored(self.row)


class StoredImages(Sequence[AnnotatedImage]):
    """A lazy sequence of images in a store: 280,000 rows take two megabytes.

    Args:
        store: the store.
        rows: rows [N] of the image table.
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


def _frame(table: pa.Table) -> pl.DataFrame:
    with needs("Querying a store", extra="data"):
        import polars as pl  # training needs no queries, and so no polars

    return pl.DataFrame(pl.from_arrow(table))


def write_table(path: Path, table: pa.Table, *, build: str) -> None:
    """Write a table for memory mapping: uncompressed, in one batch, and atomically.

    Args:
        path: file to write.
        table: the table.
        build: id of the build, stored in the table's metadata.
    """
    table = table.combine_chunks().replace_schema_metadata({"build": build})
    with atomic_file(path) as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=max(1, len(table)))
