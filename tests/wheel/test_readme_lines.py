"""The README's shell lines run as printed, in order, each with the extras that the README names for it."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom.uid import generate_uid

from tests.images.files import dicom_bytes
from tests.wheel.environment import PICTURE, ROOT, run, serve
from ultrasam.phantom.acquisition import simulate

pytestmark = pytest.mark.slow

TINY = [
    "trainer.max_steps=2",
    "trainer.checkpoint_every=1",
    "trainer.batch=2",
    "data.phantoms.count=4",
]
# What is added to a line so that it takes seconds; the others run as they stand.
SHORTER: dict[str, list[str]] = {
    "ultrasam train smoke": ["trainer.max_steps=2"],
    "ultrasam train nano --data my/": TINY,
    "ultrasam train nano --data my/ trainer.batch=32 name=mine": TINY,
    "ultrasam train nano --data my/ trainer.batch=32 name=mine --resume": TINY,
    "ultrasam evaluate nano ellipse --data store": ["--limit", "2"],
    "ultrasam evaluate evaluation/full --data store": ["--limit", "1"],
    "ultrasam evaluate few-shot nano --data store": [
        "--shots", "1", "--draws", "1", "--steps", "2", "--limit", "2", "--repeats", "1",
    ],
    "ultrasam finetune promptable --data my/": ["trainer.max_steps=2", "trainer.batch=2"],
    "ultrasam finetune classify --data classes/ --init nano --init random:nano --out classifier": [
        "size=64", "trainer.max_steps=2",
    ],
    "ultrasam finetune instances --data store --out segmenter": [
        "size=64", "trainer.max_steps=2", "trainer.batch=2",
    ],
}  # fmt: skip
# What serves until it is ended: what is added, what is asked for, and what is in the answers.
SERVES = {
    "ultrasam annotate images/": (
        ["--no-browser", "--port", "0"],
        {"": "<title>UltraSam annotate</title>", "v1/project": '"images":1'},
    ),
    "ultrasam serve": (["--port", "0"], {"health": '"status":"ok"', "openapi.json": "/v1/predict"}),
}
# What is not run here, and why.
LEFT_OUT = {
    "ultrasam evaluate parity --model UltraSam.pth --data UltraSam/sample_dataset":
        "needs the published weights",
}  # fmt: skip


def shell_lines() -> list[tuple[str | None, str]]:
    """The commands in README.md, each with the extra that its block installs, or else None."""
    found = []
    for block in re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL):
        extra = None
        for line in block.splitlines():
            if match := re.match(r"pip install '\.\[(\w+)\]'", line):
                extra = match[1]
            elif line.startswith("ultrasam "):
                found.append((extra, shlex.join(shlex.split(line, comments=True))))
    return found


def arrange(folder: Path) -> None:
    """The files that the README's lines name."""
    scan = cv2.imread(str(PICTURE), cv2.IMREAD_GRAYSCALE)
    assert scan is not None
    small = cv2.resize(scan, (420, 340))
    known = {
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "Modality": "US",
    }
    screen = np.pad(small[40:-40, 40:-40], 40)  # black around the scan, as scanners show it
    (folder / "scan.dcm").write_bytes(dicom_bytes(screen, **known))
    writer = cv2.VideoWriter(
        str(folder / "cine.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (420, 340), isColor=False
    )
    for frame in range(14):
        writer.write(np.roll(small, frame, axis=1))
    writer.release()
    for name in ("images", "more", "new", "my/images", "my/masks"):
        (folder / name).mkdir(parents=True)
    for place in ("images/scan.png", "more/other.png", "new/scan.png"):
        cv2.imwrite(str(folder / place), small)
    prompts = {
        "*": [{"box": [120, 80, 260, 190]}, {"points": [[200, 140], [40, 30]], "labels": [1, 0]}]
    }
    (folder / "prompts.json").write_text(json.dumps(prompts))
    coco = {
        "images": [{"id": 7, "file_name": "scan.png", "width": 420, "height": 340}],
        "categories": [{"id": 3, "name": "cyst"}],
        "annotations": [],
    }
    (folder / "annotations.json").write_text(json.dumps(coco))
    for number in range(20):
        phantom = simulate(number, size=(160, 180))
        cv2.imwrite(str(folder / f"my/images/{number}.png"), phantom.pixels)
        mask = phantom.masks[0] if len(phantom.masks) else np.zeros((160, 180), bool)
        cv2.imwrite(str(folder / f"my/masks/{number}.png"), 255 * mask.astype(np.uint8))
        place = folder / "classes" / ("benign" if number % 2 else "malignant")
        place.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place / f"{number}.png"), phantom.pixels)
        busi = folder / "raw" / "BUSI" / "Dataset_BUSI_with_GT" / place.name
        busi.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(busi / f"{place.name} ({number + 1}).png"), phantom.pixels)
        cv2.imwrite(
            str(busi / f"{place.name} ({number + 1})_mask.png"), 255 * mask.astype(np.uint8)
        )


def test_every_line_of_the_readme_is_run_or_left_out_for_a_reason() -> None:
    lines = [line for _, line in shell_lines()]
    assert len(lines) > 20
    assert {*SHORTER, *SERVES, *LEFT_OUT} <= set(lines)


def test_the_readmes_shell_lines_run(
    base: Path, extra_folder: dict[str, Path], tmp_path: Path
) -> None:
    arrange(tmp_path)
    for extra, line in shell_lines():
        if line in LEFT_OUT:
            continue
        if extra is None and ".dcm" in line:
            extra = "dicom"
        also = extra_folder[extra] if extra else None
        if line in SERVES:
            more, wanted = SERVES[line]
            command = [*shlex.split(line)[1:], *more]
            pages = serve(
                base, "-m", "ultrasam", *command, paths=[*wanted], folder=tmp_path, also=also
            )
            for page, text in zip(pages, wanted.values(), strict=True):
                assert text in page, page
            continue
        command = [*shlex.split(line)[1:], *SHORTER.get(line, ())]
        out = run(base, "-m", "ultrasam", *command, folder=tmp_path, also=also)
        assert out.returncode == 0, f"{line}\n{out.stdout}\n{out.stderr}"
    results = tmp_path / "results"
    assert {p.name for p in results.glob("*_mask_*.png")} >= {"scan_mask_0.png", "other_mask_1.png"}
    assert list((tmp_path / "three").glob("*_candidates_0.png"))
    assert list((tmp_path / "runs" / "track").rglob("*_overlay.mp4"))
    assert list((tmp_path / "hospital").glob("*_seg.dcm"))
    assert list((tmp_path / "runs" / "measure").rglob("measurements.csv"))
    assert list((tmp_path / "runs" / "deidentify").rglob("*.dcm"))
    assert (tmp_path / "store" / "manifest.json").is_file()
    assert (tmp_path / "sheet.png").is_file()
    assert list((tmp_path / "runs" / "train" / "mine").glob("*.ckpt"))
    assert (tmp_path / "classifier").is_dir()
    assert (tmp_path / "segmenter").is_dir()
