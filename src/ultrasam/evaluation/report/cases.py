"""The worst cases of a model as images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.evaluation.report.results import Results
from ultrasam.evaluation.sources import EvaluationDataset
from ultrasam.images.masks import bounding_box, decode_rle
from ultrasam.images.pixels import gray
from ultrasam.reporting.document import Html, Section
from ultrasam.reporting.plots import draw_case, jpeg, picture


def worst_cases(
    results: Results, kind: str, datasets: Sequence[EvaluationDataset], *, count: int = 20
) -> str:
    """Images of the objects with the lowest Dice, as HTML: box, ground truth, prediction, error."""
    rows = results.rows(kind).filter(results.rows(kind)["repeat"] == 0)
    rows = rows.sort("dice", "dataset", "image", "object").head(count)
    selected = {(str(d), str(i)) for d, i in rows.select("dataset", "image").iter_rows()}
    records = {(record["dataset"], record["image"]): record for record in results.images}
    pixels = _read_pixels(datasets, selected)
    pictures = []
    for row in rows.iter_rows(named=True):
        key = (row["dataset"], row["image"])
        if key not in pixels:
            continue
        record = records[key]
        entry: dict[str, Any] = record["objects"][row["object"]]
        truth, predicted = (
            decode_rle({"size": record["size"], "counts": counts})
            for counts in (entry["truth"], entry["predictions"][kind][row["repeat"]]["mask"])
        )
        title = f"{key[0]}, {key[1]}: {row['structure']}, Dice {row['dice']:.2f}"
        case = draw_case(pixels[key], bounding_box(truth), truth, predicted)
        pictures.append(picture(title, jpeg(case)))
    return "".join(pictures)


def _read_pixels(
    datasets: Sequence[EvaluationDataset], selected: set[tuple[str, str]]
) -> dict[Any, Any]:
    """Read the selected images again, as grayscale."""
    pixels = {}
    keys = {(dataset, name.split("#")[0]) for dataset, name in selected} | selected
    for data in datasets:
        for item in data.items:
            if (item.dataset, item.key) in keys:
                for image in item.read():
                    if isinstance(image, AnnotatedImage) and (item.dataset, image.name) in selected:
                        pixels[item.dataset, image.name] = gray(image.pixels)
    return pixels


def cases_section(
    results: Results, kind: str, datasets: Sequence[EvaluationDataset], *, count: int = 20
) -> Section | None:
    """The worst cases of a model; None if no image can be read again."""
    pictures = worst_cases(results, kind, datasets, count=count)
    if not pictures:
        return None
    text = (
        "Image with the object's box, ground truth (green), prediction (orange), and error: false negatives "
        "green, false positives orange.\n"
    )
    return Section(
        f"Worst cases of {results.name}, {kind}",
        (text, Html(pictures)),
        says="images, lowest Dice first",
    )
