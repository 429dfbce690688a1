"""Claim: decoding a prompt on a cached embedding is several times faster than in transformers.

Peer: the prompt encoder and mask decoder of transformers.SamModel (scaled-dot-product attention), with the
same random weights and embedding, in the same run. Targets: one click in at most 0.3× the peer's time, 64
boxes in at most 0.5×.

    python benchmarks/decoder.py [--runs 7]
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from measure import report

from ultrasam.benchmark.peers import transformers_sam
from ultrasam.benchmark.timing import added_memory, interleaved
from ultrasam.model.config import CONFIGS
from ultrasam.model.prompt_encoder import PromptTensors
from ultrasam.model.ultrasam import ImageEmbedding, UltraSam
from ultrasam.prompts import PromptArrays
from ultrasam.runtimes.torch_backend import TorchBackend, TorchEmbedding


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    torch.manual_seed(0)
    model = UltraSam(CONFIGS["vit-b"]).eval()
    peer = transformers_sam(model)
    embedding = torch.randn(1, 256, 64, 64)
    backend, image = TorchBackend(model), TorchEmbedding(ImageEmbedding(embedding))
    click = torch.rand(1, 1, 2) * 1024
    low = torch.rand(64, 2) * 500
    boxes = torch.cat([low, low + 100 + torch.rand(64, 2) * 400], dim=1)
    coords = torch.cat([click + 0.5, torch.zeros(1, 1, 2)], dim=1).numpy()
    our_click = PromptArrays(coords, np.array([[1, -1]]))
    our_boxes = PromptArrays(
        (boxes.view(64, 2, 2) + 0.5).numpy(), np.tile(np.array([[2, 3]]), (64, 1))
    )
    mask = torch.randn(1, 1, 256, 256) * 4
    our_correction = PromptArrays(coords, np.array([[1, -1]]), mask.numpy())

    def ours(prompts: PromptArrays) -> torch.Tensor:
        index = np.zeros(len(prompts), np.int64)
        return torch.from_numpy(backend.decode([image], prompts, index, multimask=False)[0])

    def plain(prompts: PromptArrays) -> torch.Tensor:
        with torch.inference_mode():
            return model.decode(image.image, PromptTensors.from_arrays(prompts)).masks[:, :1]

    def theirs(**prompts: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            out = peer(image_embeddings=embedding, multimask_output=False, **prompts)
            return out.pred_masks[0]

    their_click = {
        "input_points": click[None],
        "input_labels": torch.ones(1, 1, 1, dtype=torch.long),
    }
    their_boxes = {"input_boxes": boxes[None]}
    their_correction = {**their_click, "input_masks": mask}
    difference = max(
        (ours(our_click) - theirs(**their_click)).abs().max().item(),
        (ours(our_boxes) - theirs(**their_boxes)).abs().max().item(),
    )
    memory = (
        added_memory(lambda: ours(our_boxes)),
        added_memory(lambda: theirs(**their_boxes)),
    )
    # Time clicks and boxes separately: the peer's gigabytes would leave a cold cache for the next click.
    seconds: dict[str, float] = {}
    for calls, times in (
        ({"ours 1": lambda: ours(our_click), "theirs 1": lambda: theirs(**their_click)}, 10 * runs),
        ({"plain 1": lambda: plain(our_click), "ours m": lambda: ours(our_correction),
          "theirs m": lambda: theirs(**their_correction)}, 3 * runs),
        ({"ours 64": lambda: ours(our_boxes), "theirs 64": lambda: theirs(**their_boxes)}, runs),
        ({"plain 64": lambda: plain(our_boxes)}, 1),
    ):  # fmt: skip
        seconds |= interleaved(calls, runs=times)
    report(
        f"Prompts on a cached ViT-B embedding, CPU, {torch.get_num_threads()} threads, "
        f"median of {runs} interleaved runs ({10 * runs} for one click)",
        {
            "one click, ours": f"{seconds['ours 1'] * 1000:.0f} ms",
            "one click, ours without optimization": f"{seconds['plain 1'] * 1000:.0f} ms",
            "one click, transformers": f"{seconds['theirs 1'] * 1000:.0f} ms",
            "click and mask, ours": f"{seconds['ours m'] * 1000:.0f} ms",
            "click and mask, transformers": f"{seconds['theirs m'] * 1000:.0f} ms",
            "64 boxes, ours": f"{seconds['ours 64']:.2f} s, adds {memory[0]:.0f} MiB",
            "64 boxes, ours without optimization": f"{seconds['plain 64']:.2f} s",
            "64 boxes, transformers": f"{seconds['theirs 64']:.2f} s, adds {memory[1]:.0f} MiB",
            "largest difference": f"{difference:.1e}",
        },
    )
    report(
        "Time relative to the peer (target)",
        {
            "one click": f"{seconds['ours 1'] / seconds['theirs 1']:.2f} (0.3)",
            "click and mask": f"{seconds['ours m'] / seconds['theirs m']:.2f}",
            "one click, without optimization": f"{seconds['plain 1'] / seconds['theirs 1']:.2f}",
            "64 boxes": f"{seconds['ours 64'] / seconds['theirs 64']:.2f} (0.5)",
        },
    )


if __name__ == "__main__":
    main()
