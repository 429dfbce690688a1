"""`ultrasam data licenses`: what the licenses of a store's data sets, or of all data sets, allow."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from ultrasam.cli.data.packages import require_packages
from ultrasam.cli.options import Json
from ultrasam.cli.tables import print_table
from ultrasam.text import counted

_NOTICE = "This is a reading of the stated licenses, not legal advice."


def licenses(
    store: Annotated[
        Path | None,
        typer.Argument(
            metavar="STORE",
            help="A store that ultrasam data build made; without it, all data sets of the catalog.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Tell which data sets may be trained on, shipped, or only measured with, by their licenses.

    Shipped means that weights trained on them, or the images, are passed on to others.
    A data set whose license is not stated, or not clear, is only measured with.
    """
    require_packages()
    if store is None:
        _of_catalogue(as_json=as_json)
    else:
        _of_store(store, as_json=as_json)


def _of_catalogue(*, as_json: bool) -> None:
    from ultrasam.datasets.catalogue import facts, has_reader
    from ultrasam.datasets.licenses import MEANING, Tier, terms_of

    rows = [(info, terms_of(info)) for info in facts().values()]
    totals = _totals((terms.tier, {"datasets": 1}) for _, terms in rows)
    if as_json:
        datasets = [
            {
                "id": info.id, "name": info.name, "license": info.license, "access": info.access,
                "tier": terms.tier.value, "reason": terms.reason, "share_alike": terms.share_alike,
                "reader": has_reader(info), "part_of_paper": info.part_of_paper,
                "citation": info.citation,
            }
            for info, terms in rows
        ]  # fmt: skip
        print(json.dumps({"datasets": datasets, "totals": totals}, indent=1, ensure_ascii=False))
        return
    for tier in Tier:
        print(f"{tier.value}: {MEANING[tier]}")
        cells = [
            [info.id, info.license, terms.reason, "yes" if has_reader(info) else "no"]
            for info, terms in rows
            if terms.tier is tier
        ]
        print_table(["id", "license", "condition", "reader"], cells, whole=("id", "reader"))
    _print_totals(totals)


def _of_store(path: Path, *, as_json: bool) -> None:
    from ultrasam.datasets.description import UNKNOWN
    from ultrasam.store.licenses import licensed_datasets
    from ultrasam.store.store import Store

    rows = licensed_datasets(Store.open(path))
    totals = _totals(
        (row.terms.tier, {"datasets": 1, "images": row.images, "objects": row.objects})
        for row in rows
    )
    if as_json:
        datasets = [
            {
                "id": row.id, "license": row.stored, "license_in_catalog": row.published,
                "tier": row.terms.tier.value, "reason": row.terms.reason,
                "share_alike": row.terms.share_alike, "images": row.images, "objects": row.objects,
                "citation": row.citation,
            }
            for row in rows
        ]  # fmt: skip
        print(json.dumps({"datasets": datasets, "totals": totals}, indent=1, ensure_ascii=False))
        return
    cells = [
        [
            row.id, row.stored, row.terms.tier.value, row.terms.reason, f"{row.images:,}",
            f"{row.objects:,}",
        ]
        for row in rows
    ]  # fmt: skip
    heads = ["id", "license", "tier", "condition", "images", "objects"]
    print_table(heads, cells, whole=("id", "tier", "images", "objects"))
    for row in rows:
        if row.differs:
            print(
                f"{row.id}: the store says '{row.stored}', the catalog '{row.published}'; the stricter "
                "counts."
            )
    _print_totals(totals)
    for row in rows:
        if row.citation == UNKNOWN:
            print(f"\n{row.id}: no citation is known.")
        else:
            print(f"\n{row.citation}")


def _totals(counts: Iterable[tuple[Any, dict[str, int]]]) -> dict[str, dict[str, int]]:
    """Sums for what may be trained on, for noncommercial research only, shipped, and only measured with."""
    from ultrasam.datasets.licenses import Tier

    groups = {
        "trained_on": (Tier.SHIP, Tier.RESEARCH),
        "noncommercial_only": (Tier.RESEARCH,),
        "shipped": (Tier.SHIP,),
        "only_measured_with": (Tier.MEASURE,),
    }
    listed = list(counts)
    names = dict.fromkeys(name for _, numbers in listed for name in numbers)
    return {
        group: {
            name: sum(numbers[name] for tier, numbers in listed if tier in tiers) for name in names
        }
        for group, tiers in groups.items()
    }


def _print_totals(totals: dict[str, dict[str, int]]) -> None:
    def told(numbers: dict[str, int]) -> str:
        nouns = {"datasets": "data set", "images": "image", "objects": "object"}
        return ", ".join(counted(number, nouns[name]) for name, number in numbers.items())

    print(f"May be trained on: {told(totals['trained_on'])}")
    research = totals["noncommercial_only"]
    if research["datasets"]:
        print(f"    of these for noncommercial research only: {told(research)}")
    print(f"May be shipped: {told(totals['shipped'])}")
    print(f"Only measured with: {told(totals['only_measured_with'])}")
    print(_NOTICE)
