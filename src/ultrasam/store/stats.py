"""Statistics of a store, as a Markdown page and an HTML page with plots."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultrasam.datasets.annotated_image import SPLITS
from ultrasam.extras import needs
from ultrasam.files import atomic_write
from ultrasam.reporting.html import page as html_page
from ultrasam.reporting.markdown import table, to_html
from ultrasam.reporting.plots import figure
from ultrasam.reporting.theme import COLORS
from ultrasam.store.migrations import SKIPPED
from ultrasam.store.splits import EXCLUDED
from ultrasam.store.store import Store
from ultrasam.text import counted

with needs("Working with data sets", extra="data"):
    import polars as pl

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MAX_PLOTTED_STRUCTURES = 40


@dataclass(frozen=True, slots=True)
class StoreStatistics:
    """Statistics of a store.

    Attributes:
        datasets: for each data set, the numbers of images, masks, subjects and images in each split.
        structures: for each structure, the numbers of masks, images and data sets, and the median size.
        sizes: for each instance, the area as a fraction of the image, and the equivalent diameter in pixels.
        images: the image table.
        skipped: rows of ``dataset``, ``what`` (image, annotation or file), ``reason`` and ``count``.
        manifest: the manifest of the store.
    """

    datasets: pl.DataFrame
    structures: pl.DataFrame
    sizes: pl.DataFrame
    images: pl.DataFrame
    skipped: list[dict[str, Any]]
    manifest: dict[str, Any]


def compute_statistics(store: Store) -> StoreStatistics:
    """Compute the statistics of a store."""
    images = store.images_df().with_columns(
        pl.col("dataset", "split", "class_label").cast(pl.String)
    )
    instances = store.instances_df().with_columns(
        pl.col("dataset", "split", "structure").cast(pl.String)
    )
    sizes = instances.select("dataset", "structure", "area", "image").with_columns(
        (images["height"] * images["width"]).gather(instances["image"]).alias("pixels")
    )
    sizes = sizes.with_columns(
        (pl.col("area") / pl.col("pixels")).alias("relative area"),
        (pl.col("area") * 4 / 3.141592653589793).sqrt().alias("diameter"),
    )
    splits = [(pl.col("split") == split).sum().alias(split) for split in (*SPLITS, EXCLUDED)]
    per_image = images.group_by("dataset").agg(
        pl.len().alias("images"),
        (pl.col("instance_count") > 0).sum().alias("with objects"),
        pl.col("subject").n_unique().alias("subjects"),
        pl.col("subject_known").all().alias("subjects known"),
        *splits,
        pl.col("width").median().cast(pl.Int32).alias("median width"),
        pl.col("height").median().cast(pl.Int32).alias("median height"),
    )
    per_instance = instances.group_by("dataset").agg(
        pl.len().alias("masks"),
        pl.col("structure").unique().sort().str.join(", ").alias("structures"),
    )
    datasets = per_image.join(per_instance, on="dataset", how="left").sort("dataset")
    structures = (
        sizes.group_by("structure")
        .agg(
            pl.len().alias("masks"),
            pl.col("image").n_unique().alias("images"),
            pl.col("dataset").n_unique().alias("data sets"),
            pl.col("relative area").median().alias("median area"),
            pl.col("diameter").median().alias("median diameter"),
        )
        .sort("masks", "structure", descending=[True, False])
    )
    skipped = [
        {"dataset": name, "what": what, "reason": reason, "count": count}
        for name, values in store.manifest["datasets"].items()
        for key, what in SKIPPED.items()
        for reason, count in values.get(key, {}).items()
    ]
    return StoreStatistics(
        datasets.fill_null(0), structures, sizes, images, skipped, store.manifest
    )


def markdown(statistics: StoreStatistics) -> str:
    """Format statistics as a Markdown page."""
    d, duplicates = statistics.datasets, statistics.manifest["duplicates"]
    lines = [
        "# Data overview",
        "",
        f"{counted(int(d['images'].sum()), 'image')} ({d['with objects'].sum():,} with objects), "
        f"{counted(int(d['masks'].sum()), 'mask')} of {counted(len(statistics.structures), 'structure')}, "
        f"{counted(statistics.manifest['subjects'], 'subject')}, {counted(len(d), 'data set')}.",
        "",
        *([] if len(statistics.sizes) else ["**No image has an object.**", ""]),
        "## Data sets",
        "",
        "If subjects are unknown, each image counts as a subject; similar consecutive images still stay in "
        "one split.",
        "",
        _table(
            d,
            ["dataset", "images", "with objects", "masks", "subjects", "subjects known", "train", "val",
             "test", "excluded", "median width", "median height", "structures"],
        ),
        "",
        *_structures(statistics),
        "## Duplicates",
        "",
        f"Exact duplicates: {duplicates['exact']:,}; similar pairs: {duplicates['similar']:,}; pairs of "
        f"similar consecutive images: {duplicates['consecutive']:,}. They and the images of each subject "
        f"form {counted(duplicates['groups'], 'group')}; the largest has "
        f"{counted(duplicates['largest_group'], 'image')}.",
        "",
        "## Splits",
        "",
        ", ".join(f"{k}: {counted(v, 'image')}" for k, v in statistics.manifest["splits"].items())
        + ".",
        "",
        "## Dropped and skipped",
        "",
    ]  # fmt: skip
    dropped = statistics.manifest["dropped_instances"]
    lines.append(
        f"Instances below the minimum area: {dropped['below_min_area']:,}; below the minimum relative area: "
        f"{dropped['below_min_relative_area']:,}."
    )
    lines.append("")
    if statistics.skipped:
        columns = ["dataset", "what", "reason", "count"]
        lines.append(_table(pl.DataFrame(statistics.skipped), columns))
    else:
        lines.append("Nothing was skipped.")
    return "\n".join(lines) + "\n"


def _structures(statistics: StoreStatistics) -> list[str]:
    if not len(statistics.structures):
        return []
    rounded = statistics.structures.with_columns(
        pl.col("median area").round(4), pl.col("median diameter").round(1)
    )
    return [
        "## Structures",
        "",
        "Median area: fraction of the image. Median diameter: of a disc of equal area, in pixels.",
        "",
        _table(
            rounded, ["structure", "masks", "images", "data sets", "median area", "median diameter"]
        ),
        "",
    ]


def html(statistics: StoreStatistics) -> str:
    """Format statistics as a self-contained HTML page with plots."""
    figures = [
        figure("Images and masks per data set", lambda axes: _plot_datasets(axes, statistics)),
        figure("Image sizes", lambda axes: _plot_image_sizes(axes, statistics)),
    ]
    if len(statistics.sizes):
        figures[1:1] = [
            figure("Masks per structure", lambda axes: _plot_structures(axes, statistics)),
            figure("Object sizes", lambda axes: _plot_areas(axes, statistics)),
        ]
    plots = "".join(figures)
    return html_page("Data overview", f"{to_html(markdown(statistics))}<h2>Plots</h2>\n{plots}")


def write_pages(store: Store, folder: Path) -> tuple[Path, Path]:
    """Write the statistics of a store to stats.md and stats.html in ``folder``, and return both paths."""
    statistics = compute_statistics(store)
    markdown_file, html_file = folder / "stats.md", folder / "stats.html"
    atomic_write(markdown_file, markdown(statistics))
    atomic_write(html_file, html(statistics))
    return markdown_file, html_file


def _table(frame: pl.DataFrame, columns: list[str]) -> str:
    return table(columns, ([_cell(v) for v in row] for row in frame.select(columns).iter_rows()))


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def _plot_datasets(axes: Axes, statistics: StoreStatistics) -> None:
    d = statistics.datasets.sort("images")
    rows = list(range(len(d)))
    axes.barh([i + 0.2 for i in rows], d["images"].to_list(), 0.4, label="images", color=COLORS[0])
    axes.barh([i - 0.2 for i in rows], d["masks"].to_list(), 0.4, label="masks", color=COLORS[4])
    axes.set_yticks(rows, d["dataset"].to_list(), fontsize=max(4, 9 - len(d) // 10))
    _count_axis(axes, max(*d["images"].to_list(), *d["masks"].to_list(), 0))
    axes.legend()


def _plot_structures(axes: Axes, statistics: StoreStatistics) -> None:
    s = statistics.structures.head(_MAX_PLOTTED_STRUCTURES).reverse()
    axes.barh(s["structure"].to_list(), s["masks"].to_list(), color=COLORS[0])
    axes.tick_params(axis="y", labelsize=max(4, 9 - len(s) // 8))
    _count_axis(axes, s["masks"].max())


def _count_axis(axes: Axes, largest: Any) -> None:
    """Begin the bars at zero and write their counts beside them: on a linear axis, small ones vanish."""
    from matplotlib.ticker import MaxNLocator

    for bars in axes.containers:
        axes.bar_label(bars, fmt="{:,.0f}", padding=2, fontsize=6)  # type: ignore[arg-type]
    axes.set_xlim(0, 1.15 * max(1, largest or 0))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _plot_areas(axes: Axes, statistics: StoreStatistics) -> None:
    bins = [10 ** (-5 + k / 8) for k in range(41)]
    areas = statistics.sizes["relative area"].clip(1e-5, 1).to_list()
    axes.hist(areas, bins=bins, color=COLORS[0])
    axes.set_xscale("log")
    axes.set_xlabel("area as a fraction of the image")
    axes.set_ylabel("masks")


def _plot_image_sizes(axes: Axes, statistics: StoreStatistics) -> None:
    for name, rows in statistics.images.group_by("dataset", maintain_order=True):
        sample = rows.head(2000)
        axes.scatter(
            sample["width"].to_list(),
            sample["height"].to_list(),
            s=6,
            alpha=0.5,
            label=str(name[0]),
        )
    axes.set_xlabel("width in pixels")
    axes.set_ylabel("height in pixels")
    if len(statistics.datasets) <= 12:
        axes.legend(fontsize=6)
