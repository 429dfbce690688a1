"""Features of images, regions and patches, at any input size."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from tests.conftest import TINY, randomized
from ultrasam.cli import main
from ultrasam.downstream.features import Embedder, ModelInput, nearest, pca_picture
from ultrasam.errors import ConfigError
from ultrasam.files import atomic_write
from ultrasam.inference.predictor import Predictor
from ultrasam.model.ultrasam import UltraSam
from ultrasam.phantom.acquisition import simulate
from ultrasam.prompts import Prompt
from ultrasam.reporting.plots import jpeg


@pytest.fixture(scope="module")
def model() -> UltraSam:
    return randomized(TINY).eval()


def test_tokens_are_those_before_the_neck(model: UltraSam) -> None:
    size = model.config.image_size
    pixels = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        tokens = model.image_encoder.features(pixels)[-1]
        embedding = model.image_encoder.neck(tokens.permute(0, 3, 1, 2))
        assert torch.allclose(embedding, model.image_encoder(pixels)[0], atol=1e-5)
        several = model.image_encoder.features(pixels, blocks=[1, 0])
    assert len(several) == 2
    assert not torch.allclose(several[0], several[1])


@pytest.mark.parametrize("factor", [0.5, 1.5, 2])
def test_another_input_size_interpolates_positions(model: UltraSam, factor: float) -> None:
    patch = model.config.patch_size
    size = round(model.config.image_size * factor / patch) * patch
    pixels = simulate(3, size=(120, 160)).pixels
    usual = next(Embedder(model).images([pixels]))
    other = next(Embedder(model, size=size).images([pixels]))
    assert usual.shape == other.shape == (model.config.width,)
    assert np.isfinite(other).all()
    assert np.corrcoef(usual, other)[0, 1] > 0.4
    with pytest.raises(ConfigError, match="not a multiple"):
        Embedder(model, size=size + 1)


def test_batches_change_nothing_and_padding_does_not_count(model: UltraSam) -> None:
    frames = [simulate(i, size=(90 + 10 * i, 150)).pixels for i in range(5)]
    one = np.stack(list(Embedder(model, batch=1).images(frames)))
    many = np.stack(list(Embedder(model, batch=4).images(frames)))
    assert np.allclose(one, many, atol=1e-4)
    patches = Embedder(model).patches(frames[0])
    config = model.config
    preprocess = ModelInput(model.preprocessor, config.image_size, config.patch_size)
    _, shown = preprocess(frames[0])
    assert patches.shape[:2] == (int((shown > 0).any(1).sum()), int((shown > 0).any(0).sum()))
    weights = shown[: patches.shape[0], : patches.shape[1], None].numpy()
    assert np.allclose((patches * weights).sum((0, 1)) / weights.sum(), one[0], atol=1e-4)


def test_a_regions_features_are_those_of_its_patches(model: UltraSam) -> None:
    """Of an image that is the model's input as it is, so that patches are squares of 16 pixels."""
    pixels = simulate(3, size=(128, 128)).pixels
    prompts = [Prompt(box=(10, 10, 60, 60)), Prompt(points=[(100, 80)])]
    found = Embedder(model).regions(pixels, prompts)
    predictor = Predictor(model)
    predictor.set_image(pixels)
    patches = Embedder(model).patches(pixels)
    assert patches.shape == (8, 8, model.config.width)
    for features, mask in zip(found, predictor.predict(prompts).masks[:, 0], strict=True):
        covered = mask.reshape(8, 16, 8, 16).mean(axis=(1, 3))[..., None]
        assert 0 < covered.mean() < 1
        expected = (patches * covered).sum(axis=(0, 1)) / covered.sum()
        assert np.allclose(features, expected, atol=1e-4)


def test_the_nearest_and_the_components() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(20, 8)).astype(np.float32)
    assert nearest(features, features[7], 3)[0] == 7
    patches = rng.normal(size=(6, 9, 8)).astype(np.float32)
    picture = pca_picture(patches)
    assert picture.shape == (6, 9, 3)
    assert picture.dtype == np.uint8
    assert picture.std() > 10


def test_embed_writes_a_row_an_image_or_a_prompt_and_names_bad_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(3):
        gray = simulate(i, size=(90, 120)).pixels
        atomic_write(tmp_path / "in" / f"{i}.jpg", jpeg(np.repeat(gray[..., None], 3, 2)))
    atomic_write(tmp_path / "in" / "bad.png", b"not a picture")
    out = tmp_path / "f.parquet"
    monkeypatch.setattr(sys, "argv", ["ultrasam", "embed", str(tmp_path / "in"), "-o", str(out)])
    with pytest.raises(SystemExit) as stop:
        main.run()
    assert stop.value.code == 1
    assert "bad.png" in capsys.readouterr().err
    table = pl.read_parquet(out)
    assert [Path(p).name for p in table["path"]] == ["0.jpg", "1.jpg", "2.jpg"]
    assert set(table["features"].list.len()) == {192}
    prompts = tmp_path / "p.json"
    prompts.write_text('{"*": [{"box": [10, 10, 50, 50]}, {"points": [[60, 40]]}]}')
    monkeypatch.setattr(
        sys,
        "argv",
        [
            *sys.argv[:2],
            str(tmp_path / "in" / "0.jpg"),
            "--prompts",
            str(prompts),
            "-o",
            str(out),
            "--overwrite",
        ],
    )
    with pytest.raises(SystemExit) as stop:
        main.run()
    assert stop.value.code == 0
    assert pl.read_parquet(out)["prompt"].to_list() == [0, 1]
