"""Claim: nano segments images that it was not trained on better than baselines without a model.

Evaluates the suite evaluation/leaderboard on a folder of data sets, and writes its report to a page of the
documentation: without images, and with the machine in place of paths. An interrupted evaluation continues.

    python benchmarks/leaderboard.py --data DIR [--out leaderboard] [--page docs/leaderboard.md]
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ultrasam.files import atomic_write
from ultrasam.hardware import processor

SUITE = "evaluation/leaderboard"
PAGE = Path(__file__).parents[1] / "docs" / "leaderboard.md"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("leaderboard"))
    parser.add_argument("--page", type=Path, default=PAGE)
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        raise SystemExit(f"Folder {arguments.data} does not exist; set --data.")
    command = evaluation(str(arguments.data), str(arguments.out))
    # The exit status is 1 if a model could not be evaluated, which the report says.
    subprocess.run([sys.executable, "-m", *command], check=False)
    report = arguments.out / "report.md"
    if not report.is_file():
        raise SystemExit(f"The evaluation wrote no {report}; its message is above.")
    atomic_write(arguments.page, page(report.read_text(encoding="utf-8"), command, machine()))
    print(arguments.page)


def evaluation(data: str, out: str) -> list[str]:
    """The command line of the evaluation."""
    return ["ultrasam", "evaluate", SUITE, "--data", data, "-o", out, "--no-cases"]


def page(report: str, command: Sequence[str], where: str) -> str:
    """A report whose command line has no paths of this machine, and says what machine it ran on.

    Raises:
        SystemExit: The report is of another command.
    """
    before, after = shlex.join(command), shlex.join(evaluation("DIR", "leaderboard"))
    block = f"```sh\n{before}\n```\n"
    if block not in report:
        raise SystemExit(f"The report is not of this evaluation: it lacks the command '{before}'.")
    return report.replace(block, f"```sh\n{after}\n```\n\nMeasured on {where}.\n")


def machine() -> str:
    """The processor and the number of cores that this process may use."""
    # Not all systems know which cores a process may use.
    count = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
    cores = len(count(0))
    return f"{cores} CPU core{'' if cores == 1 else 's'}, {processor()}, {platform.system()}"


if __name__ == "__main__":
    main()
