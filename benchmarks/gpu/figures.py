"""Claim: on a GPU we encode, prompt and train faster than transformers' SamModel, near the card's rate.

Peer: transformers.SamModel of the same size (scaled-dot-product attention), in the same run, in turn with
ours; medians. A ViT-B has the same weights; nano has no exact peer, since its stem, its prompt maps and its
high-resolution features are not SAM's: its peer is a SamModel of its widths and depth.

    python benchmarks/gpu/figures.py --out FOLDER [--device cuda] [--quick]

Each figure is written to `FOLDER/figures.json` as soon as it exists.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from timing import card, medians, peak_mib
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import SamConfig, SamModel

sys.path.insert(0, str(Path(__file__).parents[1]))
import training
from results import Results

import ultrasam
from ultrasam.hardware import processor
from ultrasam.model.prompt_encoder import PromptTensors
from ultrasam.model.ultrasam import UltraSam
from ultrasam.runtimes.attention import set_attention
from ultrasam.weights.formats import from_our_keys

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
# Images at once to encode, images and boxes on each in a training step; and the same of a dry run.
SIZES = {"nano": ((1, 64), (64, 3)), "vit-b": ((1, 8), (2, 4))}
QUICK = {"nano": ((1,), (2, 2))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="only nano, small batches, few runs")
    arguments = parser.parse_args()
    device, quick = arguments.device, arguments.quick
    # For both: fp32 means fp32, not TF32.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    results = Results(arguments.out / "figures.json")
    results.put("processor", processor())
    results.put("card", card(device))
    results.put("torch", torch.__version__)
    rate = matrix_rate(device, 512 if quick else 8192)
    results.put("bf16_matrix_tflops", round(rate, 1))
    for size, (encoded, trained) in (QUICK if quick else SIZES).items():
        for measure, given in ((encoder, encoded), (decoder, None), (training_step, trained)):
            try:
                measure(size, given, device, results, rate, runs=2 if quick else 15)
            except Exception as error:  # the other figures still count
                results.fail(f"{measure.__name__} {size}", error)
    if results.failed:
        raise SystemExit(1)


def matrix_rate(device: str, side: int) -> float:
    """TFLOP/s of a bf16 product of two square matrices."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = medians({"product": lambda: a @ b}, device=device, runs=20)
    return 2 * side**3 / seconds["product"] / 1e12


def pair(size: str, device: str) -> tuple[UltraSam, SamModel]:
    """Ours, and a SamModel: of the same weights where there is one, else of the same size."""
    model = ultrasam.load_model(f"random:{size}", device=device, precision="float32")
    c = model.config
    peer = SamModel(
        SamConfig(
            vision_config={
                "hidden_size": c.width, "num_hidden_layers": c.depth, "num_attention_heads": c.heads,
                "image_size": c.image_size, "patch_size": c.patch_size, "mlp_dim": c.mlp_width,
                "window_size": c.window, "global_attn_indexes": list(c.global_blocks),
                "output_channels": c.decoder_width, "num_pos_feats": c.decoder_width // 2,
                "use_rel_pos": c.relative_positions,
            },
            prompt_encoder_config={
                "hidden_size": c.decoder_width, "image_size": c.image_size,
                "patch_size": c.patch_size, "image_embedding_size": c.grid,
            },
            mask_decoder_config={
                "hidden_size": c.decoder_width, "mlp_dim": c.decoder_mlp_width,
                "num_attention_heads": c.decoder_heads,
            },
        )
    )  # fmt: skip
    if size != "nano":
        peer.load_state_dict(from_our_keys(model.state_dict(), "transformers"))
    set_attention(model, device)  # as a predictor and the training engine do
    return model, peer.to(device).eval()


def encoder(
    size: str, batches: tuple[int, ...], device: str, results: Results, rate: float, *, runs: int
) -> None:
    """Images a second, and the share of the matrix rate."""
    model, peer = pair(size, device)
    side = model.config.image_size
    flops = flops_of(model, torch.randn(1, 3, side, side, device=device))
    for name, dtype in DTYPES.items():
        encoders = {
            "ours": model.image_encoder.to(dtype),
            "transformers": peer.vision_encoder.to(dtype),
        }
        for batch in batches:
            pixels = torch.randn(batch, 3, side, side, device=device, dtype=dtype)
            calls = {k: lambda e=e, p=pixels: e(p) for k, e in encoders.items()}
            with torch.inference_mode():
                seconds = medians(calls, device=device, runs=runs)
                memory = {k: peak_mib(call, device) for k, call in calls.items()}
            row(
                results, f"encoder {size} {name} batch {batch}", "images/s",
                {k: batch / s for k, s in seconds.items()}, memory,
                share=batch * flops / seconds["ours"] / 1e12 / rate,
            )  # fmt: skip


