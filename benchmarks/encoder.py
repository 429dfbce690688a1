"""Claim: our ViT-B encoder at 1024 px is faster than transformers' on a CPU, and uses less memory.

Peer: the vision encoder of transformers.SamModel (scaled-dot-product attention), with the same random
weights, in the same run. Targets: fp32 at least 1.3× faster with at most 0.6× the added memory; bfloat16
weights at least 3× faster than the peer in fp32, and at least 2× faster than the peer with bfloat16 autocast.

    python benchmarks/encoder.py [--runs 3]
"""

from __future__ import annotations

import argparse
import copy

import torch
from measure import report

from ultrasam.benchmark.peers import transformers_sam
from ultrasam.benchmark.timing import added_memory, interleaved
from ultrasam.hardware import choose_precision
from ultrasam.model.config import CONFIGS
from ultrasam.model.ultrasam import UltraSam
from ultrasam.runtimes.attention import set_attention
from ultrasam.weights.load import encoder_to_bfloat16


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    torch.manual_seed(0)
    model = UltraSam(CONFIGS["vit-b"]).eval()
    peer = transformers_sam(model)
    plain, half = copy.deepcopy(model), copy.deepcopy(model)
    encoder_to_bfloat16(half)
    for form in (model, half):
        set_attention(form, "cpu")  # as a predictor does
    pixels = torch.randn(1, 3, 1024, 1024)

    def ours() -> torch.Tensor:
        with torch.inference_mode():
            return model.encode(pixels).image

    def ours_plain() -> torch.Tensor:
        with torch.inference_mode():
            return plain.encode(pixels).image

    def ours_half() -> torch.Tensor:
        with torch.inference_mode():
            return half.encode(pixels).image

    def theirs() -> torch.Tensor:
        with torch.inference_mode():
            return peer.get_image_embeddings(pixels)

    def theirs_half() -> torch.Tensor:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            return peer.get_image_embeddings(pixels)

    difference = (ours() - theirs()).abs().max().item()
    relative = (ours_half().float() - ours()).abs().mean().item() / ours().abs().mean().item()
    memory = {
        "ours": added_memory(ours),
        "theirs": added_memory(theirs),
        "plain": added_memory(ours_plain),
        "ours bf16": added_memory(ours_half),
    }
    seconds = interleaved(
        {
            "ours": ours,
            "plain": ours_plain,
            "theirs": theirs,
            "ours bf16": ours_half,
            "theirs bf16": theirs_half,
        },
        runs=runs,
    )
    report(
        f"ViT-B image encoder, 1024 px, CPU, {torch.get_num_threads()} threads, "
        f"median of {runs} interleaved runs",
        {
            "fp32, ours": f"{seconds['ours']:.2f} s, adds {memory['ours']:.0f} MiB",
            "fp32, ours without optimization": f"{seconds['plain']:.2f} s, adds {memory['plain']:.0f} MiB",
            "fp32, transformers": f"{seconds['theirs']:.2f} s, adds {memory['theirs']:.0f} MiB",
            "bf16 weights, ours": f"{seconds['ours bf16']:.2f} s, adds {memory['ours bf16']:.0f} MiB",
            "bf16 autocast, transformers": f"{seconds['theirs bf16']:.2f} s",
            "largest difference, fp32": f"{difference:.1e}",
            "mean relative difference, bf16 from fp32": f"{relative:.3f}",
        },
    )
    has_bf16 = choose_precision("auto", "cpu").precision == "bfloat16"
    support = "in hardware" if has_bf16 else "emulated, so its targets do not apply"
    print(f"bfloat16 on this processor: {support}")
    ours_bf16 = seconds["ours bf16"]
    report(
        "Relative to the peer (target)",
        {
            "fp32, speed": f"{seconds['theirs'] / seconds['ours']:.2f}x (1.3x)",
            "fp32, added memory": f"{memory['ours'] / memory['theirs']:.2f} (0.6)",
            "fp32, relative to ours without optimization": f"{seconds['plain'] / seconds['ours']:.2f}x, "
            f"memory {memory['ours'] / memory['plain']:.2f}",
            "bf16 weights, speed relative to peer in fp32": f"{seconds['theirs'] / ours_bf16:.2f}x (3x)",
            "bf16 weights, speed relative to peer with autocast": (
                f"{seconds['theirs bf16'] / ours_bf16:.2f}x (2x)"
            ),
        },
    )


if __name__ == "__main__":
    main()
