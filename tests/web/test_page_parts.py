"""Parts of the page that need no browser: kinds of files, the window of gray levels, names of inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.web.node import SITE, attempt, call

READ = """
import {{ readFile }} from '{site}/reading/read.js';
export const read = (name, bytes) => readFile(new File([bytes], name));
"""
FILES = {
    "clip.mp4": (b"\0\0\0\x20ftypisom", "a video"),
    "clip.avi": (b"RIFF\x24\0\0\0AVI LIST", "a video"),
    "volume.mha": (b"ObjectType = Image\nNDims = 3\n", "a MetaImage volume or sequence"),
    "volume.nrrd": (b"NRRD0004\n", "an NRRD volume or sequence"),
    "volume.nii": (b"\0" * 344 + b"n+1\0", "a NIfTI volume"),
    "scan.tif": (b"II*\0", "a TIFF"),
    "scans.zip": (b"PK\x03\x04", "an archive"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_the_page_does_not_read_is_named(tmp_path: Path, name: str) -> None:
    bridge = tmp_path / "bridge.mjs"
    bridge.write_text(READ.format(site=SITE.as_posix()))
    content, kind = FILES[name]
    (answer,) = attempt(tmp_path, str(bridge), ("read", [name, content]))
    assert answer["$error"] == (
        f"{name} cannot be read. It is {kind}, which this page does not read; give PNG, JPEG or DICOM."
    )


def test_a_window_maps_its_level_to_mid_gray_and_its_width_to_all_levels(tmp_path: Path) -> None:
    settings = [
        {"level": 128, "width": 256},
        {"level": 60, "width": 40},
        {"level": 20, "width": 100},
    ]
    whole, narrow, low = call(
        tmp_path, "page/gray_window.js", *(("tableOf", [each]) for each in settings)
    )
    assert whole is None
    assert narrow[60] == low[20] == 128
    assert not narrow[:41].any()
    assert (narrow[80:] == 255).all()
    assert np.all(np.diff(narrow.astype(int)) >= 0)
    assert low[0] == round((0 + 30) / 100 * 256)


def description(**changes: Any) -> dict[str, Any]:
    """What the page reads of a model.json, with names of its own."""

    def tensors(*names: str) -> list[dict[str, str]]:
        return [{"name": name} for name in names]

    return {
        "format": "ultrasam-export", "format_version": 1, "name": "m", "license": "MIT",
        "prompt_types": ["point", "box"], "sizes": {"mask_size": 64},
        "preprocessing": {"resample": "area", "scale": "mean-std"},
        "test_time_augmentation": {"zoom": 0, "flip": False}, "postprocessing": {},
        "graphs": {
            "encoder": {"inputs": tensors("x"), "outputs": tensors("e", "f")},
            "decoder": {"inputs": tensors("e", "f", "c", "l", "m", "h"), "outputs": tensors("o", "q")},
        },
        **changes,
    }  # fmt: skip


def test_names_of_inputs_and_outputs_are_those_of_the_model(tmp_path: Path) -> None:
    (found,) = call(tmp_path, "segmentation/network.js", ("readModel", [description()]))
    assert found["names"] == {
        "pixels": "x",
        "embedding": ["e", "f"],
        "prompts": ["c", "l", "m", "h"],
        "outputs": ["o", "q"],
    }


def test_a_model_that_the_page_does_not_know_is_refused(tmp_path: Path) -> None:
    graphs = description()["graphs"]
    graphs["decoder"]["inputs"].append({"name": "text"})
    models = [
        description(format_version=2),
        description(graphs=graphs),
        description(preprocessing={"resample": "bicubic-antialias", "scale": "mean-std"}),
    ]
    answers = attempt(tmp_path, "segmentation/network.js", *(("readModel", [m]) for m in models))
    for answer, words in zip(
        answers, ("export both again", "export it again", "cannot resample"), strict=True
    ):
        assert words in answer["$error"]


ACCEPTS = """
import {{ Predictor }} from '{site}/segmentation/predictor.js';
export const ask = async (accepts, prompt) => {{
  const predictor = new Predictor({{ model: {{ accepts }} }});
  await predictor.predict(prompt);
}};
"""


def test_a_prompt_that_the_model_was_not_trained_with_is_refused(tmp_path: Path) -> None:
    bridge = tmp_path / "bridge.mjs"
    bridge.write_text(ACCEPTS.format(site=SITE.as_posix()))
    click = {"points": [{"x": 1, "y": 1, "label": 1}], "box": None, "mask": None}
    (answer,) = attempt(tmp_path, str(bridge), ("ask", [["box"], click]))
    assert answer["$error"] == "This model takes no clicks; drag a box."


def test_a_graphics_card_must_give_the_processors_masks(tmp_path: Path) -> None:
    mask = np.zeros(10_000, np.uint8)
    mask[2000:6000] = 1
    nearly, other = mask.copy(), mask.copy()
    nearly[2000] = 0
    other[2000:2100] = 0
    expected = [{"mask": mask, "iou": 0.9}]
    cases: list[tuple[npt.NDArray[np.uint8], float]] = [
        (mask, 0.9), (nearly, 0.905), (other, 0.9), (mask, 0.8), (np.zeros_like(mask), 0.9),
    ]  # fmt: skip
    found = call(
        tmp_path, "page/graphics_card.js",
        *(("differenceOf", [[{"mask": m, "iou": iou}], expected]) for m, iou in cases),
    )  # fmt: skip
    same, close, differs, rates, empty = found
    assert same is close is None
    assert differs == "its masks differ from the processor's (Dice 0.987)."
    assert rates == "it rates masks otherwise than the processor."
    assert "Dice 0.000" in empty
