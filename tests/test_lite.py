"""ultrasam.lite in a Python that may import nothing but NumPy, Pillow and onnxruntime."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ultrasam import lite
from ultrasam.errors import CheckpointError
from ultrasam.inference.predictor import Predictor
from ultrasam.model.preprocessing import TestTimeAugmentation
from ultrasam.model.ultrasam import UltraSam
from ultrasam.prompts import Prompt
from ultrasam.runtimes.onnx_backend import OnnxBackend
from ultrasam.weights.exported import read_exported

# What the three packages need themselves: protobuf and flatbuffers.
ALLOWED = ("ultrasam", "numpy", "PIL", "onnxruntime", "google", "flatbuffers", "packaging")
BLOCK = f"""
import sys

class Only:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in {ALLOWED}:
            raise ModuleNotFoundError("No module named " + repr(top), name=top)

sys.meta_path.insert(0, Only())
"""
SCRIPT = """
from ultrasam import lite
import numpy as np

predictor = lite.load(sys.argv[1])
predictor.set_image(sys.argv[2])
prompts = [lite.Prompt(points=[(100, 70)]), lite.Prompt(box=(60, 40, 150, 110)),
           lite.Prompt(points=[(100, 70), (20, 20)], labels=[1, 0])]
found = predictor.predict(prompts)
three = predictor.predict(prompts, multimask=True)
np.savez(sys.argv[3], masks=found.masks, iou=found.predicted_iou, three=three.masks)
assert not {"torch", "cv2"} & set(sys.modules)
try:
    predictor.set_image("cine.mp4")
except lite.UltraSamError as error:
    print(error)
"""
PAGE = (Path(__file__).parents[1] / "docs" / "runtimes.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


def sector(size: tuple[int, int] = (160, 210)) -> np.ndarray:
    """A scan with speckle in a sector and black around it."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: size[0], : size[1]]
    inside = (np.hypot(x - 105, y + 20) < 170) & (np.abs(x - 105) < 0.8 * (y + 20))
    organ = ((x - 100) / 40) ** 2 + ((y - 75) / 28) ** 2 < 1
    return (rng.rayleigh(30 + 50 * organ) * inside).clip(0, 255).astype(np.uint8)


def test_lite_segments_as_the_predictor_does_without_torch_and_opencv(
    exported_nano: Path, small_nano: UltraSam, tmp_path: Path
) -> None:
    Image.fromarray(sector()).save(tmp_path / "scan.png")
    # Enough of a movie's header to be taken for one.
    (tmp_path / "cine.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(600))
    out = tmp_path / "out.npz"
    printed = run_alone(SCRIPT, exported_nano, "scan.png", out, cwd=tmp_path)
    assert "Reading MP4 and AVI needs OpenCV" in printed
    found = np.load(out)
    predictor = Predictor(small_nano)
    predictor.set_image(tmp_path / "scan.png")
    prompts = [
        Prompt(points=[(100, 70)]),
        Prompt(box=(60, 40, 150, 110)),
        Prompt(points=[(100, 70), (20, 20)], labels=[1, 0]),
    ]
    expected = predictor.predict(prompts)
    assert np.abs(found["iou"] - expected.predicted_iou).max() < 0.01
    assert expected.masks.any()
    for ours, theirs in zip(found["masks"], expected.masks, strict=True):
        assert dice(ours, theirs) > 0.99
    three = predictor.predict(prompts, multimask=True).masks
    assert found["three"].shape == three.shape


def test_the_example_in_the_docs_runs(exported_nano: Path, tmp_path: Path) -> None:
    Image.fromarray(sector((300, 320))).save(tmp_path / "scan.png")
    printed = run_alone(EXAMPLE, exported_nano, "scan.png", 110, 100, cwd=tmp_path)
    assert "pixels in the box" in printed
    assert Image.open(tmp_path / "mask.png").size == (320, 300)


def run_alone(code: str, *arguments: object, cwd: Path) -> str:
    """Run code in a Python without any other package; what it prints."""
    command = [sys.executable, "-c", BLOCK + code, *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    assert run.returncode == 0, run.stderr
    return run.stdout


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float((2 * (a & b).sum() + 1) / (a.sum() + b.sum() + 1))


def test_with_opencv_lite_is_the_predictor_over_the_same_graphs(exported_nano: Path) -> None:
    ours, theirs = lite.load(exported_nano), Predictor(OnnxBackend(read_exported(exported_nano)))
    for predictor in (ours, theirs):
        predictor.set_image(sector())
    prompt = Prompt(points=[(100, 70)])
    assert np.array_equal(ours.predict(prompt).masks, theirs.predict(prompt).masks)
    assert (ours.tta, ours.postprocessor) == (theirs.tta, theirs.postprocessor)
    assert lite.load(exported_nano, tta=False).tta == TestTimeAugmentation()


def test_a_folder_for_another_runtime_is_refused(exported_nano: Path, tmp_path: Path) -> None:
    about = json.loads((exported_nano / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps({**about, "runtime": "openvino"}))
    with pytest.raises(CheckpointError, match="is exported for openvino; export the model with"):
        lite.load(tmp_path)
    with pytest.raises(CheckpointError, match="Cannot read"):
        lite.load(tmp_path / "nothing")
