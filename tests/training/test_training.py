from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import randomized
from tests.store.test_store import busi_like
from ultrasam import load
from ultrasam.errors import CheckpointError, DataError, DeviceError, RecipeError
from ultrasam.inference.predictor import Predictor
from ultrasam.model.config import CONFIGS
from ultrasam.model.prompt_encoder import PromptTensors
from ultrasam.model.ultrasam import UltraSam
from ultrasam.phantom.acquisition import simulate
from ultrasam.prompts import UNUSED, Prompt
from ultrasam.settings import deep_merge
from ultrasam.training.engine import make_trainer
from ultrasam.training.interaction import (
    Noise,
    choose_mask,
    error_clicks,
    interact,
    is_ambiguous,
)
from ultrasam.training.losses import dice_loss, focal_loss, mask_iou
from ultrasam.training.promptable import PromptableTask
from ultrasam.training.recipe import (
    Interaction,
    MaskLosses,
    Recipe,
    change,
    load_recipe,
    save_recipe,
)
from ultrasam.training.run_folder import keep_settings
from ultrasam.training.run_settings import on_device
from ultrasam.training.shipped import recipe_path
from ultrasam.training.train import prepare_model, train
from ultrasam.weights.formats import earlier_key
from ultrasam.weights.hub import save_pretrained
from ultrasam.weights.load import load_model
from ultrasam.weights.registry import PREPROCESSING

