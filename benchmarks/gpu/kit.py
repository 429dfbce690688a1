"""Tests, measures and trains UltraSam on a GPU machine, in a few minutes and without a network.

    python3 benchmarks/gpu/kit.py [--out FOLDER] [--minutes 9] [--train scratch] [--device cuda]

`make gpu-pack` first puts what is needed into `.gpu`. Every stage is a process of its own with a time limit;
if one fails, the others still run, and the exit status is 1. `report.md`, `figures.json` and the weights are
written as soon as they exist. docs/gpu.md explains each figure.

Only the standard library: the kit starts before any package is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import report

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PACKED = ROOT / ".gpu"
STAGES = ("tests", "figures", "train", "score")
TRAININGS = ("scratch", "continued")
# Tried by an import, since a packed wheel may not fit; the heavy ones only looked up.
NEEDED = ("pydantic", "pycocotools.mask", "platformdirs", "cv2", "pyarrow", "yaml", "filelock")
HEAVY = ("torch", "lightning", "transformers", "safetensors", "scipy", "matplotlib", "psutil", "PIL",
         "pytest", "typer", "rich")  # fmt: skip
LIMITS = {"tests": 170.0, "figures": 110.0, "phantoms": 120.0, "unpacking": 120.0}  # seconds
SCORING = 35.0  # seconds for the held-out images, for each weights
CLOSING = 8.0
SHORTEST = 40.0  # seconds of training that are worth starting


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line's options, checked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT") or "gpu-out"),
                        help="folder of results; $OUT, or gpu-out")  # fmt: skip
    parser.add_argument("--minutes", type=float, default=9.0, help="for everything; 9")
    parser.add_argument("--train", type=_some_of(TRAININGS), default=("scratch",), metavar="KINDS",
                        help="scratch, continued (from nano), both with a comma, or none")  # fmt: skip
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dry-run", action="store_true",
                        help="small sizes, to try the kit itself: with --device cpu")  # fmt: skip
    parser.add_argument("--skip", type=_some_of(STAGES), default=(), metavar="STAGES",
                        help=f"stages to leave out: {','.join(STAGES)}")  # fmt: skip
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                        help="a key of the recipe; repeat")  # fmt: skip
    return parser.parse_args(arguments)


def _some_of(known: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        given = () if text in ("", "none") else tuple(text.split(","))
        if unknown := set(given) - set(known):
            raise argparse.ArgumentTypeError(f"{min(unknown)!r} is none of {', '.join(known)}")
        return given

    return parse


class Kit:
    """One run: stages one after another, each with a time limit."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.begun = time.time()
        self.end = self.begun + 60 * arguments.minutes
        self.out = arguments.out.resolve()
        self.out.mkdir(parents=True, exist_ok=True)
        self.work = Path(tempfile.mkdtemp(prefix="ultrasam-gpu-"))
        self.store = self.work / "store"
        self.log = (self.out / "kit.log").open("ab", buffering=0)
        self.stages: list[dict[str, object]] = []
        self.env = dict(
            os.environ,
            PYTHONUNBUFFERED="1",
            HF_HUB_OFFLINE="1",
            ULTRASAM_CACHE=str(self.work / "cache"),
            PYTHONPATH=os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
        )

    def run(self) -> int:
        """Run all stages; the exit status."""
        a = self.arguments
        trained = () if "train" in a.skip else a.train
        try:
            self.stage("setup", self.set_up)
            phantoms = self.start_phantoms() if trained else None
            if "tests" not in a.skip:
                self.stage("tests", self.test)
            if "figures" not in a.skip:
                self.stage("figures", self.measure)
            if phantoms is not None:
                self.stage("phantoms", lambda: self.wait(phantoms, limit=LIMITS["phantoms"]))
            done = ["nano"]
            for i, kind in enumerate(trained):
                name = f"nano-{kind}"
                self.stage(f"training {name}", lambda k=kind, n=name, i=i: self.train(
                    k, n, left=len(trained) - i, scored=len(trained) + 1))  # fmt: skip
                weights = self.work / f"{name}.safetensors"
                if weights.exists():
                    shutil.copyfile(weights, self.out / weights.name)
                    done.append(str(weights))
            if "score" not in a.skip and self.store.exists():
                self.stage("score", lambda: self.score(done))
        finally:
            failed = self.report()
            self.log.close()
            shutil.rmtree(self.work, ignore_errors=True)
        return 1 if failed else 0

    def stage(self, name: str, call: Callable[[], object]) -> None:
        """Run one stage; an error is recorded and ends only this stage."""
        start = time.time()
        print(f"[{start - self.begun:5.0f} s] {name}", flush=True)
        problem = ""
        try:
            call()
        except Exception as error:
            problem = " ".join(f"{error}".split())[:400]
            print(f"    failed: {problem}", flush=True)
        self.stages.append(
            {"name": name, "seconds": round(time.time() - start, 1), "problem": problem}
        )
        self.report(quiet=True)

    def set_up(self) -> None:
        """Install packages that are missing, and unpack the store of training images."""
        wheels = sorted((PACKED / "wheels").glob("*.whl"))
        if wheels and not self.packages_are_there():
            site = self.work / "site"
            pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps",
                   "--no-compile", "--no-cache-dir", "--target", str(site), *map(str, wheels)]  # fmt: skip
            subprocess.run(pip, check=True, stdout=self.log, stderr=self.log)
            self.env["PYTHONPATH"] += os.pathsep + str(site)
        if not self.packages_are_there(log=True):
            raise RuntimeError(
                "a package is missing (see kit.log); run make gpu-pack and bring .gpu along"
            )
        data = PACKED / "data.zip"
        if not data.exists():
            raise RuntimeError("there is no .gpu/data.zip; run make gpu-pack where the data are")
        code = (f"import sys; sys.path.insert(0, {str(HERE)!r}); from pathlib import Path; import pack; "
                f"pack.unpack(Path({str(data)!r}), Path({str(self.store)!r}))")  # fmt: skip
        self.wait(self.start([sys.executable, "-c", code]), limit=LIMITS["unpacking"])

    def packages_are_there(self, *, log: bool = False) -> bool:
        code = (
            f"import {', '.join(NEEDED)}\nfrom importlib.util import find_spec\n"
            f"missing = [name for name in {HEAVY} if find_spec(name) is None]\n"
            "if missing: raise SystemExit(f'missing: {missing}')"
        )
        where = self.log if log else subprocess.DEVNULL
        done = subprocess.run(
            [sys.executable, "-c", code], env=self.env, stdout=where, stderr=where
        )
        return done.returncode == 0

    def phantom_count(self) -> list[str]:
        """Of a dry run; else the recipe's."""
        return ["16"] if self.arguments.dry_run else []

    def start_phantoms(self) -> subprocess.Popen[bytes]:
        """Simulate phantoms beside tests and figures, which leave most cores idle."""
        workers = max(1, (os.cpu_count() or 2) - 4)
        count = [f"--count={n}" for n in self.phantom_count()]
        script = [sys.executable, str(HERE / "phantoms.py"), f"--workers={workers}", *count]
        return self.start(script, nice=10)

    def test(self) -> None:
        """tests/gpu; their counts come from JUnit's report."""
        out = self.work / "tests.xml"
        if self.arguments.device == "cpu":
            self.env["ULTRASAM_GPU_TESTS"] = "cpu"
        more = ["-k", "sample_picture or attention"] if self.arguments.dry_run else []
        command = [sys.executable, "-m", "pytest", "tests/gpu", "-vv", "-p", "no:cacheprovider",
                   f"--junitxml={out}", *more]  # fmt: skip
        self.wait(self.start(command), limit=LIMITS["tests"])
        if report.tests(out)["passed"] == 0:
            raise RuntimeError("every test was skipped: there is no CUDA device")

    def measure(self) -> None:
        more = ["--quick"] if self.arguments.dry_run else []
        self.python("figures", "--out", self.work, "--device", self.arguments.device, *more,
                    limit=LIMITS["figures"])  # fmt: skip

    def train(self, kind: str, name: str, *, left: int, scored: int) -> None:
        """One of ``left`` trainings, which share the time that scoring leaves."""
        scoring = 10 if self.arguments.dry_run else SCORING * scored
        budget = (self.end - time.time() - CLOSING - scoring) / left
        if budget < SHORTEST:
            raise RuntimeError(f"only {budget:.0f} s are left to train in; give more --minutes")
        until = time.time() + budget
        more = ["trainer.batch=4", "trainer.log_every=1"] if self.arguments.dry_run else []
        more += [f"data.phantoms.count={n}" for n in self.phantom_count()]
        changes = [f"--set={change}" for change in (*more, *self.arguments.set)]
        init = ["--init", "nano"] if kind == "continued" else []
        self.python("train", name, "--until", f"{until:.0f}", "--store", self.store, "--out", self.work,
                    "--work", self.work / "runs", "--device", self.arguments.device, *init,
                    *changes, limit=budget + 5)  # fmt: skip

    def score(self, weights: Sequence[str]) -> None:
        more = ["--images", "6"] if self.arguments.dry_run else []
        self.python("score", *weights, "--store", self.store, "--out", self.work,
                    "--device", self.arguments.device, *more,
                    limit=max(20.0, self.end - time.time() - CLOSING / 2))  # fmt: skip

    def python(self, script: str, *arguments: object, limit: float) -> None:
        command = [sys.executable, str(HERE / f"{script}.py"), *map(str, arguments)]
        self.wait(self.start(command), limit=limit)

    def start(self, command: list[str], *, nice: int = 0) -> subprocess.Popen[bytes]:
        """A process in a group of its own, so that its workers end with it; its output goes to the log."""
        if nice and shutil.which("nice"):
            command = ["nice", "-n", str(nice), *command]
        return subprocess.Popen(command, cwd=ROOT, env=self.env, stdin=subprocess.DEVNULL, stdout=self.log,
                                stderr=subprocess.STDOUT, start_new_session=True)  # fmt: skip

    def wait(self, process: subprocess.Popen[bytes], *, limit: float) -> None:
        """Wait for a process, and end it with its workers when the time is up."""
        try:
            status = process.wait(timeout=max(1.0, limit))
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"took longer than {limit:.0f} s and was stopped") from error
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        if status:
            raise RuntimeError(f"exit status {status}; see kit.log")

    def report(self, *, quiet: bool = False) -> list[str]:
        """Write the report so far; what failed."""
        text, failed = report.write(self.work, self.out, self.stages, self.begun)
        if not quiet:
            print(text, flush=True)
        return failed


if __name__ == "__main__":
    raise SystemExit(Kit(options()).run())
