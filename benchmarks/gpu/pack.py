"""What a GPU machine without network needs: packages it may lack, and training data in a few megabytes.

    python benchmarks/gpu/pack.py --data DIR [--out .gpu] [--python 3.12]

Writes `OUT/wheels/*.whl` and `OUT/data.zip`. The zip holds a store (`ultrasam data build`) whose images are
gray, at most 640 pixels on each side, as WebP; `unpack` turns it back into a store. Its `val`
split is 5 % of the subjects, on which `score.py` measures.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

# nano's input has 256 pixels a side, for the whole image and for a zoomed view, up to 3.5 objects wide.
SIDE = 640
QUALITY = 82  # a third of the bytes of PNG; what it loses is finer than 256 pixels show
SETS = ("BUSI", "HC18", "USGRA-seg", "BUS-UCLM", "CCAUI", "DL_Track")
# Imported by training and tests; the target has PyTorch, Lightning, transformers, OpenCV and pyarrow.
PACKAGES = ("pydantic", "pydantic-core", "typing-inspection", "annotated-types", "typing-extensions",
            "pycocotools", "platformdirs")  # fmt: skip
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a folder of data sets")
    parser.add_argument("--out", type=Path, default=Path(".gpu"))
    parser.add_argument("--python", default="3.12", help="the target's version of Python")
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        parser.error(f"there is no folder {arguments.data}")
    download_wheels(arguments.out / "wheels", arguments.python)
    print(f"{arguments.out / 'wheels'}: {_mib(arguments.out / 'wheels'):.1f} MiB")
    store = arguments.out / "packing"
    shutil.rmtree(store, ignore_errors=True)
    counts = build_store(arguments.data, store)
    for name, count in counts.items():
        print(f"  {name}: {count} images")
    pack(store, arguments.out / "data.zip")
    shutil.rmtree(store)
    print(f"{arguments.out / 'data.zip'}: {_mib(arguments.out / 'data.zip'):.1f} MiB")


def _mib(path: Path) -> float:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(file.stat().st_size for file in files) / 2**20


def download_wheels(folder: Path, python: str) -> None:
    """Download wheels of `PACKAGES` for another Python on Linux, x86-64, without their dependencies."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:",
               "--python-version", python, "--implementation", "cp", "-d", str(folder)]  # fmt: skip
    for platform in PLATFORMS:
        command += ["--platform", platform]
    # pip resolves no dependencies here, so pydantic's exact pydantic-core is named.
    subprocess.run([*command, f"pydantic-core=={_core_version()}", *_others()], check=True)


def _others() -> Iterator[str]:
    from importlib.metadata import version

    for name in PACKAGES:
        if name != "pydantic-core":
            yield f"{name}=={version(name)}"


def _core_version() -> str:
    from importlib.metadata import requires

    needs = [need for need in requires("pydantic") or () if need.startswith("pydantic-core==")]
    return needs[0].split("==")[1].split(";")[0].strip()


def build_store(data: Path, store: Path, *, workers: int = 2) -> dict[str, int]:
    """Build a store of scaled gray images from those of the data sets that are below ``data``.

    Returns:
        The number of images of each data set.
    """
    from ultrasam.datasets.catalogue import dataset
    from ultrasam.datasets.description import DatasetSpec
    from ultrasam.store import build
    from ultrasam.store.index import BuildSettings
    from ultrasam.store.splits import SplitFractions

    def scaled(raw: DatasetSpec) -> DatasetSpec:
        def cases(tree, report):  # type: ignore[no-untyped-def]
            for case in raw.cases(tree, report):
                yield replace(case, read=partial(_scaled, case.read))

        return replace(raw, cases=cases)

    sources = [(dataset(name), data / name) for name in SETS]
    result = build.build_store(
        [(scaled(raw), root) for raw, root in sources if root.is_dir()],
        store,
        settings=BuildSettings(min_area=24, split_fractions=SplitFractions(val=0.05, test=0.0)),
        workers=workers,
    )
    if result.failed:
        raise SystemExit(f"Not packed: {result.failed}")
    return {name: found["images"] for name, found in result.summary.manifest["datasets"].items()}


def _scaled(read: Callable[[], Iterable[object]]) -> Iterator[object]:
    """Pictures in gray, at most `SIDE` pixels on each side; skips unchanged."""
    from ultrasam.datasets.annotated_image import CaseImage, Instance
    from ultrasam.images.pixels import gray

    for found in read():
        if not isinstance(found, CaseImage):
            yield found
            continue
        height, width = found.pixels.shape[:2]
        scale = min(1.0, SIDE / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        pixels = cv2.resize(gray(found.pixels), size, interpolation=cv2.INTER_AREA)
        parts = [
            Instance(i.name, cv2.resize(i.mask * np.uint8(255), size, interpolation=cv2.INTER_AREA) > 127)
            for i in found.instances
        ]  # fmt: skip
        spacing = found.spacing and (found.spacing[0] / scale, found.spacing[1] / scale)
        yield replace(found, pixels=pixels, instances=tuple(parts), spacing=spacing)


def pack(store: Path, file: Path) -> None:
    """A store as one file, its images as WebP."""
    part = file.with_name(f".{file.name}.part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as out:
        for name in ("manifest.json", "images.arrow", "instances.arrow"):
            out.write(store / name, name)
        for path in sorted((store / "images").rglob("*.png")):
            pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            data = cv2.imencode(".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])[1]
            name = path.relative_to(store).with_suffix(".webp").as_posix()
            out.writestr(name, data.tobytes(), zipfile.ZIP_STORED)
    part.replace(file)


def unpack(file: Path, store: Path) -> None:
    """Turn `pack`'s file back into a store, its images into PNG."""

    def write(name: str, data: bytes) -> None:
        path = store / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not name.endswith(".webp"):
            path.write_bytes(data)
            return
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
        # The fastest level to read back; speckle hardly compresses anyway.
        if not cv2.imwrite(str(path.with_suffix(".png")), pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1]):
            raise OSError(f"{path.with_suffix('.png')} cannot be written")

    with zipfile.ZipFile(file) as packed, ThreadPoolExecutor() as pool:
        done = [pool.submit(write, name, packed.read(name)) for name in packed.namelist()]
        for one in done:
            one.result()


if __name__ == "__main__":
    main()
