"""Claim: a training step of ViT-B at 1024 px is faster than with transformers' model in a plain loop.

Peer: transformers.SamModel with the same weights, image, boxes, two rounds (logits fed back), losses,
gradient clipping and AdamW, in fp32 and with bf16 autocast. Each runs in its own process to measure its peak
memory; the losses of the first step must agree. Targets: at least 1.5× faster, at most 0.6× the memory.

    python benchmarks/training.py [--steps 2] [--prompts 4] [--checkpointing]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from ultrasam.hardware import processor
from ultrasam.model.config import CONFIGS
from ultrasam.model.ultrasam import UltraSam
from ultrasam.runtimes.attention import set_attention
from ultrasam.runtimes.checkpointing import checkpoint_blocks
from ultrasam.training.interaction import interact
from ultrasam.training.losses import dice_loss, focal_loss, mask_iou
from ultrasam.training.recipe import Interaction, MaskLosses

INTERACTION, LOSSES = Interaction(rounds=2, masks="last"), MaskLosses()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--run", choices=["ours", "peer"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        measure(
            arguments.run,
            arguments.steps,
            arguments.prompts,
            arguments.checkpointing,
            arguments.precision,
        )
        return
    found = {}
    for precision in ("fp32", "bf16"):
        for name in ("ours", "peer"):
            command = [sys.executable, __file__, "--run", name, "--steps", str(arguments.steps),
                       "--prompts", str(arguments.prompts), "--precision", precision]  # fmt: skip
            if arguments.checkpointing:
                command.append("--checkpointing")
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found[name, precision] = json.loads(done.stdout.splitlines()[-1])
    print(f"Training step of ViT-B at 1024 px: one image, {arguments.prompts} boxes, two rounds")
    print(f"on {processor()}")
    for (name, precision), run in found.items():
        title = f"{'ours' if name == 'ours' else 'transformers'}, {precision}"
        print(
            f"  {title:<20} {run['seconds']:6.1f} s, peak {run['mib']:7.0f} MiB, loss {run['loss']:.4f}"
        )
    for precision in ("fp32", "bf16"):
        us, them = found["ours", precision], found["peer", precision]
        difference = abs(us["loss"] - them["loss"]) / them["loss"]
        print(f"  {precision}: relative difference of losses {difference:.1e}")
        print(f"        speedup {them['seconds'] / us['seconds']:.2f} (target 1.5)")
        print(f"        memory {us['mib'] / them['mib']:.2f} (target 0.6)")
    speed = found["peer", "fp32"]["seconds"] / found["ours", "bf16"]["seconds"]
    print(f"  speedup of our default (bf16 autocast) over the peer in fp32: {speed:.2f}")


def measure(name: str, steps: int, prompts: int, checkpointing: bool, precision: str) -> None:
    torch.manual_seed(0)
    model = UltraSam(CONFIGS["vit-b"]).train()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "rel_pos" in key or "pos_embed" in key:
                parameter.normal_(0, 0.02)
    checkpoint_blocks(model.image_encoder, enabled=checkpointing)
    set_attention(model, "cpu")  # as the training engine does
    pixels = torch.randn(1, 3, 1024, 1024)
    corners = torch.rand(prompts, 2, 2) * 400
    corners[:, 1] += 500
    y, x = torch.meshgrid(torch.arange(256) * 4 + 2, torch.arange(256) * 4 + 2, indexing="ij")
    inside = [(x > a[0]) & (x < b[0]) & (y > a[1]) & (y < b[1]) for a, b in corners]
    targets = torch.stack(inside).float().unsqueeze(1)
    make = ours if name == "ours" else peer
    step = make(model, pixels, corners, targets)
    seconds, first = [], None
    for _ in range(steps):
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = float(step())
        seconds.append(time.perf_counter() - start)
        first = loss if first is None else first
    with open("/proc/self/status") as status:  # noqa: PTH123
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    print(json.dumps({"seconds": statistics.median(seconds), "mib": peak / 1024, "loss": first}))


def ours(model: UltraSam, pixels: Tensor, corners: Tensor, targets: Tensor) -> Callable[[], Tensor]:
    """Our step on B images [B, 3, S, S] and N boxes [N, 2, 2], N / B on each; it returns the loss."""
    from ultrasam.model.prompt_encoder import PromptTensors

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    count, device = len(corners), pixels.device
    labels = torch.tensor([[2, 3]], device=device).expand(count, -1)
    index, seeds = image_index(pixels, corners), torch.arange(count, device=device)

    def step() -> Tensor:
        image = model.encode(pixels)
        rounds = interact(
            model, image, PromptTensors(corners, labels), targets,
            image_index=index, interaction=INTERACTION, losses=LOSSES, seeds=seeds,
        )  # fmt: skip
        loss = torch.stack([r.loss for r in rounds]).sum(dim=0).mean()
        return finish(loss, model, optimizer)

    return step


def peer(model: UltraSam, pixels: Tensor, corners: Tensor, targets: Tensor) -> Callable[[], Tensor]:
    """The same step of a SamModel with the same weights."""
    from transformers import SamConfig, SamModel

    from ultrasam.weights.formats import from_our_keys

    theirs = SamModel(SamConfig()).to(pixels.device).train()
    theirs.load_state_dict(from_our_keys(model.state_dict(), "transformers"))
    del model
    return peer_step(theirs, pixels, corners, targets)


def peer_step(
    theirs: torch.nn.Module, pixels: Tensor, corners: Tensor, targets: Tensor
) -> Callable[[], Tensor]:
    """The same step of a SamModel."""
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=1e-5)
    count, device = len(corners), pixels.device
    boxes = corners.reshape(count, 1, 4)
    index, rows = image_index(pixels, corners), torch.arange(count, device=device)

    def step() -> Tensor:
        embedding = theirs.vision_encoder(pixels).last_hidden_state.index_select(0, index)
        mask_input, losses = None, []
        for last in (False, True):
            out = theirs(
                image_embeddings=embedding,
                input_boxes=boxes,
                input_masks=mask_input,
                multimask_output=last,
            )
            logits, iou = out.pred_masks[:, 0], out.iou_scores[:, 0]  # [N, M, 256, 256], [N, M]
            truth = mask_iou(logits, targets)
            best = truth.argmax(dim=1, keepdim=True)
            chosen = logits[rows, best[:, 0]].unsqueeze(1)
            mask = 20 * focal_loss(chosen, targets, alpha=0.25, gamma=2) + dice_loss(
                chosen, targets
            )
            off = (iou.gather(1, best) - truth.gather(1, best)).square()
            losses.append((mask + off)[:, 0])
            mask_input = chosen
        return finish(torch.stack(losses).sum(dim=0).mean(), theirs, optimizer)

    return step


def image_index(pixels: Tensor, corners: Tensor) -> Tensor:
    """The image of each box [N]: every image has as many."""
    images = torch.arange(len(pixels), device=pixels.device)
    return images.repeat_interleave(len(corners) // len(pixels))


def finish(loss: Tensor, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Tensor:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    optimizer.step()
    return loss.detach()


if __name__ == "__main__":
    main()
