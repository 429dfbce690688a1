"""A training step on a GPU is the CPU's, and a run that was interrupted resumes there."""

from __future__ import annotations

import copy
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.conftest import randomized
from tests.gpu.conftest import sizes
from ultrasam.model.config import CONFIGS
from ultrasam.model.image_encoder import attention_with_relative_positions
from ultrasam.model.prompt_encoder import PromptTensors
from ultrasam.model.ultrasam import UltraSam
from ultrasam.runtimes import attention
from ultrasam.runtimes.attention import set_attention
from ultrasam.training.interaction import interact
from ultrasam.training.recipe import Interaction, MaskLosses, load_recipe
from ultrasam.training.train import train
from ultrasam.weights.load import load_model

RECIPE = """
name: small
model: nano
output: {output}
data:
  phantoms: {{count: 5, weight: 1}}
prompts: {{per_image: 2}}
interaction: {{rounds: 2, corrective: 0.5}}
optimizer: {{lr: 0.001, warmup_steps: 0, schedule: steps, clip: 1.0}}
trainer: {{max_steps: 6, batch: 2, precision: {precision}, accelerator: {accelerator}, workers: 0,
  ema: 0.5, checkpoint_every: 3, log_every: 1}}
"""
FORMS = [
    attention_with_relative_positions,
    attention.sliced_attention,
    attention.folded_attention,
]


@pytest.mark.parametrize("side", [14, 40])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_attention_and_its_gradients_are_the_cpus(
    form: attention.AttentionFunction, side: int, gpu: str
) -> None:
    torch.manual_seed(0)
    tensors = [torch.randn(1, 2, side**2, 16) for _ in range(3)]
    tensors += [torch.randn(side, side, 16) * 0.2 for _ in range(2)]
    found = []
    for device, function in (("cpu", attention_with_relative_positions), (gpu, form)):
        given = [t.detach().to(device).requires_grad_() for t in tensors]
        out = function(*given)
        out.square().sum().backward()
        found.append([out.detach().cpu(), *(t.grad.cpu() for t in given if t.grad is not None)])
    assert len(found[0]) == len(found[1]) == 6
    for expected, other in zip(*found, strict=True):
        assert (other - expected).abs().max() / expected.abs().max() < 1e-4


@pytest.mark.parametrize("side", [14, 64])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_attention_in_bf16_is_near_fp32(
    form: attention.AttentionFunction, side: int, gpu: str
) -> None:
    torch.manual_seed(0)
    tensors = [torch.randn(1, 2, side**2, 64) for _ in range(3)]
    tensors += [torch.randn(side, side, 64) * 0.05 for _ in range(2)]
    with torch.inference_mode():
        expected = attention_with_relative_positions(*tensors)
        found = form(*(t.to(gpu, torch.bfloat16) for t in tensors)).float().cpu()
    assert (found - expected).abs().max() < 0.05


def step(model: UltraSam, device: str, *, bf16: bool) -> tuple[float, dict[str, Tensor]]:
    """The loss and all gradients of one step of two rounds."""
    model = copy.deepcopy(model).to(device).train()
    set_attention(model, device)
    c = model.config
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(2, 3, c.image_size, c.image_size, generator=generator)
    start = torch.rand(4, 1, 2, generator=generator) * c.image_size / 3
    corners = torch.cat([start, start + c.image_size / 2], dim=1)
    at = (torch.arange(c.mask_size) + 0.5) * 4
    inside = [(at > corners[:, :1, k]) & (at < corners[:, 1:, k]) for k in (0, 1)]
    targets = (inside[1][:, :, None] & inside[0][:, None]).float().unsqueeze(1)
    prompts = PromptTensors(corners, torch.tensor([[2, 3]]).expand(4, -1))
    moved = PromptTensors(
        *(v.to(device) if isinstance(v := getattr(prompts, f.name), Tensor) else v for f in fields(prompts))
    )  # fmt: skip
    with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bf16):
        rounds = interact(
            model, model.encode(pixels.to(device)), moved, targets.to(device),
            image_index=torch.tensor([0, 0, 1, 1], device=device),
            interaction=Interaction(rounds=2), losses=MaskLosses(), seeds=torch.arange(4, device=device),
        )  # fmt: skip
        loss = torch.stack([r.loss for r in rounds]).sum(dim=0).mean()
    loss.backward()
    return float(loss.detach()), {
        name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None
    }


@pytest.mark.parametrize("size", sizes())
def test_a_training_step_is_the_cpus(size: str, gpu: str) -> None:
    model = randomized(CONFIGS[size])
    expected, gradients = step(model, "cpu", bf16=False)
    for bf16, far, alike in ((False, 1e-4, 0.9999), (True, 2e-2, 0.97)):
        loss, found = step(model, gpu, bf16=bf16)
        assert abs(loss - expected) / expected < far
        assert found.keys() == gradients.keys()
        a, b = (torch.cat([g[n].flatten() for n in gradients]) for g in (found, gradients))
        assert torch.cosine_similarity(a, b, dim=0) > alike


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_an_interrupted_run_resumes_as_if_it_had_not_been(
    precision: str, tmp_path: Path, gpu: str
) -> None:
    """Up to rounding: some of a GPU's sums have no fixed order."""
    path = tmp_path / "small.yaml"
    accelerator = "gpu" if gpu.startswith("cuda") else "cpu"
    text = RECIPE.format(output=tmp_path / "runs", precision=precision, accelerator=accelerator)
    path.write_text(text)
    whole = load_model(train(load_recipe(path, ["name=whole"])), device="cpu").state_dict()
    train(load_recipe(path, ["name=cut", "trainer.max_steps=3"]))
    longer = load_recipe(path, ["name=cut"])
    resumed = load_model(train(longer, resume=True), device="cpu").state_dict()
    near = 1e-4 if precision == "32-true" else 5e-3
    moved = randomized(CONFIGS["nano"]).state_dict()
    assert any((whole[name] - moved[name]).abs().max() > 1e-2 for name in whole)
    for name, expected in whole.items():
        # A bias of attention's keys changes nothing; its gradient is rounding, and AdamW enlarges that.
        if not name.endswith("k_proj.bias"):
            far = (resumed[name].float() - expected.float()).abs().mean()
            assert far <= near * max(1.0, float(expected.float().abs().mean())), name
