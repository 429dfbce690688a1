"""Write the static page with a model, ready for any web server.

ONNX Runtime's WebAssembly, for the processor and for WebGPU, is in the package as gzip (3.7 and 4.1 MB
instead of 14.2 and 16.8 MB) and is unpacked here, so that an export needs no network and the repository holds
no large file.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ultrasam._version import __version__
from ultrasam.errors import ConfigError, UltraSamError
from ultrasam.files import atomic_write, require_space

if TYPE_CHECKING:
    from ultrasam.runtimes.export import Precision
    from ultrasam.weights.spec import ModelSpec

SITE = Path(__file__).parent / "site"
GRAPHS = ("encoder.onnx", "decoder.onnx")
_MODEL_FILES = (*GRAPHS, "model.json", "README.md", "LICENSE")
_RESAMPLERS = ("area", "bilinear")  # as in site/segmentation/preprocessing.js
_RUNTIME = "vendor/onnxruntime-web"
_WASM = (f"{_RUNTIME}/ort-wasm-simd-threaded.wasm", f"{_RUNTIME}/ort-wasm-simd-threaded.jspi.wasm")
_LATER = (f"{_RUNTIME}/ort.jspi.bundle.min.mjs", _WASM[1])  # loaded only for the graphics card
_POLICY = re.compile(r'http-equiv="Content-Security-Policy" content="([^"]+)"')


def export_site(
    model: str | ModelSpec,
    out: Path,
    *,
    precision: Precision = "float32",
    overwrite: bool = False,
) -> list[Path]:
    """Export a model to ONNX and write the page with it.

    Args:
        model: a name or path as in `ultrasam.load`.
        out: the folder of the site.
        precision: of the stored weights; float16 halves what a browser loads.
        overwrite: replace an earlier site.

    Raises:
        ConfigError: The page cannot run the model.
        UltraSamError: The folder exists, or cannot be written.
    """
    from ultrasam.runtimes.export import export

    _check_free(out, overwrite=overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".ultrasam-site-", dir=out.parent) as folder:
        exported = Path(folder) / "model"
        export(model, exported, to="onnx", precision=precision)
        return write_site(exported, out)


def _check_free(out: Path, *, overwrite: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / "files.js").is_file():
        raise UltraSamError(f"{out} exists and is not an exported page; choose another folder.")
    if not overwrite:
        raise UltraSamError(
            f"{out} holds an earlier page; choose another -o, or replace it with --overwrite."
        )


def write_site(model: Path, out: Path) -> list[Path]:
    """Write the page with a model that was exported to ONNX.

    Args:
        model: a folder of ``ultrasam export --to onnx``.
        out: the folder of the site; files of an earlier site are replaced.

    Returns:
        The files of the site.

    Raises:
        ConfigError: The folder holds no exported model, or the page cannot run it.
        UltraSamError: The site cannot be written.
    """
    model_json = _checked(model)
    files = {path.relative_to(SITE).as_posix(): path for path in _site_files()}
    parts = {name: path.read_bytes() for name, path in files.items()}
    parts |= {name: gzip.decompress(parts.pop(f"{name}.gz")) for name in _WASM}
    parts |= {f"model/{n}": (model / n).read_bytes() for n in _MODEL_FILES if (model / n).is_file()}
    about = {"ultrasam": __version__, "model": model_json.get("name", model.name)}
    parts["version.json"] = (json.dumps(about, indent=1) + "\n").encode()
    require_space(out, sum(len(data) for data in parts.values()))
    for name, data in parts.items():
        atomic_write(out / name, data)
    atomic_write(out / "files.js", _files_js(parts))
    return [out / name for name in sorted([*parts, "files.js"])]


def policy() -> str:
    """The page's Content-Security-Policy, which is also sent as a header by its service worker."""
    found = _POLICY.search((SITE / "index.html").read_text(encoding="utf-8"))
    if found is None:
        raise UltraSamError("The page has no Content-Security-Policy; install the package again.")
    return found[1]


def _site_files() -> list[Path]:
    return sorted(path for path in SITE.rglob("*") if path.is_file())


def _files_js(parts: dict[str, bytes]) -> str:
    """What the service worker keeps: its version changes with any file."""
    digest = hashlib.sha256()
    for name in sorted(parts):
        digest.update(name.encode() + b"\0" + hashlib.sha256(parts[name]).digest())
    site = {
        "version": digest.hexdigest()[:16], "policy": policy(), "files": sorted(parts), "later": _LATER,
    }  # fmt: skip
    return f"self.SITE = {json.dumps(site, indent=1)};\n"


def _checked(model: Path) -> dict[str, Any]:
    missing = [name for name in (*GRAPHS, "model.json") if not (model / name).is_file()]
    if missing:
        raise ConfigError(
            f"{model} is no exported model ({missing[0]} is missing); make one with "
            "ultrasam export MODEL --to onnx."
        )
    try:
        found = json.loads((model / "model.json").read_text(encoding="utf-8"))
        resample = found["preprocessing"]["resample"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{model / 'model.json'} is damaged; export the model again.") from error
    if resample not in _RESAMPLERS:
        raise ConfigError(
            f"The page cannot resample images by '{resample}', as this model needs; choose another model or "
            "another runtime."
        )
    if any((model / f"{name}.data").is_file() for name in GRAPHS):
        raise ConfigError(
            f"{model} is too large for a page, because its weights are in files of their own."
        )
    return dict(found)
