"""The exported site is whole, small enough for git, free of addresses elsewhere, and closed by its rules."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from ultrasam.errors import ConfigError, UltraSamError
from ultrasam.web.export import SITE, export_site, policy, write_site

# Of onnxruntime-web 1.30.0.
RUNTIME = {
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.jspi.wasm": "a54c76f86b0f0d9572380cf1c6292a7b3903716ffcbcd6b0e5c7050bf430eb93",
    "ort.jspi.bundle.min.mjs": "07ec090355e11b342c95436db54da2d0c2bd5b1d319745bfd3337e6bdcf170ac",
}
EXAMPLE = Path(__file__).parents[2] / "examples" / "phantom.png"
OURS = [path for path in SITE.rglob("*") if path.is_file() and "vendor" not in path.parts]


def model_folder(folder: Path, **changes: Any) -> Path:
    """What an export holds, without real graphs."""
    folder.mkdir()
    for name in ("encoder.onnx", "decoder.onnx", "README.md", "LICENSE"):
        (folder / name).write_bytes(name.encode())
    content = {"name": "nano", "preprocessing": {"resample": "area", **changes}}
    (folder / "model.json").write_text(json.dumps(content))
    return folder


def test_the_site_has_the_runtime_the_model_and_their_licenses(tmp_path: Path) -> None:
    out = tmp_path / "site"
    written = write_site(model_folder(tmp_path / "model"), out)
    assert all(path.is_file() for path in written)
    runtime = out / "vendor" / "onnxruntime-web"
    for name, expected in RUNTIME.items():
        assert hashlib.sha256((runtime / name).read_bytes()).hexdigest() == expected
    assert "Microsoft" in (runtime / "LICENSE").read_text()
    assert (out / "model" / "LICENSE").is_file()
    assert not list(out.rglob("*.gz"))


def test_the_service_worker_knows_all_files_and_a_change(tmp_path: Path) -> None:
    model = model_folder(tmp_path / "model")
    first, second = (
        _site(write_site(model, tmp_path / "a")),
        _site(write_site(model, tmp_path / "b")),
    )
    assert first == second
    found = {
        path.relative_to(tmp_path / "a").as_posix()
        for path in (tmp_path / "a").rglob("*")
        if path.is_file()
    }
    assert set(first["files"]) == found - {"files.js"}
    # What only a graphics card needs is not kept for use without a network before it is used.
    assert {Path(name).name for name in first["later"]} == {
        name for name in RUNTIME if "jspi" in name
    }
    assert set(first["later"]) < set(first["files"])
    (model / "decoder.onnx").write_bytes(b"another")
    assert _site(write_site(model, tmp_path / "a"))["version"] != first["version"]


def _site(written: list[Path]) -> dict[str, Any]:
    text = next(path for path in written if path.name == "files.js").read_text()
    return dict(json.loads(text.removeprefix("self.SITE = ").removesuffix(";\n")))


def test_the_rules_allow_connections_to_the_site_alone() -> None:
    rules = dict(part.strip().split(" ", 1) for part in policy().split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["connect-src"] == "'self'"
    assert rules["form-action"] == "'none'"
    allowed = {source for value in rules.values() for source in value.split()}
    assert allowed == {"'none'", "'self'", "'wasm-unsafe-eval'", "blob:"}


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(SITE)))
def test_no_file_names_an_address_elsewhere(path: Path) -> None:
    text = path.read_bytes().decode("utf-8", errors="replace")
    found = set(re.findall(r"https?://[^\s'\"<>)]+", text))
    assert found <= {"http://www.w3.org/2000/svg", "http://localhost:8000."}


def test_the_sample_is_the_examples_picture() -> None:
    assert (SITE / "sample.png").read_bytes() == EXAMPLE.read_bytes()


def test_no_file_is_too_large_for_git() -> None:
    assert max(path.stat().st_size for path in SITE.rglob("*") if path.is_file()) < 12_000_000


def test_a_module_has_one_subject() -> None:
    long = {p.name: n for p in OURS if p.suffix in (".js", ".css", ".html")
            if (n := len(p.read_text(encoding="utf-8").splitlines())) >= 400}  # fmt: skip
    assert not long


def test_a_folder_that_is_no_export_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no exported model"):
        write_site(tmp_path, tmp_path / "site")


def test_a_model_that_the_page_would_feed_wrongly_is_refused(tmp_path: Path) -> None:
    model = model_folder(tmp_path / "model", resample="bicubic-antialias")
    with pytest.raises(ConfigError, match="cannot resample"):
        write_site(model, tmp_path / "site")


def test_a_folder_with_other_files_is_left_alone_and_an_earlier_page_kept(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UltraSamError, match="is not an exported page"):
        export_site("nano", tmp_path, overwrite=True)
    out = tmp_path / "site"
    write_site(model_folder(tmp_path / "model"), out)
    with pytest.raises(UltraSamError, match="--overwrite"):
        export_site("nano", out)
