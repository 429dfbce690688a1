"""What a store holds, in numbers: a Markdown page, and an HTML page with plots."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultrasam.extras import needs
from ultrasam.files import atomic_write
from ultrasam.reporting.html import page as html_page
from ultrasam.reporting.markdown import table, to_html
from ultrasam.reporting.plots import figure
from ultrasam.store.store import Store

with needs("Working with data sets", extra="data"):
    import polars as pl

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_STRUCTURES = 40


@dataclass(frozen=True, slots=True)
class Stats:
    """Tables of a store.

    Attributes:
        datasets: per data set, images, those with an object, masks, subjects, structures, sides.
        structures: per structure, masks, images, data sets and size.
        sizes: one row an instance: share of the image's area, and its equivalent diameter in pixels.
    """

    datasets: pl.DataFrame
    structures: pl.DataFrame
    sizes: pl.DataFrame
    images: pl.DataFrame
    skipped: dict[str, dict[str, int]]
    manifest: dict[str, Any]


def stats(store: Store) -> Stats:
    """Count a store."""
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
        (pl.col("area") / pl.col("pixels")).alias("share"),
        (pl.col("area") * 4 / 3.141592653589793).sqrt().alias("diameter"),
    )
    sides = [
        (pl.col("split") == side).sum().alias(side) for side in ("train", "val", "test", "excluded")
    ]
    per_image = images.group_by("dataset").agg(
        pl.len().alias("images"),
        (pl.col("instance_count") > 0).sum().alias("with object"),
        pl.col("subject").n_unique().alias("subjects"),
        pl.col("subject_known").all().alias("subjects known"),
        *sides,
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
            pl.col("share").median().alias("median share"),
            pl.col("diameter").median().alias("median diameter"),
        )
        .sort("masks", "structure", descending=[True, False])
    )
    skipped = {n: d["skipped"] for n, d in store.manifest["datasets"].items() if d["skipped"]}
    return Stats(datasets.fill_null(0), structures, sizes, images, skipped, store.manifest)


def markdown(found: Stats) -> str:
    """The page in Markdown."""
    d = found.datasets
    lines = [
        "# Data overview",
        "",
        f"{d['images'].sum():,} images ({d['with object'].sum():,} with an object), "
        f"{d['masks'].sum():,} masks of {len(found.structures)} structures, "
        f"{found.manifest['subjects']:,} subjects, {len(d)} data sets.",
        "",
        "## Data sets",
        "",
        "Where subjects are not known, each image counts as one; those that follow each other and look "
        "alike are kept on one side all the same.",
        "",
        _table(
            d,
            ["dataset", "images", "with object", "masks", "subjects", "subjects known", "train", "val",
             "test", "excluded", "median width", "median height", "structures"],
        ),
        "",
        "## Structures",
        "",
        "Share: of the image's area. Diameter: of the disc of the same area, in pixels.",
        "",
        _table(
            found.structures.with_columns(
                pl.col("median share").round(4), pl.col("median diameter").round(1)
            ),
            ["structure", "masks", "images", "data sets", "median share", "median diameter"],
        ),
        "",
        "## Duplicates and sides",
        "",
        "; ".join(f"{k.replace('_', ' ')}: {v:,}" for k, v in found.manifest["alike"].items()) + ".",
        "",
        "; ".join(f"{k}: {v:,} images" for k, v in found.manifest["sides"].items()) + ".",
        "",
        "## Left out",
        "",
    ]  # fmt: skip
    dropped = found.manifest["left_out_instances"]
    lines.append(
        "; ".join(f"{k.replace('_', ' ')}: {v:,} instances" for k, v in dropped.items()) + "."
    )
    lines.append("")
    rows = [
        {"dataset": name, "reason": reason, "count": count}
        for name, reasons in found.skipped.items()
        for reason, count in reasons.items()
    ]
    lines.append(_table(pl.DataFrame(rows), ["dataset", "reason", "count"]) if rows else "Nothing.")
    return "\n".join(lines) + "\n"


def page(found: Stats) -> str:
    """The page in HTML, self-contained, with plots."""
    figures = [
        figure("Images and masks per data set", lambda axes: _plot_datasets(axes, found)),
        figure("Masks per structure", lambda axes: _plot_structures(axes, found)),
        figure(
            "Size of objects, share of the image's area", lambda axes: _plot_shares(axes, found)
        ),
        figure("Size of images", lambda axes: _plot_image_sizes(axes, found)),
    ]
    plots = "".join(figures)
    return html_page("Data overview", f"{to_html(markdown(found))}<h2>Plots</h2>\n{plots}")


def write_pages(store: Store, folder: Path) -> tuple[Path, Path]:
    """Write stats.md and stats.html into ``folder``."""
    found = stats(store)
    text, web = folder / "stats.md", folder / "stats.html"
    atomic_write(text, markdown(found))
    atomic_write(web, page(found))
    return text, web


def _table(frame: pl.DataFrame, columns: list[str]) -> str:
    return table(columns, ([_cell(v) for v in row] for row in frame.select(columns).iter_rows()))


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def _plot_datasets(axes: Axes, found: Stats) -> None:
    d = found.datasets.sort("images")
    at = list(range(len(d)))
    axes.barh([i + 0.2 for i in at], d["images"].to_list(), 0.4, label="images", color="#3b6ea5")
    axes.barh([i - 0.2 for i in at], d["masks"].to_list(), 0.4, label="masks", color="#e0912f")
    axes.set_yticks(at, d["dataset"].to_list(), fontsize=max(4, 9 - len(d) // 10))
    axes.set_xscale("log")
    axes.legend()


def _plot_structures(axes: Axes, found: Stats) -> None:
    s = found.structures.head(_MOST_STRUCTURES).reverse()
    axes.barh(s["structure"].to_list(), s["masks"].to_list(), color="#3b6ea5")
    axes.tick_params(axis="y", labelsize=max(4, 9 - len(s) // 8))
    axes.set_xscale("log")


def _plot_shares(axes: Axes, found: Stats) -> None:
    bins = [10 ** (-5 + k / 8) for k in range(41)]
    shares = found.sizes["share"].clip(1e-5, 1).to_list()
    axes.hist(shares, bins=bins, color="#3b6ea5")
    axes.set_xscale("log")
    axes.set_xlabel("share of the image")
    axes.set_ylabel("masks")


def _plot_image_sizes(axes: Axes, found: Stats) -> None:
    for name, rows in found.images.group_by("dataset", maintain_order=True):
        picked = rows.head(2000)
        axes.scatter(
            picked["width"].to_list(),
            picked["height"].to_list(),
            s=6,
            alpha=0.5,
            label=str(name[0]),
        )
    axes.set_xlabel("width")
    axes.set_ylabel("height")
    if len(found.datasets) <= 12:
        axes.legend(fontsize=6)
