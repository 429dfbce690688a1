"""What is in no mean: images of other splits, damaged ones, those without an object, with the reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ultrasam.evaluation.report.results import Results
from ultrasam.images.masks import MIN_OBJECT_PIXELS
from ultrasam.reporting.document import Section
from ultrasam.reporting.markdown import escape
from ultrasam.reporting.tables import Table
from ultrasam.text import counted

_SHOWN = 2  # sentences on the first screen, of more


def excluded_table(all_results: Sequence[Results]) -> Table | None:
    """Images that no mean includes: unreadable, failed, or without an object; None if there are none."""
    rows = []
    for results in all_results:
        for record in results.errors:
            rows.append((results.name, record["dataset"], record["image"], record["error"]))
    empty = {
        (record["dataset"], record["image"]) for r in all_results for record in r.without_object
    }
    reason = f"no object of at least {MIN_OBJECT_PIXELS} pixels"
    rows += [("all", dataset, name, reason) for dataset, name in sorted(empty)]
    if not rows:
        return None
    return Table("Excluded images", ("model", "data set", "image", "reason"), tuple(rows))


def left_out(all_results: Sequence[Results], not_chosen: Sequence[str]) -> list[str]:
    """Sentences on all images that no mean includes."""
    lines = [escape(text) for text in not_chosen]
    for results in all_results:
        if results.errors:
            failed = counted(len(results.errors), "image")
            lines.append(f"{escape(results.name)}: {failed} could not be read or segmented.")
    empty = {(r["dataset"], r["image"]) for results in all_results for r in results.without_object}
    if empty:
        lines.append(
            f"{counted(len(empty), 'image')} without an object of at least {MIN_OBJECT_PIXELS} pixels."
        )
    records = _left_out_records(all_results)
    for what in ("image", "annotation"):
        count = sum(1 for record in records if record[1] == what)
        if count:
            lines.append(
                f"{counted(count, what)} left out by the data set's reader (reasons below)."
            )
    return lines


def left_out_table(all_results: Sequence[Results]) -> Table | None:
    """What the readers of the data sets left out, by reason; None if there is nothing."""
    records = _left_out_records(all_results)
    counts = Counter((dataset, what, reason) for dataset, what, _, reason in records)
    if not counts:
        return None
    example = {(d, what, reason): where for d, what, where, reason in sorted(records, reverse=True)}
    rows = tuple(
        (key[0], counted(count, key[1]), key[2], example[key])
        for key, count in counts.most_common()
    )
    return Table("Left out", ("data set", "left out", "reason", "for example"), rows)


def _left_out_records(all_results: Sequence[Results]) -> set[tuple[str, str, str, str]]:
    """Data set, what, where and why; models share their images."""
    return {
        (record["dataset"], record["what"], record["image"], record["left_out"])
        for results in all_results
        for record in results.left_out
    }


def in_short(sentences: Sequence[str]) -> str:
    """The first sentences, and how many more there are in the section on them."""
    more = len(sentences) - _SHOWN
    if more < 2:
        return " ".join(sentences)
    return f"{' '.join(sentences[:_SHOWN])} {more} more reasons stand below, under “In no mean”."


def excluded_section(
    all_results: Sequence[Results], sentences: Sequence[str] = ()
) -> Section | None:
    """All that is in no mean, by name or by reason; None if there is nothing."""
    tables = excluded_table(all_results), left_out_table(all_results)
    if not sentences and not any(tables):
        return None
    told = "".join(f"- {text}\n" for text in sentences)
    blocks = tuple(block for block in (told, *tables) if block)
    return Section("In no mean", blocks, says="images that were not asked for, read or segmented")