def flops_of(model: UltraSam, pixels: Tensor) -> float:
    """Multiplications and additions of one image's encoding, in the plain form of attention."""
    device = str(pixels.device)
    set_attention(model, "mps")  # the plain form
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model.image_encoder(pixels)
    set_attention(model, device)
    return float(counter.get_total_flops())


def decoder(
    size: str, _given: None, device: str, results: Results, rate: float, *, runs: int
) -> None:
    """Prompts a second on a cached embedding: one click, 64 boxes."""
    model, peer = pair(size, device)
    side = model.config.image_size
    with torch.inference_mode():
        images = model.encode(torch.randn(1, 3, side, side, device=device))
    click = torch.rand(1, 1, 2, device=device) * side
    low = torch.rand(64, 1, 2, device=device) * side / 2
    corners = torch.cat([low, low + side / 4], dim=1)
    boxes = corners.reshape(1, 64, 4)
    one, two = (torch.tensor(k, device=device) for k in ([[1, -1]], [[2, 3]]))
    padded = torch.cat([click, torch.zeros_like(click)], dim=1)
    prompts = {
        "1 click": (PromptTensors(padded, one), {"input_points": click[None]}),
        "64 boxes": (PromptTensors(corners, two.expand(64, -1)), {"input_boxes": boxes}),
    }
    for name, dtype in DTYPES.items():
        for kind, (ours, theirs) in prompts.items():
            calls: dict[str, Callable[[], object]] = {
                "ours": lambda p=ours: model.decode(images, p),
                "transformers": lambda p=theirs: peer(image_embeddings=images.image, **p),
            }
            with torch.inference_mode(), autocast(device, dtype):
                seconds = medians(calls, device=device, runs=runs)
                memory = {k: peak_mib(call, device) for k, call in calls.items()}
            count = len(ours.coords)
            rates = {k: count / s for k, s in seconds.items()}
            row(results, f"decoder {size} {name} {kind}", "prompts/s", rates, memory)


def training_step(
    size: str, given: tuple[int, int], device: str, results: Results, rate: float, *, runs: int
) -> None:
    """Images a second of whole steps of two rounds: forward, backward, clipping, AdamW."""
    count, boxes = given
    model, peer = pair(size, device)
    side, low = model.config.image_size, model.config.mask_size
    pixels = torch.randn(count, 3, side, side, device=device)
    start = torch.rand(count * boxes, 1, 2, device=device) * side / 3
    corners = torch.cat([start, start + side / 2], dim=1)
    at = (torch.arange(low, device=device) + 0.5) * side / low
    inside = [
        ((at > a) & (at < b)).float() for a, b in (corners[..., axis].T[..., None] for axis in (0, 1))
    ]  # fmt: skip
    targets = (inside[1][:, :, None] * inside[0][:, None, :]).unsqueeze(1)
    steps = {
        "ours": training.ours(model.train(), pixels, corners, targets),
        "transformers": training.peer_step(peer.train(), pixels, corners, targets),
    }
    for name, dtype in DTYPES.items():
        with autocast(device, dtype):
            seconds = medians(steps, device=device, runs=max(2, runs // 2))
            memory = {k: peak_mib(step, device) for k, step in steps.items()}
        rates = {k: count / s for k, s in seconds.items()}
        row(results, f"training {size} {name} batch {count}", "images/s", rates, memory)


def autocast(device: str, dtype: torch.dtype) -> torch.autocast:
    return torch.autocast(
        device.split(":")[0], torch.bfloat16, enabled=dtype == torch.bfloat16, cache_enabled=True
    )


def row(
    results: Results,
    name: str,
    unit: str,
    rates: dict[str, float],
    memory: dict[str, float | None],
    *,
    share: float | None = None,
) -> None:
    """One figure: ours, the peer's, and their ratio."""
    results.add(
        "figures",
        {
            "name": name,
            "unit": unit,
            "ours": rates["ours"],
            "transformers": rates["transformers"],
            "ratio": rates["ours"] / rates["transformers"],
            "share_of_matrix_rate": share,
            "peak_mib": memory["ours"],
            "transformers_peak_mib": memory["transformers"],
        },
    )


if __name__ == "__main__":
    main()
