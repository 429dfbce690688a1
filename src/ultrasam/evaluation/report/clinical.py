"""Clinical error: bias and limits of agreement of what is measured in the masks, and Bland-Altman plots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ultrasam.evaluation.clinical import QUANTITIES, clinical_measurements
from ultrasam.evaluation.metrics.agreement import Agreement, agreement
from ultrasam.evaluation.report.means import seed_of
from ultrasam.evaluation.report.prompts import all_kinds, primary_prompts
from ultrasam.evaluation.report.results import Results
from ultrasam.evaluation.report.styles import color_of, label_of
from ultrasam.extras import needs
from ultrasam.images.masks import decode_rle
from ultrasam.reporting.document import Plot, Section, section
from ultrasam.reporting.plots import dim_line
from ultrasam.reporting.tables import NONE, Table, difference, number

with needs("Evaluation", extra="evaluate"):
    import polars as pl

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SCHEMA: dict[str, Any] = {
    **dict.fromkeys(("dataset", "image", "subject", "kind", "quantity", "unit"), pl.String),
    **dict.fromkeys(("reference", "truth", "predicted"), pl.Float64),
    "from_source": pl.Boolean,
}
_PER_ROW = 4
_RASTER = 500  # more points than this are an image inside the plot


def measured(results: Results, kinds: Sequence[str]) -> pl.DataFrame:
    """One row per clinical quantity of an object, prompt type and repeat (see `clinical_measurements`)."""
    rows = []
    for record in results.images:
        counts = Counter(entry["structure"] for entry in record.get("objects", ()))
        for entry in record.get("objects", ()):
            truth = decode_rle({"size": record["size"], "counts": entry["truth"]})
            only = counts[entry["structure"]] == 1
            for kind in kinds:
                for prediction in entry["predictions"].get(kind, ()):
                    measurements = clinical_measurements(
                        truth,
                        decode_rle({"size": record["size"], "counts": prediction["mask"]}),
                        structure=entry["structure"],
                        dataset=record["dataset"],
                        spacing=tuple(record["spacing"]) if record["spacing"] else None,
                        measurements=record["measurements"] if only else None,
                    )
                    rows += [
                        {
                            "dataset": record["dataset"],
                            "image": record["image"],
                            "subject": results.subjects[record["dataset"], record["image"]],
                            "kind": kind,
                            "quantity": m.quantity,
                            "unit": m.unit,
                            "reference": m.reference,
                            "truth": m.truth,
                            "predicted": m.predicted,
                            "from_source": m.from_source,
                        }
                        for m in measurements
                    ]
    return pl.DataFrame(rows, schema=_SCHEMA)


class ClinicalErrors:
    """What is measured in the masks of all models, for the prompt types of the first screen."""

    def __init__(self, all_results: Sequence[Results]) -> None:
        self.results = tuple(all_results)
        self.kinds = [prompt.kind for prompt in primary_prompts(all_kinds(all_results))]
        self.tables: Mapping[str, pl.DataFrame] = {
            r.name: measured(r, [k for k in self.kinds if k in r.kinds]) for r in all_results
        }

    def places(self) -> list[tuple[str, str, str]]:
        """Quantity, unit and data set of all that is measured, in the order of ``QUANTITIES``."""
        unique = {
            place
            for table in self.tables.values()
            for place in table.select("quantity", "unit", "dataset").unique().iter_rows()
        }
        order: list[str] = list(QUANTITIES)
        return sorted(unique, key=lambda place: (order.index(place[0]), *place[1:]))

    def rows(self, name: str, kind: str, quantity: str, unit: str, dataset: str) -> pl.DataFrame:
        """The measurements of one model, prompt type, quantity and data set."""
        return self.tables[name].filter(
            (pl.col("kind") == kind) & (pl.col("quantity") == quantity) & (pl.col("unit") == unit)
            & (pl.col("dataset") == dataset)
        )  # fmt: skip

    def headline(self) -> tuple[str, str] | None:
        """The quantity and unit for the first screen: the first one in mm that is no area; None without."""
        lengths = [place[:2] for place in self.places() if place[1] == "mm"]
        return lengths[0] if lengths else None

    def headline_kind(self) -> str | None:
        """The prompt type for the first screen: the first for which some model has the headline's quantity;
        one for all models, as a box's error beside a click's would compare prompts."""
        return next(
            (
                k
                for k in self.kinds
                if any(len(self._headline_rows(r.name, k)) for r in self.results)
            ),
            None,
        )

    def _headline_rows(self, name: str, kind: str) -> pl.DataFrame:
        quantity, unit = self.headline() or ("", "")
        return self.tables[name].filter(
            (pl.col("kind") == kind) & (pl.col("quantity") == quantity) & (pl.col("unit") == unit)
        )

    def floor(self) -> float | None:
        """Mean absolute error of the truth's own masks in the headline's quantity, which a perfect model
        would have; None if the sources measured nothing."""
        kind = self.headline_kind()
        rows = [self._headline_rows(r.name, kind) for r in self.results] if kind else []
        for measured in rows:
            stated = measured.filter(pl.col("from_source"))
            if len(stated):
                error = (pl.col("truth") - pl.col("reference")).abs().mean()
                means = stated.group_by("dataset").agg(error.alias("error"))["error"]
                return float(means.to_numpy().mean())
        return None

    def mean_error(self, name: str, kind: str, datasets: Sequence[str]) -> tuple[float | None, int]:
        """Mean over data sets of the mean absolute error in the headline's quantity, None without one; and
        the number of masks that have no such measure, which no error counts."""
        agreements = [
            _agreement(rows, dataset)
            for dataset in datasets
            if len(rows := self._headline_rows(name, kind).filter(pl.col("dataset") == dataset))
        ]
        errors = [each.mean_absolute for each in agreements if each.pairs]
        return float(np.mean(errors)) if errors else None, sum(
            each.undefined for each in agreements
        )


def _agreement(rows: pl.DataFrame, dataset: str, column: str = "predicted") -> Agreement:
    return agreement(
        rows[column].to_numpy(),
        rows["reference"].to_numpy(),
        rows["subject"].to_list(),
        seed=seed_of(dataset),
    )


def agreement_table(errors: ClinicalErrors, quantity: str, unit: str) -> Table | None:
    """Bias and limits of agreement of one quantity: a row per data set, prompt type and model."""
    digits = 0 if unit == "px²" else 1 if unit == "mm²" else 2
    rows = []
    for its_quantity, its_unit, dataset in errors.places():
        if (its_quantity, its_unit) != (quantity, unit):
            continue
        for kind in errors.kinds:
            for results in errors.results:
                table = errors.rows(results.name, kind, quantity, unit, dataset)
                if len(table):
                    result = _agreement(table, dataset)
                    cells = _cells(result, digits) if result.pairs else (NONE,) * 5
                    floor = table.filter(pl.col("from_source"))
                    rows.append(
                        (
                            dataset, kind, results.name, str(result.pairs), *cells,
                            _absolute(_agreement(floor, dataset, "truth"), digits) if len(floor) else NONE,
                            str(result.undefined) if result.undefined else "",
                        )
                    )  # fmt: skip
    if not rows:
        return None
    head = ("data set", "prompts", "model", "pairs", f"bias ({unit})", "SD", "lower limit", "upper limit",
            "MAE ± SD", "floor: MAE ± SD of the truth's mask", "not measurable")  # fmt: skip
    note = (
        "Predicted minus reference. Bias: mean error; limits of agreement: bias ± 1.96 SD, between which "
        "about 95 % of errors lie; brackets: 95 % intervals by subject. The reference is the source's own "
        "measurement where it has one, else the truth's mask; the floor is the error of a perfect mask."
    )
    if unit.startswith("px"):
        note += " In pixels, since the pixel spacing of these data sets is unknown."
    return Table(
        f"{quantity[0].upper()}{quantity[1:]} in {unit}", head, tuple(rows), note
    ).without_empty_columns()


def _cells(result: Agreement, digits: int) -> tuple[str, ...]:
    return (
        difference(result.bias.value, result.bias.low, result.bias.high, digits),
        number(result.sd, digits),
        difference(result.lower.value, result.lower.low, result.lower.high, digits),
        difference(result.upper.value, result.upper.low, result.upper.high, digits),
        _absolute(result, digits),
    )


def _absolute(result: Agreement, digits: int) -> str:
    mean = number(result.mean_absolute, digits)
    return (
        mean if np.isnan(result.sd_absolute) else f"{mean} ± {number(result.sd_absolute, digits)}"
    )


def bland_altman_plot(
    errors: ClinicalErrors, kind: str, quantity: str, unit: str, dataset: str
) -> Plot | None:
    """Error against the mean of predicted and reference, an axis per model; None without measurements."""
    panels = [
        (results, table)
        for results in errors.results
        if len(
            table := errors.rows(results.name, kind, quantity, unit, dataset).drop_nans("predicted")
        )
    ]
    if not panels:
        return None
    columns = min(len(panels), _PER_ROW)
    return Plot(
        f"Bland-Altman: {quantity}, {dataset}, {kind}",
        partial(_draw, errors.results, panels, unit, dataset),
        size=(0.4 + 3.0 * columns, 0.3 + 2.5 * -(-len(panels) // columns)),
        note="Lines: bias and limits of agreement, bands their 95 % intervals.",
    )


def _draw(
    all_results: Sequence[Results], panels: Sequence[tuple[Results, pl.DataFrame]], unit: str,
    dataset: str, figure: Figure,
) -> None:  # fmt: skip
    columns = min(len(panels), _PER_ROW)
    every = figure.subplots(
        -(-len(panels) // columns), columns, sharex=True, sharey=True, squeeze=False
    ).ravel()
    for axes in every[len(panels) :]:
        axes.set_axis_off()
    for axes, (results, table) in zip(every, panels, strict=False):
        color = color_of(all_results, results)
        reference, predicted = table["reference"].to_numpy(), table["predicted"].to_numpy()
        axes.scatter(
            (reference + predicted) / 2, predicted - reference, s=14, color=color, linewidth=0, alpha=0.7,
            rasterized=len(table) > _RASTER, zorder=3,
        )  # fmt: skip
        result = _agreement(table, dataset)
        dim_line(axes, y=0)
        for value, style in ((result.bias, "-"), (result.lower, "--"), (result.upper, "--")):
            if not np.isnan(value.value):
                axes.axhline(value.value, color=color, linestyle=style, linewidth=1.2)
            if not np.isnan(value.low):
                axes.axhspan(value.low, value.high, color=color, alpha=0.1, linewidth=0)
        axes.set_title(label_of(results))
    figure.supxlabel(f"mean of predicted and reference ({unit})", fontsize=9)
    figure.supylabel(f"predicted minus reference ({unit})", fontsize=9)


def clinical_section(errors: ClinicalErrors) -> Section | None:
    """A section per quantity and unit, lengths before areas."""
    parts = []
    for quantity, unit in dict.fromkeys(place[:2] for place in errors.places()):
        plots = [
            bland_altman_plot(errors, kind, quantity, unit, dataset)
            for its_quantity, its_unit, dataset in errors.places()
            if (its_quantity, its_unit) == (quantity, unit)
            for kind in errors.kinds[:1]
        ]
        parts.append(
            section(
                f"{quantity[0].upper()}{quantity[1:]} ({unit})",
                agreement_table(errors, quantity, unit),
                *plots,
            )
        )
    return section(
        "Clinical error", sections=parts,
        says="bias and limits of agreement of circumferences, axes and areas",
    )  # fmt: skip
