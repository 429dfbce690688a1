"""Training on a custom data set, validation, and errors before a run starts."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.datasets.layouts.truth import gray, save
from ultrasam import load_model
from ultrasam.cli import main
from ultrasam.datasets.catalogue import dataset
from ultrasam.datasets.custom import detect_layout
from ultrasam.errors import DataError, MissingDependencyError, RecipeError
from ultrasam.evaluation.models.trained_on import trained_on
from ultrasam.model.config import CONFIGS
from ultrasam.model.prompt_encoder import PromptTensors
from ultrasam.model.ultrasam import UltraSam
from ultrasam.phantom.acquisition import simulate
from ultrasam.training.custom import recipe_for
from ultrasam.training.dry_run import encoder_flops
from ultrasam.training.engine import make_trainer
from ultrasam.training.interaction import interact
from ultrasam.training.memory import check_memory
from ultrasam.training.optimization import rate_factor
from ultrasam.training.recipe import Interaction, MaskLosses, change, load_recipe
from ultrasam.training.run_settings import OptimizerSettings
from ultrasam.training.train import train


def folder_of(path: Path, count: int) -> Path:
    for i in range(count):
        phantom = simulate(50 + i, size=(120, 160))
        save(path / "images" / f"p{i}.png", phantom.pixels)
        mask = phantom.masks[0] if len(phantom.masks) else np.zeros((120, 160), bool)
        save(path / "masks" / f"p{i}.png", gray(mask))
    return path


def test_settings_follow_the_size_of_the_data(tmp_path: Path) -> None:
    recipe = recipe_for(folder_of(tmp_path / "mine", 40), init="nano")
    assert recipe.name == "mine"
    assert recipe.trainer.max_steps == 200
    assert recipe.validation.every == 10
    assert recipe.adapt.kind == "full"
    with pytest.raises(DataError, match="at least 4 are needed"):
        recipe_for(folder_of(tmp_path / "few", 3), init="nano")


def test_the_layout_of_a_folder_is_detected_from_its_contents(tmp_path: Path) -> None:
    folder_of(tmp_path / "a", 1)
    assert detect_layout(tmp_path / "a") == "image_mask_folder"
    for text, layout in (('{"images": [], "annotations": []}', "coco"), ('{"shapes": []}', "labelme"),
                         ('{"x.jpg1": {"regions": []}}', "via"),
                         ('[{"data": {}, "annotations": []}]', "labelstudio")):  # fmt: skip
        (tmp_path / layout).mkdir()
        (tmp_path / layout / "x.json").write_text(text)
        assert detect_layout(tmp_path / layout) == layout
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="Unsupported layout"):
        detect_layout(tmp_path / "empty")


@pytest.mark.parametrize(
    ("former", "current"),
    [("own_masks", "image_mask_folder"), ("own_coco", "coco"), ("own_via", "via"),
     ("own_labelme", "labelme")],
)  # fmt: skip
def test_recipes_may_use_the_former_ids_of_layouts(former: str, current: str) -> None:
    assert dataset(former) is dataset(current)
    assert dataset(current).info.id == current


@pytest.mark.slow
def test_one_command_fine_tunes_validates_and_keeps_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder_of(tmp_path / "mine", 24)
    monkeypatch.chdir(tmp_path)
    arguments = ["trainer.max_steps=4", "validation.every=2", "trainer.batch=2", "trainer.workers=0",
                 "validation.fraction=0.3", "trainer.log_every=1"]  # fmt: skip
    monkeypatch.setattr(
        sys, "argv", ["ultrasam", "finetune", "promptable", "--data", "mine", *arguments]
    )
    with pytest.raises(SystemExit) as stop:
        main.run()
    out = capsys.readouterr()
    assert stop.value.code == 0, out.err
    run = tmp_path / "runs" / "promptable" / "mine"
    assert str(out.out.strip().splitlines()[-1]) == str(Path("runs/promptable/mine/model"))
    assert re.search(
        r"Dice on 7 validation images: 0\.\d{3} before training, 0\.\d{3} after; the weights of the best "
        r"validation are kept \(step [24]\); 0\.\d{3} at the last validation\.\n", out.err,
    )  # fmt: skip
    with (run / "log" / "metrics.csv").open() as lines:
        logged = list(csv.DictReader(lines))
    norms = [float(row["grad_norm"]) for row in logged if row.get("grad_norm")]
    parts = [n for n in logged[0] if n.startswith("grad_norm_")]
    assert norms
    assert min(norms) > 0
    assert len(parts) == 3
    rows = [row for row in logged if row["val_dice"]]
    assert [row["step"] for row in rows] == ["0", "1", "3"]  # 0: before training
    assert all(0 < float(row["val_dice_box"]) <= 1 for row in rows)
    assert len(list((run / "samples").glob("*.png"))) >= 2
    report = (run / "report.html").read_text()
    assert report.count("data:image/png;base64,") >= 4  # three plots and a sample
    assert "max_steps: 4" in report
    best = torch.load(run / "best.ckpt", weights_only=True)["state_dict"]
    kept = load_model(run / "model", device="cpu").state_dict()
    assert all(torch.equal(kept[n], best[f"model.{n}"]) for n in kept)
    assert load_recipe(run / "recipe.yaml").data.sources[0].dataset == "image_mask_folder"
    assert trained_on(str(run / "model")) == {"mine", *(trained_on("nano") or ())}


def test_the_papers_rounds_give_one_mask_and_then_three() -> None:
    model = UltraSam(CONFIGS["nano"])
    image = model.encode(torch.randn(1, 3, 256, 256))
    first = PromptTensors(torch.rand(2, 2, 2) * 256, torch.tensor([[1, -1], [2, 3]]))
    targets = (torch.rand(2, 1, 64, 64) > 0.5).float()
    used: list[set[int]] = []
    for rounds in (1, 2):
        model.zero_grad()
        interaction = Interaction(rounds=rounds, masks="last", feedback_gradient=False)
        found = interact(model, image, first, targets, image_index=torch.zeros(2, dtype=torch.long),
                         interaction=interaction, losses=MaskLosses(), seeds=torch.arange(2))  # fmt: skip
        found[-1 if rounds == 1 else 0].loss.sum().backward(retain_graph=True)
        mlps = model.mask_decoder.output_hypernetworks_mlps
        used.append({k for k, mlp in enumerate(mlps) if mlp.layers[0].weight.grad is not None
                     and mlp.layers[0].weight.grad.abs().sum() > 0})  # type: ignore[union-attr,index]  # fmt: skip
    assert used[0] <= {1, 2, 3}
    assert used[0]
    assert used[1] == {0}


def test_the_papers_schedule() -> None:
    settings = load_recipe(
        Path(__file__).parents[2] / "src" / "ultrasam" / "recipes" / "base-mixed.yaml"
    ).optimizer
    factors = {
        step: rate_factor(step, 30_000, settings) for step in (0, 499, 19_999, 20_000, 28_888)
    }
    assert factors[0] == pytest.approx(0.001)
    assert factors[499] == 1
    assert factors[19_999] == 1
    assert factors[20_000] == pytest.approx(0.1)
    assert factors[28_888] == pytest.approx(0.01)
    linear = OptimizerSettings(warmup_steps=10, decay_fraction=0.5)
    assert rate_factor(100, 100, linear) == 0
    assert rate_factor(75, 100, linear) == pytest.approx(0.5)


def test_the_encoders_operations_are_those_that_torch_counts() -> None:
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    config = dataclasses.replace(CONFIGS["vit-b"], depth=2, global_blocks=(0, 1), window=0,
                                 image_size=512, relative_positions=False)  # fmt: skip
    model = UltraSam(config)
    plain = sdpa_kernel(
        SDPBackend.MATH
    )  # whose products are counted, as the fused kernel's are not
    with FlopCounterMode(display=False) as counter, torch.no_grad(), plain:
        model.image_encoder(torch.zeros(1, 3, 512, 512))
    assert encoder_flops(config) == pytest.approx(counter.get_total_flops(), rel=0.02)


@pytest.mark.parametrize(
    ("recipe", "trained"),
    [pytest.param("base-mixed", 93_735_472, marks=pytest.mark.slow),
     pytest.param("base-lora", 4_654_384, marks=pytest.mark.slow),
     pytest.param("base-adapter", 11_165_488, marks=pytest.mark.slow),
     pytest.param("decoder-only", 4_064_560, marks=pytest.mark.slow)],
)  # fmt: skip
def test_a_dry_run_says_what_would_be_trained(
    recipe: str, trained: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ultrasam.training.dry_run._REPEATS", 1)  # a rough time will do
    path = Path(__file__).parents[2] / "src" / "ultrasam" / "recipes" / f"{recipe}.yaml"
    arguments = ["init=null", "data.store=null", "data.phantoms.count=2", "--dry-run"]
    monkeypatch.setattr(sys, "argv", ["ultrasam", "train", str(path), *arguments])
    with pytest.raises(SystemExit):
        main.run()
    out = capsys.readouterr().out
    assert f"{trained:,} trained" in out
    assert "max_steps: 30000" in out
    assert "GiB per process" in out


def test_settings_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    shipped = load_recipe(
        Path(__file__).parents[2] / "src" / "ultrasam" / "recipes" / "base-mixed.yaml"
    )
    for key in ("validation.every=5", "trainer.ema=0.9"):
        with pytest.raises(RecipeError, match=r"does not work with trainer\.strategy=fsdp"):
            make_trainer(
                change(shipped, ["trainer.strategy=fsdp", key]), "val_dice", folder=tmp_path
            )


def test_an_outline_outside_its_image_stops_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Annotations made on images twice as large."""
    images = []
    for i in range(5):
        save(tmp_path / "mine" / f"p{i}.png", simulate(50 + i, size=(120, 160)).pixels)
        images.append({"id": i, "file_name": f"p{i}.png", "width": 160, "height": 120})
    outline = [200, 150, 300, 150, 300, 220, 200, 220]
    content = {
        "images": images,
        "categories": [{"id": 1, "name": "cyst"}],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "segmentation": [outline]} for i in range(5)
        ],
    }
    (tmp_path / "mine" / "all.json").write_text(json.dumps(content))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ultrasam", "finetune", "promptable", "--data", "mine"])
    with pytest.raises(SystemExit) as stop:
        main.run()
    error = capsys.readouterr().err
    assert stop.value.code == 1
    assert "For example, p0.png, annotation 0: outline outside the image" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_batch_too_large_for_memory_stops_before_training(tmp_path: Path) -> None:
    mine = folder_of(tmp_path / "mine", 5)
    recipe = change(
        recipe_for(mine, init="nano"),
        [
            "trainer.batch=100000",
            f"output={tmp_path}/runs",
            "trainer.accelerator=cpu",
            "validation.every=0",
        ],
    )
    with pytest.raises(RecipeError, match=r"A batch of 100000 needs about .* reduce trainer.batch"):
        train(recipe)
    assert not (tmp_path / "runs").exists()
    check_memory(change(recipe, ["trainer.check_memory=false"]), UltraSam(CONFIGS["nano"]))


def test_wandb_that_is_not_installed_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    mine = folder_of(tmp_path / "mine", 5)
    recipe = change(
        recipe_for(mine, init="nano"), ["trainer.logger=wandb", f"output={tmp_path}/runs"]
    )
    with pytest.raises(MissingDependencyError, match="pip install wandb"):
        make_trainer(recipe, "val_dice", folder=tmp_path)
