"""Help, and every error that needs no data, come before anything heavy is imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import COMMANDS

HEAVY = ("torch", "lightning", "transformers", "polars", "SimpleITK", "sklearn", "matplotlib")
_RUN = """
import contextlib, io, json, sys
from ultrasam.cli.main import run
out = []
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["ultrasam", *arguments]
    errors = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        try:
            run()
        except SystemExit as stop:
            status = stop.code
    out.append([status, errors.getvalue(), [m for m in json.loads(HEAVY) if m in sys.modules]])
print(json.dumps(out))
"""


def run_all(
    lines: list[list[str]], folder: Path, environment: dict[str, str] | None = None
) -> list[tuple[int, str, list[str]]]:
    """Status, standard error and the heavy modules imported so far, of commands run in one process."""
    code = f"HEAVY = {json.dumps(json.dumps(HEAVY))}\n{_RUN}"
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(lines)],
        capture_output=True, text=True, check=True, cwd=folder,
        env=environment,
    )  # fmt: skip
    return [tuple(entry) for entry in json.loads(done.stdout)]


def test_the_help_of_every_command_imports_nothing_heavy(tmp_path: Path) -> None:
    lines = [[], ["--help"], ["--version"], *([*name.split(), "--help"] for name in COMMANDS)]
    for line, (status, error, heavy) in zip(lines, run_all(lines, tmp_path), strict=True):
        assert (status, error, heavy) == (0, "", []), line


MISTAKES = [
    ("train nano trainer.stepz=3", "unknown key"),
    ("train nano data.sources=[] init=nonsense", "neither a file nor a known model"),
    ("train nano", "the folder raw/USGRA-seg does not exist"),
    ("train base-mixed data.store.path=nowhere", "There is no store at nowhere"),
    ("train nano data.sources=[] -o file", "file is a file"),
    ("train nano data.sources=[] --device gpu", "is not a device"),
    ("train nano data.sources=[] --json", "--json applies to --dry-run only"),
    ("train nonsense", "Unknown recipe 'nonsense'"),
    ("finetune promptable --data . trainer.stepz=3", "unknown key"),
    ("finetune promptable --data nowhere", "nowhere does not exist; --data takes a folder, a store or a"),
    ("finetune promptable --data . --init nonsense", "neither a file nor a known model"),
    ("train nano --data nowhere", "nowhere does not exist; --data takes a folder, a store or a file"),
    ("finetune classify --data . trainer.stepz=3", "unknown key"),
    ("finetune classify --data nowhere", "nowhere does not exist"),
    ("finetune classify --data . --init nonsense", "neither a file nor a known model"),
    ("finetune classify --data . --class a,b", "--class a --class b"),
    ("finetune classify --data . --class a", "repeat --class, because 'a' is only one."),
    ("train smoke trainer.stepz=3", "ultrasam: 'trainer.stepz=3': unknown key 'trainer.stepz'"),
    ("train smoke trainer.max_steps=abc", "'trainer.max_steps=abc': trainer.max_steps: Input should be"),
    ("embed file -o x.csv", "x.csv must end in .parquet; choose another -o."),
    ("data show store -o x.jpg", "x.jpg must end in .png; choose another -o."),
    ("finetune classify --data . --folds 3 --test-data .", "not both"),
    ("finetune classify --data . -o file", "file is a file"),
    ("finetune classify --data . --resume", "contains no run"),
    ("finetune regions --data . --init nano --init medsam", "takes one --init"),
    ("finetune instances --data . --test-data nowhere", "--test-data takes"),
    ("finetune instances --data . --test-data . --test-fraction 0.3", "not both"),
    ("finetune suite nonsense --data .", "Unknown recipe 'nonsense'"),
    ("finetune suite downstream/paper --data . titel=3", "unknown key"),
    ("finetune suite downstream/paper --data nowhere", "nowhere does not exist"),
    ("predict a.png --box 1,2,3,4 --model nonsense", "neither a file nor a known model"),
    ("predict a.png", "No prompt is given"),
    ("predict a.png --box 1,2,3,4", "a.png does not exist"),
    ("predict file --box 1,2,3,4 -o file", "file is a file"),
    ("predict file --box 1,2,3,4 --min-score 0.3", "no use for --min-score"),
    ("predict file --box 1,2,3,4 --model nano+bf16 --precision fp32", "names a precision already"),
    ("measure a.png", "Nothing says what to measure"),
    ("measure a.png --box 1,2,3,4 --kind heart", "'heart' is not a kind of structure"),
    ("measure a.png --mask m.png", "a.png does not exist"),
    ("measure file --mask m.png -o file", "file is a file"),
    ("embed a.png --model nonsense", "neither a file nor a known model"),
    ("embed a.png", "a.png does not exist"),
    ("embed file -o file/x.parquet", "file is a file"),
    ("evaluate nonsense --data .", "neither a file nor a known model"),
    ("evaluate nano --data nowhere", "nowhere does not exist"),
    ("evaluate nano --data . --prompt-type square", "square"),
    ("evaluate nano --data . --prompt-type box,point", "--prompt-type box --prompt-type point"),
    ("evaluate nano --data . --split test", "--split applies to stores"),
    ("evaluate nano --data . -o file", "file is a file"),
    ("evaluate evaluation/paper --data . --title x", "is a suite"),
    ("evaluate ./parity --data .", "'./parity' is neither a file nor a known model"),
    ("evaluate parity --model nonsense", "neither a file nor a known model"),
    ("evaluate parity --model nano", "sample_dataset does not exist"),
    ("evaluate parity --model nano --expect gone.yaml", "gone.yaml does not exist"),
    ("compare a.jsonl b.jsonl", "a.jsonl does not exist"),
    ("compare . file", ". is a folder; give a file in it, ./MODEL.jsonl."),
    ("recipes copy nonsense", "Unknown recipe 'nonsense'"),
    ("recipes copy nano file/nano.yaml", "file is a file; choose another DEST."),
    ("data build nowhere -o store", "nowhere does not exist; RAW takes a folder or an archive."),
    ("data build . -o file", "file is a file"),
    ("data build . -o store --val-fraction 0.9 --test-fraction 0.2", "sum to 1 or more"),
    ("data import nowhere --name a --format coco -o store", "The folder nowhere does not exist"),
    ("data import . --name a --format coco --structure x -o store", "--format masks"),
    ("data import . --name a --format labelme --attribute x -o store", "--format coco, via, cvat"),
    ("data export store --format coco -o file", "file is a file"),
    ("--quiet --verbose models", "not both"),
]  # fmt: skip
# On a machine without a GPU.
NO_GPU = [
    "train nano data.sources=[] data.phantoms.count=2",
    "train nano data.sources=[] data.phantoms.count=2 --dry-run",
    "finetune promptable --data .",
    "finetune classify --data .",
    "finetune regions --data .",
    "finetune instances --data .",
    "finetune suite downstream/paper --data .",
    "predict file --box 1,2,3,4",
    "embed file",
    "evaluate nano --data .",
    "evaluate ellipse --data .",
    "evaluate parity --model nano",
    "evaluate few-shot nano --data .",
]
USAGE = [
    ("predict", "Missing argument 'INPUT'; see 'ultrasam predict --help'."),
    ("predict a.png --frame x", "Invalid value for '--frame'"),
    (
        "predict a.png --precision int1",
        "Invalid value for '--precision': 'int1' is not one of 'fp32', ",
    ),
    ("fly", "No such command 'fly'; see 'ultrasam --help'."),
    ("daat", "No such command 'daat'. Did you mean 'data'? See 'ultrasam --help'."),
    ("predict a.png --once", "'ultrasam predict' has no option --once; use --no-tta."),
    ("predict a.png --quiet", "write 'ultrasam --quiet COMMAND'"),
    ("evaluate nano --data . --prompts box,point", "repeat --prompt-type TYPE"),
    ("evaluate", "Missing argument 'MODEL'; see 'ultrasam evaluate --help'."),
    ("evaluate parity", "Missing option '--model'; see 'ultrasam evaluate parity --help'."),
    ("evaluate parity --weights nano", "has no option --weights; use --model."),
    ("finetune instances --data . --labels image", "has no option --labels; use --class-from."),
    ("finetune classify --data . --classes a,b", "repeat --class NAME"),
    ("data build . -o store --only busi", "use --dataset"),
    ("data export store --format xml -o x", "'--format'"),
    ("data check store", "is now called 'ultrasam data validate'"),
    ("finetune segment", "is now called 'ultrasam finetune instances'"),
]


def test_mistakes_that_need_no_data_are_one_sentence_and_import_nothing_heavy(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("in the way")
    lines = [text.split() for text, _ in (*MISTAKES, *USAGE)]
    expected = [(1, words) for _, words in MISTAKES] + [(2, words) for _, words in USAGE]
    for line, wanted, found in zip(lines, expected, run_all(lines, tmp_path), strict=True):
        status, error, heavy = found
        assert wanted[1] in error, (line, error)
        assert status == wanted[0], line
        assert len(error.strip().splitlines()) == 1, error
        assert not set(heavy) - {"polars"}, line
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_gpu_that_is_missing_is_one_sentence_and_imports_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("an image")
    lines = [f"{text} --device cuda".split() for text in NO_GPU]
    lines.append(["finetune", "classify", "--data", ".", "trainer.accelerator=gpu"])
    none = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    for line, (status, error, heavy) in zip(lines, run_all(lines, tmp_path, none), strict=True):
        assert error == "ultrasam: Device 'cuda' is not available; use 'cpu'.\n", line
        assert status == 1, line
        assert not set(heavy) - {"polars"}, line
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["train", "finetune classify", "data list", "evaluate", "embed"])
def test_help_works_without_the_extras(name: str, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('lightning', 'polars', 'pyarrow', 'sklearn', 'scipy', 'h5py', 'yaml'):\n"
        "    sys.modules[name] = None\n"
        f"sys.argv = ['ultrasam', *{name.split()}, '--help']\n"
        "from ultrasam.cli.main import run\nrun()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"ultrasam {name}" in done.stdout