RECIPE = """
name: small
model: nano
output: {output}
data: {{sources: [{{dataset: BUSI, path: {data}}}]}}
prompts: {{per_image: 2}}
interaction: {{rounds: 2, corrective: 0.5}}
optimizer: {{lr: 0.001, warmup_steps: 2, clip: 1.0}}
trainer: {{max_steps: 4, batch: 2, precision: 32-true, workers: 0, ema: 0.5,
  checkpoint_every: 2, log_every: 1}}
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    busi_like(tmp_path, 5)
    path.write_text(RECIPE.format(output=tmp_path / "runs", data=tmp_path / "busi"))
    return path


@pytest.fixture
def small_recipe(recipe_file: Path, small_nano: UltraSam, tmp_path: Path) -> Path:
    """The recipe, going on from a network that costs a twentieth of nano."""
    save_pretrained(small_nano, tmp_path / "first")
    recipe_file.write_text(recipe_file.read_text() + f"init: {tmp_path / 'first'}\n")
    return recipe_file


@pytest.mark.parametrize(
    ("views", "zoom", "flip"),
    [
        ("{zoomed: 0.3}", 1.6, True),
        ("{zoomed: 0.3, flip: 0}", 1.6, False),
        ("{zoomed: 0}", 0, True),
    ],
)
def test_test_time_augmentation_uses_only_views_seen_in_training(
    recipe_file: Path, views: str, zoom: float, flip: bool
) -> None:
    recipe = load_recipe(recipe_file, [f"augmentation={views}"])
    tta = prepare_model(recipe).tta
    assert (tta.zoom, tta.flip) == (zoom, flip)


def test_the_focal_loss_is_its_formula() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(3, 5, 5) * 3, torch.randint(0, 2, (3, 5, 5)).float()
    p = logits.sigmoid()
    p_t = torch.where(targets > 0, p, 1 - p)
    alpha_t = torch.where(targets > 0, 0.25, 0.75)
    expected = (-alpha_t * (1 - p_t) ** 2 * p_t.log()).mean((1, 2))
    assert torch.allclose(focal_loss(logits, targets, alpha=0.25, gamma=2), expected, atol=1e-5)


def test_the_dice_loss_is_smallest_where_mask_and_truth_agree() -> None:
    targets = torch.zeros(1, 8, 8)
    targets[:, 2:5, 2:6] = 1
    assert dice_loss((targets * 2 - 1) * 20, targets) < 1e-3
    assert dice_loss((1 - targets * 2) * 20, targets) > 0.9


@given(seed=st.integers(0, 10**6))
def test_error_clicks_lie_in_the_error_with_the_truths_label(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(4, 1, 16, 16, generator=generator)
    targets = (torch.rand(4, 1, 16, 16, generator=generator) < 0.4).float()
    logits[3] = targets[3] * 2 - 1  # no error here
    coords, labels = error_clicks(logits, targets, noise=Noise(torch.arange(4) + seed, 0))
    for i in range(3):
        x, y = coords[i].floor().long()
        assert int(targets[i, 0, y, x]) == int(labels[i])
        assert bool(logits[i, 0, y, x] > 0) != bool(targets[i, 0, y, x])
    assert labels[3] == UNUSED


def test_only_a_lone_click_is_ambiguous() -> None:
    labels = torch.tensor([[1, -1, UNUSED], [2, 3, UNUSED], [1, -1, 0], [1, 2, 3]])
    assert is_ambiguous(labels).tolist() == [True, False, False, False]


def test_an_ambiguous_prompt_shows_the_best_of_three() -> None:
    logits = torch.arange(8.0).view(2, 4, 1, 1)
    iou = torch.tensor([[0.9, 0.1, 0.3, 0.2], [0.9, 0.1, 0.3, 0.2]])
    seen = choose_mask(logits, iou, torch.tensor([True, False]))
    assert seen.flatten().tolist() == [2.0, 4.0]


@pytest.mark.parametrize("feedback", [True, False])
def test_every_round_gives_a_loss_and_gradients(feedback: bool) -> None:
    model = randomized(CONFIGS["nano"])
    image = model.encode(torch.randn(2, 3, 256, 256))
    first = PromptTensors(torch.rand(3, 2, 2) * 256, torch.tensor([[1, -1], [2, 3], [1, -1]]))
    targets = (torch.rand(3, 1, 64, 64) > 0.5).float()
    interaction = Interaction(rounds=3, corrective=0.5, feedback_gradient=feedback)
    rounds = interact(
        model, image, first, targets,
        image_index=torch.tensor([0, 1, 1]), interaction=interaction, losses=MaskLosses(),
        seeds=torch.arange(3),
    )  # fmt: skip
    assert len(rounds) == 3
    torch.stack([r.loss for r in rounds]).sum().backward()
    assert all(r.iou.shape == r.loss.shape == (3,) for r in rounds)
    assert model.image_encoder.pos_embed.grad is not None


def test_iou_of_empty_masks_is_one() -> None:
    empty = torch.zeros(1, 4, 4)
    assert mask_iou(empty - 1, empty).item() == 1
    assert mask_iou(empty + 1, empty).item() == 0


@pytest.mark.usefixtures("undrawn")
def test_a_run_that_was_cut_off_ends_as_if_it_had_not_been(
    small_recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load_recipe(small_recipe, ["name=whole"])
    expected = load_model(train(whole), device="cpu").state_dict()

    cut = load_recipe(small_recipe, ["name=cut"])
    step = PromptableTask.training_step

    def breaking(self: PromptableTask, batch: object, batch_idx: int) -> torch.Tensor:
        if self.global_step == 3:
            raise RuntimeError("the power went out")
        return step(self, batch, batch_idx)  # type: ignore[arg-type]

    monkeypatch.setattr(PromptableTask, "training_step", breaking)
    with pytest.raises(RuntimeError, match="power"):
        train(cut)
    monkeypatch.setattr(PromptableTask, "training_step", step)
    with pytest.raises(RecipeError, match="--resume"):
        train(cut)
    resumed = load_model(train(cut, resume=True), device="cpu").state_dict()
    different = [n for n in expected if not torch.equal(expected[n], resumed[n])]
    assert not different
    folder = cut.output / "cut"
    assert load_recipe(folder / "recipe.yaml") == cut
    assert (folder / "log" / "metrics.csv").read_text().count("\n") >= 3


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("kind", ["adapter", "lora"])
def test_an_adapted_model_is_loaded_from_where_it_was_saved(
    kind: str, small_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(small_recipe, ["init=first", f"adapt.kind={kind}"])
    folder = train(recipe)
    monkeypatch.chdir(folder)  # the path to the first model is no longer as it was given
    frame = simulate(3, size=(96, 128)).pixels
    prompt = Prompt(box=(30, 20, 90, 70))

    def logits(model: UltraSam) -> torch.Tensor:
        predictor = Predictor(model, tta=False)
        predictor.set_image(frame)
        return torch.as_tensor(predictor.predict(prompt).low_res_logits)

    alone = logits(load(folder / "adaptation.safetensors"))
    assert not torch.allclose(alone, logits(load(tmp_path / "first")), atol=1e-3)
    assert torch.allclose(alone, logits(load(folder)), atol=1e-3)
    if kind == "adapter":
        for whole in (folder, folder / "adaptation.safetensors"):
            again = load_recipe(small_recipe, [f"init={whole}"])
            with pytest.raises(CheckpointError, match="has bottleneck adapters; start training"):
                prepare_model(again)
        (tmp_path / "first" / "model.safetensors").unlink()
        with pytest.raises(CheckpointError, match="Cannot load the base model of adapter"):
            load(folder)
        (folder / "adaptation.safetensors").write_bytes(b"cut off")
        with pytest.raises(CheckpointError, match="is not an adapter file"):
            load(folder)


def test_a_gpu_that_is_not_there_is_refused(
    recipe_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="Device 'cuda' is not available; use 'cpu'"):
        make_trainer(load_recipe(recipe_file, ["trainer.accelerator=gpu"]), "val_dice")
    with pytest.raises(DeviceError, match="Device 'nowhere' is not available"):
        on_device(load_recipe(recipe_file), "nowhere")


def test_adapters_of_nothing_are_refused_before_training(recipe_file: Path) -> None:
    with pytest.raises(RecipeError, match="set init"):
        train(load_recipe(recipe_file, ["adapt.kind=adapter"]))


def test_an_override_sets_a_section_that_the_recipe_leaves_out() -> None:
    recipe = load_recipe(recipe_path("nano"))
    assert recipe.data.store is None
    changed = change(recipe, ["data.store.path=store", "data.store.weight=0.5"])
    assert changed.data.store is not None
    assert (changed.data.store.path, changed.data.store.weight) == (Path("store"), 0.5)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.max_step=3", "did you mean 'max_steps'"),
        ("nonsense=3", "unknown key"),
        ("trainer.batch=0", "greater than or equal to 1"),
        ("trainer.batch=many", "valid integer"),
        ("model=gigantic", "Unknown model size 'gigantic'"),
        ("trainer", "not KEY=VALUE"),
        ("name.a=3", "is a value, not a section"),
        ("name=[", "not valid YAML"),
        ("optimiser.lr=1", "now called 'optimizer'"),
        ("prompts.rounds=1", "now called 'interaction.rounds'"),
        ("prompts.clicks.near_centerr=1", "did you mean 'near_center'"),
        ("prompts.clicks.near_center=2", "near_center at most 1"),
        ("prompts.jitters=[0.1, 0.2]", "one weight for each"),
        ("adapt.rank=0", "rank must be at least 1"),
    ],
)
def test_a_bad_override_is_one_sentence(recipe_file: Path, override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe(recipe_file, [override])
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_a_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="does not exist"):
        load_recipe(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("- 1\n- 2\n")
    with pytest.raises(RecipeError, match="keys and values"):
        load_recipe(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("a: [1")
    with pytest.raises(RecipeError, match="not a YAML file"):
        load_recipe(tmp_path / "a.yaml")


def test_missing_data_is_reported_before_training(recipe_file: Path, tmp_path: Path) -> None:
    recipe = load_recipe(
        recipe_file, [f"data.sources=[{{dataset: BUSI, path: {tmp_path / 'nowhere'}}}]"]
    )
    with pytest.raises(DataError, match="does not exist"):
        train(recipe)


@pytest.mark.parametrize("path", sorted(Path("src/ultrasam/recipes").glob("*.yaml")), ids=str)
def test_every_shipped_recipe_is_valid_short_and_survives_saving(
    path: Path, tmp_path: Path
) -> None:
    recipe = load_recipe(path)
    assert isinstance(recipe, Recipe)
    save_recipe(recipe, tmp_path / "again.yaml")
    assert load_recipe(tmp_path / "again.yaml") == recipe
    assert len(path.read_text().splitlines()) <= 70


def test_training_from_medsam_uses_and_saves_the_training_preprocessing(
    tmp_path: Path, recipe_file: Path
) -> None:
    """A view shows a part of an image, whose own range is not the image's; and clicks are trained too."""
    model = UltraSam(CONFIGS["nano"], preprocessor=PREPROCESSING["medsam"])
    save_pretrained(model, tmp_path / "medlike")
    recipe = load_recipe(recipe_file, [f"init={tmp_path / 'medlike'}"])
    fed = prepare_model(recipe).preprocessor
    assert (fed.resize, fed.resample) == ("letterbox", "area")
    assert fed.prompt_types == ("point", "box", "mask")
    pixels = np.random.default_rng(0).integers(60, 200, (256, 256), np.uint8)
    predicted = fed.image(pixels, fed.view(256, 256))
    trained = fed.normalize(torch.from_numpy(pixels).float().expand(3, -1, -1))
    assert np.allclose(predicted, trained.numpy())
    assert np.allclose(predicted[0], pixels / 255)


