"""What weights have seen: the registry's, and those of our recipes with their initial weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import TINY, randomized
from tests.reference.test_transformers_sam import peer_of
from ultrasam.datasets.catalogue import catalogue
from ultrasam.evaluation.models.registry import open_evaluation_model
from ultrasam.evaluation.models.trained_on import trained_on
from ultrasam.training.recipe import Recipe, load_recipe, save_recipe
from ultrasam.training.shipped import recipe_path
from ultrasam.weights.hub import save_pretrained
from ultrasam.weights.registry import REGISTRY

# Images of HC18 are in Fast-U-Net's data, too, and those of DL_Track in FALLMUD.
NANO = {
    "busi", "bus_uclm", "ccaui", "dl_track", "hc18", "usgra_seg", "phantoms", "fast_u_net", "fallmud",
}  # fmt: skip


def run_folder(place: Path, *, in_model: bool = False, **data: object) -> Path:
    """A run with tiny weights, and the model's folder."""
    init = data.pop("init", None)
    recipe = load_recipe(recipe_path("nano")).model_dump(mode="json")
    empty = {"store": None, "sources": [], "phantoms": {"count": 0}}
    recipe |= {"data": {**empty, **data}, "init": init}
    save_pretrained(randomized(TINY), place / "model")
    file = place / "model" / "recipe.yaml" if in_model else place / "recipe.yaml"
    save_recipe(Recipe(**recipe), file)
    return place / "model"


def test_every_registered_name_is_known_or_known_to_be_unknown() -> None:
    paper = {name for name, spec in catalogue().items() if spec.info.part_of_paper}
    assert len(paper) == 43
    # They have images or patients in common with one of the 43.
    paper |= {"dl_track", "jnu_ifm", "psfhs", "mu_reg_pro_holdout"}
    expected: dict[str, set[str] | None] = {
        "nano": NANO, "ultrasam": paper, "medsam": None,
        "sam-vit-b": set(), "sam-vit-l": set(), "sam-vit-h": set(),
    }  # fmt: skip
    assert {name: trained_on(name) for name in REGISTRY} == expected
    assert trained_on("ultrasam+refine+bf16") == paper
    assert (trained_on("random:vit-b"), trained_on("imagenet")) == (set(), set())
    assert trained_on("facebook/sam2.1-hiera-tiny") == trained_on("facebook/sam-vit-huge") == set()
    assert trained_on("somebody/sam-vit-base") is trained_on("wanglab/medsam-vit-base") is None


def test_nanos_ids_are_those_of_its_recipe() -> None:
    data = load_recipe(recipe_path("nano")).data
    ids = {s.dataset.lower().replace("-", "_") for s in data.sources}
    assert ids | {"phantoms", "fast_u_net", "fallmud"} == trained_on("nano")


def test_an_opened_model_says_what_it_has_seen(tmp_path: Path) -> None:
    assert open_evaluation_model("nano", device="cpu").trained_on == NANO
    assert open_evaluation_model("ellipse").trained_on == set()
    peer_of(randomized(TINY)).save_pretrained(tmp_path / "sam")
    assert open_evaluation_model(f"transformers:{tmp_path / 'sam'}").trained_on is None
    model = run_folder(tmp_path / "run", phantoms={"count": 3})
    assert open_evaluation_model(str(model), device="cpu").trained_on == {"phantoms"}


@pytest.mark.parametrize("in_model", [False, True])
def test_the_recipe_beside_weights_names_their_data_and_those_of_the_initial_weights(
    tmp_path: Path, in_model: bool
) -> None:
    sources = [
        {"dataset": "BUS-BRA", "path": "raw/BUSBRA"},
        {"dataset": "image_mask_folder", "path": "clinic/scans"},
        {"dataset": "coco", "path": "clinic/lesions.json"},
    ]
    first = run_folder(tmp_path / "first", in_model=in_model, sources=sources)
    seen = {"bus_bra", "scans", "lesions"}
    assert trained_on(str(first)) == seen
    assert trained_on(str(first / "model.safetensors")) == seen
    store = {"path": "gone", "datasets": ["camus", "ddti"]}
    second = run_folder(tmp_path / "second", in_model=in_model, init=str(first), store=store)
    assert trained_on(str(second)) == seen | {"camus", "ddti"}
    third = run_folder(tmp_path / "third", in_model=in_model, init="nano", store=store)
    assert trained_on(str(third)) == NANO | {"camus", "ddti"}


def test_what_cannot_be_told_is_unknown_not_empty(tmp_path: Path) -> None:
    store = {"path": str(tmp_path / "gone")}
    assert trained_on(str(run_folder(tmp_path / "a", store=store))) is None  # all of a lost store
    assert trained_on(str(run_folder(tmp_path / "b", init="medsam"))) is None
    assert trained_on(str(run_folder(tmp_path / "c", init=str(tmp_path / "gone.pth")))) is None
    model = run_folder(tmp_path / "d", phantoms={"count": 3})
    (tmp_path / "d" / "recipe.yaml").write_text("name: [")
    assert trained_on(str(model)) is None
    shutil.move(model, tmp_path / "elsewhere")
    assert trained_on(str(tmp_path / "elsewhere")) is None
    loop = run_folder(tmp_path / "e", init=str(tmp_path / "e" / "model"))
    assert trained_on(str(loop)) is None
