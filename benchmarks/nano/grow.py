"""Give weights the parts that a newer configuration has, with random values, to train on from them.

    python benchmarks/nano/grow.py nano FOLDER [--size nano]

Everything that both configurations have keeps its weights. The mask-quality head changes nothing until it is
trained.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from ultrasam.model.config import get_config
from ultrasam.model.ultrasam import UltraSam
from ultrasam.weights.hub import save_pretrained
from ultrasam.weights.load import load_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("init", help="name or path of the weights")
    parser.add_argument("out", type=Path, help="folder of the new model")
    parser.add_argument("--size", default="nano", help="configuration to grow to")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    init = load_model(arguments.init, device="cpu", precision="float32")
    config = replace(get_config(arguments.size), image_size=init.config.image_size)
    grown = UltraSam(config, preprocessor=init.preprocessor, tta=init.tta)
    missing, unexpected = grown.load_state_dict(init.state_dict(), strict=False)
    if unexpected:
        raise SystemExit(
            f"{arguments.size} has no {unexpected[0]}; grow to a larger configuration."
        )
    save_pretrained(grown, arguments.out)
    print(f"{arguments.out}: {len(missing)} new tensors: {', '.join(missing)}")


if __name__ == "__main__":
    main()
