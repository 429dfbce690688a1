"""The wheel as people get it: what is in it, and that the base install and each extra alone are enough."""

from __future__ import annotations

import json
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.datasets.layouts.rar import rar4
from tests.images.files import sample_files
from tests.wheel.environment import EXTRAS, PICTURE, run

pytestmark = pytest.mark.slow


def test_the_wheel_holds_what_is_needed_and_nothing_of_ours(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert {
            "ultrasam/py.typed",
            "ultrasam/napari/napari.yaml",
            "ultrasam/recipes/nano.yaml",
            "ultrasam/recipes/evaluation/paper.yaml",
            "ultrasam/weights/nano/README.md",
        } <= names
        assert any(
            n.startswith("ultrasam/weights/nano/") and n.endswith(".safetensors") for n in names
        )
        assert any(n.endswith(".dist-info/licenses/LICENSE") for n in names)
        tops = {n.split("/")[0] for n in names}
        assert len(tops) == 2, tops
        for name in names:
            if name.endswith((".py", ".yaml", ".md", ".html", ".js", "METADATA")):
                text = archive.read(name).decode()
                assert "../shared" not in text, name
                assert "/work/" not in text, name


def test_the_base_install_segments_a_picture_from_python(base: Path, tmp_path: Path) -> None:
    code = (
        "import ultrasam; found = ultrasam.segment('phantom.png', box=(192, 58, 534, 402)); "
        "print(found.best.shape, round(float(found.predicted_iou.max()), 2))"
    )
    (tmp_path / "phantom.png").symlink_to(PICTURE)
    out = run(base, "-c", code, folder=tmp_path)
    assert out.returncode == 0, out.stderr
    assert out.stdout.startswith("(1, ")


def test_the_base_install_predicts_from_the_command_line(base: Path, tmp_path: Path) -> None:
    files = sample_files(tmp_path)
    inputs = [files[name] for name in ("png", "jpg", "tif", "gif", "bmp", "mp4", "avi")]
    command = ("-m", "ultrasam", "predict", *inputs, "--box", "5,5,40,40", "-o", "out")
    out = run(base, *command, folder=tmp_path)
    assert out.returncode == 0, out.stderr
    assert len(json.loads((tmp_path / "out" / "predictions.json").read_text())) >= len(inputs)
    listed = run(base, "-m", "ultrasam", "models", "--json", folder=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert "nano" in {row["name"] for row in json.loads(listed.stdout)}


HELP = """
import sys
import typer.main
from ultrasam.cli import main

def paths(command, path=()):
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from paths(inner, (*path, name))

found = list(paths(typer.main.get_command(main.app)))
for path in found:
    sys.argv = ["ultrasam", *path, "--help"]
    try:
        main.run()
    except SystemExit as stop:
        assert not stop.code, path
print("helped", len(found))
"""


def test_every_command_has_help_without_any_extra(base: Path, tmp_path: Path) -> None:
    out = run(base, "-c", HELP, folder=tmp_path)
    assert out.returncode == 0, out.stderr
    assert int(out.stdout.split()[-1]) > 10


MISSING = [
    ("dicom", "Reading DICOM", ["predict", "{dcm}", "--box", "5,5,40,40"]),
    ("volumes", "Reading NIfTI, MHA and NRRD", ["predict", "{nii}", "--box", "5,5,40,40"]),
    ("hub", "Downloading", ["predict", "{png}", "--box", "5,5,40,40", "--model", "sam-vit-b"]),
    ("data", "Working with data sets", ["data", "list"]),
    ("data", "A sharded run", ["predict", "{png}", "--box", "5,5,40,40", "--workers", "0"]),
    ("train", "Training", ["train", "nano"]),
    ("evaluate", "Evaluation", ["evaluate", "ellipse", "--data", "."]),
    ("downstream", "Fine-tuning", ["finetune", "classify", "--data", "."]),
    ("downstream", "Writing features", ["embed", "{png}", "-o", "features.parquet"]),
]


@pytest.mark.parametrize(("extra", "what", "command"), MISSING)
def test_what_needs_an_extra_names_it_in_one_line(
    base: Path, tmp_path: Path, extra: str, what: str, command: list[str]
) -> None:
    files = {name: str(path) for name, path in sample_files(tmp_path).items()}
    arguments = [part.format(**files) for part in command]
    out = run(base, "-m", "ultrasam", *arguments, folder=tmp_path)
    assert out.returncode == 1
    (line,) = [line for line in out.stderr.splitlines() if "ultrasam[" in line]
    assert what in line
    assert f"needs the extra '{extra}': pip install 'ultrasam[{extra}]'." in line


EACH = {
    "dicom": "from ultrasam import read_scan; print(read_scan('j2k.dcm').frame().shape)",
    "volumes": "from ultrasam import read_scan; print(read_scan('v.nii').frame().shape)",
    "outputs": "import ultrasam.images.writing.dicom_seg, ultrasam.images.deidentification.files, "
    "highdicom, nibabel",
    "hub": "import ultrasam.weights.download, ultrasam.download",
    "archives": "from pathlib import Path; from ultrasam.datasets.archives import unpack; "
    "print(unpack(Path('x.rar'), Path('out')))",
}
EXPORT = "from pathlib import Path; from ultrasam.runtimes.export import export; "
for to in ("onnx", "openvino"):
    EACH[to] = f"import ultrasam.runtimes.{to}_backend, {to}{'runtime' * (to == 'onnx')}"
EACH["export"] = EXPORT + "print(export('nano', Path('out')).folder)"
EACH["client"] = "import ultrasam.client, httpx; ultrasam.client.Client"
EACH["dicomweb"] = (
    "import ultrasam.dicomweb.client as c; c.DicomWebClient('http://127.0.0.1:1/dicom-web')"
)
EACH["serve"] = "import ultrasam.serve.run, ultrasam.client"
EACH["annotate"] = "import ultrasam.annotate.server.app, ultrasam.annotate.server.run, scipy"
DATA = ["datasets", "phantom", "store"]
ROOMS = {
    "data": DATA,
    "train": [*DATA, "training"],
    "evaluate": [*DATA, "evaluation"],
    "downstream": [*DATA, "evaluation", "downstream"],
}
WALK = """
import importlib, pkgutil, ultrasam
for room in {rooms}:
    package = importlib.import_module("ultrasam." + room)
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
"""
EACH["cluster"] = "import ray, ultrasam.cluster.run, ultrasam.cluster.ray_engine"
COMMANDS = {
    "data": ["data", "list", "--json"],
    "train": ["train", "nano", "data.sources=[]", "data.phantoms.count=4", "--dry-run"],
    "evaluate": ["evaluate", "--help"],
    "downstream": ["embed", "a.png", "-o", "features.parquet"],
}


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_alone_is_enough(
    base: Path, extra_folder: dict[str, Path], tmp_path: Path, extra: str
) -> None:
    if extra == "cluster" and find_spec("ray") is None:
        pytest.skip("Ray, which the extra 'cluster' installs, is not in this environment")
    sample_files(tmp_path)
    (tmp_path / "x.rar").write_bytes(rar4({"a.txt": b"alpha"}))
    code = EACH.get(extra) or WALK.format(rooms=ROOMS[extra])
    out = run(base, "-c", code, folder=tmp_path, also=extra_folder[extra])
    assert out.returncode == 0, out.stderr
    if extra in COMMANDS:
        command = ("-m", "ultrasam", *COMMANDS[extra])
        out = run(base, *command, folder=tmp_path, also=extra_folder[extra])
        assert out.returncode == 0, out.stderr
