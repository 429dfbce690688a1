"""What a run of the kit found, as `figures.json` and as a short `report.md`. Only the standard library."""

from __future__ import annotations

import json
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

KINDS = ("box", "box10", "point", "points3")


def write(
    work: Path, out: Path, stages: list[dict[str, object]], begun: float
) -> tuple[str, list[str]]:
    """Write both files whole; the Markdown text, and what failed."""
    found: dict[str, Any] = {"stages": stages, "seconds": round(time.time() - begun, 1)}
    failed = [f"{s['name']}: {s['problem']}" for s in stages if s["problem"]]
    for name in ("figures", "training", "held_out"):
        path = work / f"{name}.json"
        if path.exists():
            found[name] = json.loads(path.read_text())
            failed += [f"{name}: {what}" for what in found[name]["failed"]]
    if (work / "tests.xml").exists():
        found["tests"] = tests(work / "tests.xml")
        failed += [f"test {name}" for name in found["tests"]["failed"]]
    found["failed"] = failed
    text = markdown(found)
    for name, content in (("figures.json", json.dumps(found, indent=1)), ("report.md", text)):
        part = out / f".{name}.part"
        part.write_text(content)
        part.replace(out / name)
    return text, failed


def tests(path: Path) -> dict[str, Any]:
    """Counts of a JUnit report, and the names of tests that failed."""
    root = ET.parse(path).getroot()
    cases = list(root.iter("testcase"))
    broken = [
        c.get("name") for c in cases if c.find("failure") is not None or c.find("error") is not None
    ]
    skipped = sum(c.find("skipped") is not None for c in cases)
    return {"passed": len(cases) - len(broken) - skipped, "skipped": skipped, "failed": broken}


def markdown(found: dict[str, Any]) -> str:
    figures = found.get("figures", {})
    lines = ["# UltraSam on a GPU", ""]
    if figures:
        rate = _number(figures.get("bf16_matrix_tflops"))
        known = [str(figures.get(key)) for key in ("card", "processor")]
        known += [f"PyTorch {figures.get('torch')}", f"bf16 matrix product {rate} TFLOP/s"]
        lines += ["; ".join(known), ""]
    if "tests" in found:
        t = found["tests"]
        lines += [
            f"Tests: {t['passed']} passed, {len(t['failed'])} failed, {t['skipped']} skipped",
            "",
        ]
    if rows := figures.get("figures"):
        lines += ["| figure | ours | transformers | ratio | of matrix rate | peak MiB, ours / theirs |",
                  "|---|---|---|---|---|---|"]  # fmt: skip
        for row in rows:
            share = row["share_of_matrix_rate"]
            lines.append(
                f"| {row['name']}, {row['unit']} | {_number(row['ours'])} | {_number(row['transformers'])} "
                f"| {row['ratio']:.2f} | {'' if share is None else f'{share:.0%}'} "
                f"| {_number(row['peak_mib'])} / {_number(row['transformers_peak_mib'])} |"
            )
        lines.append("")
    if runs := found.get("training", {}).get("runs"):
        lines += ["| training | steps | minutes | views/s | peak MiB | loss | box IoU | click IoU |",
                  "|---|---|---|---|---|---|---|---|"]  # fmt: skip
        lines += [
            f"| {r['name']} | {r['steps']} | {r['minutes']:.1f} | {_number(r['views_per_second'])} "
            f"| {_number(r['peak_mib'])} | {_number(r.get('loss'))} | {_number(r.get('box_iou'))} "
            f"| {_number(r.get('click_iou'))} |"
            for r in runs
        ]
        lines.append("")
    if scores := found.get("held_out", {}).get("scores"):
        lines += [f"Mean Dice on {scores[0]['objects']} objects of held-out subjects (nano has seen most)",
                  "", f"| weights | set | {' | '.join(KINDS)} |", "|---|---|---|---|---|---|"]  # fmt: skip
        for score in scores:
            for dataset, dice in sorted(score["dice"].items()):
                values = " | ".join(f"{dice[k]:.3f}" if k in dice else "" for k in KINDS)
                lines.append(f"| {score['weights']} | {dataset} | {values} |")
        lines.append("")
    lines += ["| stage | seconds | |", "|---|---|---|"]
    lines += [
        f"| {s['name']} | {s['seconds']} | {s['problem'] or 'done'} |" for s in found["stages"]
    ]
    lines += ["", *([f"Failed: {what}" for what in found["failed"]] or ["Nothing failed."])]
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    """Three significant digits."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