@pytest.mark.usefixtures("undrawn")
def test_a_run_of_an_earlier_version_is_resumed(small_recipe: Path) -> None:
    recipe = load_recipe(small_recipe, ["trainer.max_steps=2"])
    train(recipe)
    last = recipe.output / recipe.name / "last.ckpt"
    content = torch.load(last, weights_only=False)

    def earlier(value: object) -> object:
        if isinstance(value, dict):
            return {
                earlier_key(k) if isinstance(k, str) else k: earlier(v) for k, v in value.items()
            }
        return value

    torch.save(earlier(content), last)
    assert "fine_stride4" in str(list(torch.load(last, weights_only=False)["state_dict"]))
    longer = load_recipe(small_recipe, ["trainer.max_steps=3"])
    assert train(longer, resume=True).exists()


def test_a_run_is_resumed_with_its_settings_only(tmp_path: Path) -> None:
    """Length and hardware may change: a run may go on longer, or elsewhere."""
    settings = {"optimizer": {"lr": 0.1}, "trainer": {"max_steps": 5, "batch": 4, "devices": 1}}
    keep_settings(tmp_path, deep_merge(settings, {"seed": 7}))
    keep_settings(tmp_path, settings)  # the first try ended before its first checkpoint
    (tmp_path / "last.ckpt").touch()
    keep_settings(tmp_path, deep_merge(settings, {"trainer": {"max_steps": 9, "devices": 2}}))
    for differing, key in (
        ({"optimizer": {"lr": 0.2}}, "optimizer.lr=0.1, not 0.2"),
        ({"trainer": {"batch": 8}}, "trainer.batch=4, not 8"),
        ({"seed": 1}, "seed=None, not 1"),
    ):
        with pytest.raises(RecipeError, match=key):
            keep_settings(tmp_path, deep_merge(settings, differing))
    keep_settings(tmp_path / "tuned", {"settings": settings, "data": ["a"]})
    (tmp_path / "tuned" / "folds-0").mkdir()
    (tmp_path / "tuned" / "folds-0" / "fold-1.npy").touch()
    keep_settings(
        tmp_path / "tuned",
        {"settings": deep_merge(settings, {"trainer": {"max_steps": 9}}), "data": ["a"]},
    )
    with pytest.raises(RecipeError, match="data="):
        keep_settings(tmp_path / "tuned", {"settings": settings, "data": ["b"]})
