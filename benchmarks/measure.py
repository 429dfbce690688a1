"""Shared by the benchmarks: how they print what they measured."""

from __future__ import annotations

from collections.abc import Mapping

from ultrasam.hardware import processor


def report(title: str, rows: Mapping[str, str]) -> None:
    """Print rows under a heading and the name of the processor."""
    print(f"\n{title}\non {processor()}")
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"  {name:<{width}}  {value}")
