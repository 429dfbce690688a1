"""Claim: the runtime that ``--runtime auto`` takes is within 5 % of the fastest.

Peer: all runtimes that are installed. Each probe is the one that ``auto`` makes before it remembers its
times. Then each runtime encodes an image and decodes its first prompt many more times, in turn, and what a
probe would have taken is compared with the fastest by median. Target: at most 5 % over the fastest. Exit
status 1: the target is missed in a probe.

    python benchmarks/choice.py [MODEL …] [--probes 5] [--runs 25]
"""

from __future__ import annotations

import argparse
import os
import sys

import numpy as np

from ultrasam.benchmark.timing import interleaved
from ultrasam.hardware import processor
from ultrasam.runtimes.choice import NAMES, first_prompt, probe
from ultrasam.runtimes.opening import open_backend
from ultrasam.weights.spec import ModelSpec

WITHIN = 1.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=["nano"])
    parser.add_argument("--probes", type=int, default=5)
    parser.add_argument("--runs", type=int, default=25)
    arguments = parser.parse_args()
    print(f"On {processor()}; load before: {os.getloadavg()[0]:.1f}\n")
    print("| model | " + " | ".join(NAMES.values()) + " | taken in the probes | over the fastest |")
    print("|---" * (len(NAMES) + 3) + "|")
    missed = False
    for model in arguments.models:
        spec = ModelSpec.parse(model)
        backends = {name: open_backend(spec, runtime=name, device="cpu") for name in NAMES}
        taken = []
        for _ in range(arguments.probes):
            times = probe(backends)
            taken.append(min(times, key=times.__getitem__))
        calls = {name: first_prompt(backend) for name, backend in backends.items()}
        medians = interleaved(calls, runs=arguments.runs)
        over = np.array([medians[name] for name in taken]) / min(medians.values())
        missed |= bool((over > WITHIN).any())
        cells = [f"{1000 * medians[name]:.0f} ms" for name in NAMES]
        choices = ", ".join(f"{NAMES[name]} {taken.count(name)} ×" for name in dict.fromkeys(taken))
        print(
            f"| {model} | " + " | ".join(cells) + f" | {choices} | {100 * (over.max() - 1):.0f} % |"
        )
    print(
        f"\nAt most {100 * (WITHIN - 1):.0f} % over the fastest: {'missed' if missed else 'reached'}"
    )
    sys.exit(missed)


if __name__ == "__main__":
    main()
