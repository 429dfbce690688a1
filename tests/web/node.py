"""Run the site's JavaScript under Node, on arrays that Python writes."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

SITE = Path(__file__).parents[2] / "src" / "ultrasam" / "web" / "site"
_MINIMUM = (20, 19)  # the first that takes .js files for modules by what they hold

_RUNNER = """
import fs from 'node:fs';
const [modulePath, callsPath, outPath] = process.argv.slice(2);
const kinds = {uint8: Uint8Array, uint16: Uint16Array, int16: Int16Array, int32: Int32Array,
  float32: Float32Array, float64: Float64Array};
function revive(value) {
  if (Array.isArray(value)) return value.map(revive);
  if (value === null || typeof value !== 'object') return value;
  if (value.$array) {
    const bytes = Buffer.from(value.$array, 'base64');
    return new kinds[value.kind](bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  }
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, revive(v)]));
}
function flatten(value) {
  if (ArrayBuffer.isView(value)) {
    const plain = value instanceof Uint8ClampedArray ? Uint8Array : value.constructor;
    const kind = Object.keys(kinds).find((k) => plain === kinds[k]);
    return {$array: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64'), kind};
  }
  if (Array.isArray(value)) return value.map(flatten);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, flatten(v)]));
}
const module = await import(modulePath);
const calls = revive(JSON.parse(fs.readFileSync(callsPath, 'utf8')));
const answers = [];
for (const [name, args] of calls) {
  try { answers.push(flatten(await module[name](...args)) ?? null); }
  catch (error) { answers.push({$error: error.message}); }
}
fs.writeFileSync(outPath, JSON.stringify(answers));
"""


class JsError(Exception):
    """A JavaScript function has thrown an Error."""


def node() -> str:
    """The path of Node; skips the test where it is missing or too old."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("Node is not installed")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True)
    if tuple(int(n) for n in version.stdout.strip().lstrip("v").split(".")[:2]) < _MINIMUM:
        pytest.skip(f"Node is older than {_MINIMUM[0]}.{_MINIMUM[1]}")
    return found


def call(folder: Path, module: str, *calls: tuple[str, list[Any]]) -> list[Any]:
    """Call functions of one of the site's modules; arrays go in and come out as typed arrays.

    Raises:
        JsError: A function has thrown.
    """
    answers = attempt(folder, module, *calls)
    for answer in answers:
        if isinstance(answer, dict) and "$error" in answer:
            raise JsError(answer["$error"])
    return answers


def attempt(folder: Path, module: str, *calls: tuple[str, list[Any]]) -> list[Any]:
    """As `call`; an Error comes back as ``{"$error": message}``."""
    runner, given, out = (folder / name for name in ("runner.mjs", "calls.json", "answers.json"))
    runner.write_text(_RUNNER)
    given.write_text(json.dumps(_flatten(list(calls))))
    path = SITE / module if not Path(module).is_absolute() else Path(module)
    done = subprocess.run(
        [node(), str(runner), str(path), str(given), str(out)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return [_revive(answer) for answer in json.loads(out.read_text())]


def image(pixels: npt.NDArray[Any]) -> dict[str, Any]:
    """A picture [H, W] or [H, W, C] as the modules take it."""
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    return {"data": pixels.ravel(), "width": width, "height": height, "channels": channels}


def _flatten(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        data = np.ascontiguousarray(value)
        return {"$array": base64.b64encode(data.tobytes()).decode(), "kind": data.dtype.name}
    if isinstance(value, bytes):
        return _flatten(np.frombuffer(value, np.uint8))
    if isinstance(value, (list, tuple)):
        return [_flatten(part) for part in value]
    if isinstance(value, dict):
        return {key: _flatten(part) for key, part in value.items()}
    return value


def _revive(value: Any) -> Any:
    if isinstance(value, list):
        return [_revive(part) for part in value]
    if not isinstance(value, dict):
        return value
    if "$array" in value:
        return np.frombuffer(base64.b64decode(value["$array"]), value["kind"])
    return {key: _revive(part) for key, part in value.items()}
