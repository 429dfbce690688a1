"""Where the numbers come from: run time, settings, versions, processor and command."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from ultrasam._version import __version__
from ultrasam.evaluation.report.results import Results
from ultrasam.hardware import processor
from ultrasam.reporting.document import Section
from ultrasam.reporting.markdown import escape
from ultrasam.reporting.tables import Table
from ultrasam.text import counted

_PACKAGES = ("torch", "numpy", "scipy", "pycocotools", "opencv-python-headless", "transformers")


def cost_table(all_results: Sequence[Results]) -> Table | None:
    """Run time of the models and of the evaluation around them; None if nothing was timed."""
    rows = []
    for results in all_results:
        reading, model, own = results.seconds()
        images = sum(bool(record.get("objects")) for record in results.images)
        if images and model:
            each = [f"{1000 * t / images:.0f} ms" for t in (reading, model, own)]
            kinds = str(len(results.kinds))
            rows.append((results.name, str(images), kinds, *each, f"{own / model:.0%}"))
    if not rows:
        return None
    head = (
        "model",
        "images",
        "prompt types",
        "reading",
        "inference",
        "evaluation",
        "evaluation / inference",
    )
    note = (
        "Mean time per image: reading the image and its masks, running the model with all prompt types that "
        "it accepts, and simulating prompts and computing metrics. Models that accept more do more."
    )
    return Table("Run time", head, tuple(rows), note)


def how_section(all_results: Sequence[Results], command: str) -> Section:
    """How to get the same numbers again."""
    settings = all_results[0].settings
    repeats = counted(settings["repeats"], "time")
    unknown = sorted(set().union(*(results.subjects_unknown for results in all_results)))
    people = (
        f"In {', '.join(map(escape, unknown))}, nothing says which images are of one person, so each image "
        "counts as a subject; where people have several, the intervals are too narrow.\n\n"
        if unknown else ""
    )  # fmt: skip
    text = (
        "Intervals are 95 % bootstrap intervals over subjects, drawn independently for data sets that share "
        "none; a data set of one subject has none, nor has a mean with it. Of few subjects they are too "
        "narrow: of 4, an interval holds the true mean about 80 % of the time, of 10 about 90 %. All models "
        "get the same "
        f"prompts.\n\n{people}"
        f"Random prompts are drawn {repeats} per object, from seed {settings['seed']}; ± is the standard "
        "deviation of the mean between these repeats. Surface Dice: within "
        f"{settings['tolerance_mm']:g} mm, or {settings['tolerance_px']:g} px where the spacing is "
        "unknown.\n\n"
        f"```sh\n{command}\n```\n\n"
        f"ultrasam {__version__}, {_versions()}. The report was written on: {escape(processor())}.\n"
    )
    return Section("How", (text,), says="command, seeds, versions, processor")


def _versions() -> str:
    found = [f"Python {platform.python_version()}"]
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)
