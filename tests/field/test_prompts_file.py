"""Prompts files as people and other programs write them, and damaged ones."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as given_by
from hypothesis import strategies as st
from PIL import Image

from tests.examples import examples
from ultrasam.errors import PromptError, UltraSamError
from ultrasam.inference.batch import predict_files
from ultrasam.inference.inputs import find_inputs
from ultrasam.inference.prompts_file import assign_prompts, describe_unused, read_prompts
from ultrasam.prompts import Prediction, Prompt

BOX = {"box": [4, 4, 20, 20]}
CLICK = {"points": [[10, 10], [2.5, 3]], "labels": [1, 0]}
GOOD: dict[str, Any] = {
    "Schädel.png": [BOX, CLICK],
    "p1/img.png": [BOX],
    "p2/img.png": [CLICK, BOX, BOX],
    "*": [BOX],
}
IMAGES = ("Schädel.png", "p1/img.png", "p2/img.png", "other.png")


def saved(folder: Path, content: object, encoding: str = "utf-8") -> Path:
    path = folder / "prompts.json"
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1"],
)
def test_any_encoding_is_read(encoding: str, tmp_path: Path) -> None:
    file = read_prompts(saved(tmp_path, GOOD, encoding))
    assert list(file.entries) == list(GOOD)
    assert [len(entries) for entries in file.entries.values()] == [2, 1, 3, 1]
    assert file.refused == []
    box = file.entries["Schädel.png"][0].prompt
    assert box is not None
    assert box.box is not None
    assert box.box.tolist() == [4, 4, 20, 20]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ('{"a.png": [{"box"', "is not JSON: Expecting ':' delimiter"),
        ("box: 1", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[1]", "must map image names to lists of prompts"),
        ("null", "must map image names"),
        ("{}", "has no prompts"),
        (
            '{"a.png": [], "b.png": []}',
            "'a.png': The list is empty; give a prompt, or leave the image out.",
        ),
        ('{"a.png": [{"box": [1, 1, 9, 9]}], "a.png": []}', "'a.png' is there twice"),
        ('{"a.png": [{"box": [1, 1, 9, 9], "box": [2, 2, 8, 8]}]}', "'box' is there twice"),
    ],
)
def test_a_file_that_is_no_prompts_file_is_refused(
    content: str, message: str, tmp_path: Path
) -> None:
    path = saved(tmp_path, content)
    with pytest.raises(PromptError) as refused:
        read_prompts(path)
    assert message in str(refused.value)
    assert str(path) in str(refused.value)
    with pytest.raises(PromptError, match=r"Cannot read the prompts file .*: No such file"):
        read_prompts(tmp_path / "none.json")
    with pytest.raises(PromptError, match="Cannot read the prompts file"):
        read_prompts(tmp_path)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (5, 'A prompt must be an object such as {"box": [120, 80, 260, 190]}, not 5.'),
        ("4,4,20,20", 'not "4,4,20,20".'),
        (None, "not null."),
        ([], "A prompt must be an object"),
        ([BOX], "A prompt must be an object"),
        ({}, "The prompt is empty"),
        ({"box": None}, "The prompt is empty"),
        ({"box": [4, 4, 20]}, "is invalid; give x0"),
        ({"box": [20, 20, 4, 4]}, "x0 < x1"),
        ({"box": [[4, 4], [20, 20]]}, "is invalid; give x0"),
        ({"box": ["4", "4", "20", "20"]}, 'box must be numbers, not ["4"'),
        ({"box": "4,4,20,20"}, 'box must be numbers, not "4,4,20,20"'),
        ({"box": {"x0": 4}}, "box must be numbers"),
        ({"box": [True, True, 20, 20]}, "box must be numbers"),
        ({"box": [4, None, 20, 20]}, "box must be numbers"),
        ({"box": [4, 4, 20, float("nan")]}, "must be finite numbers"),
        ({"box": [4, 4, 20, float("inf")]}, "must be finite numbers"),
        ({"box": [4, 4, 20, 10**400]}, "must be numbers"),
        ({"points": [10, 10]}, "give one (x, y) per point"),
        ({"points": [[10, 10, 10]]}, "give one (x, y) per point"),
        ({"points": [[10, 10], [3]]}, "points must be numbers"),
        ({"points": [[10, 10]], "labels": [1, 0]}, "one label per point"),
        ({"points": [[10, 10]], "labels": [2]}, "one label per point"),
        ({"points": [[10, 10]], "labels": 1}, "one label per point"),
        ({"points": [[10, 10]], "labels": [0]}, "only background clicks"),
        ({"labels": [1]}, "The prompt is empty"),
        ({"box": [4, 4, 20, 20], "label": [1]}, "only the keys box, points, labels and category, not label"),
        ({"Box": [4, 4, 20, 20]}, "not Box"),
        ({"box": [4, 4, 20, 20], "category": ["cyst"]}, "category must be a name or an ID"),
        ({"box": [4, 4, 20, 20], "category": ""}, "category must be a name or an ID"),
    ],
)  # fmt: skip
def test_an_entry_that_is_no_prompt_costs_no_other(
    entry: object, message: str, tmp_path: Path
) -> None:
    path = saved(tmp_path, {"a.png": [BOX, entry, CLICK], "b.png": [BOX]})
    file = read_prompts(path)
    assert [e.number for e in file.entries["a.png"] if e.prompt] == [0, 2]
    assert len(file.entries["b.png"]) == 1
    assert len(file.refused) == 1
    assert file.refused[0].startswith(f"{path}: 'a.png', prompt 1: ")
    assert message in file.refused[0]
    with pytest.raises(PromptError, match=r"'a\.png', prompt 0: "):
        read_prompts(saved(tmp_path, {"a.png": [entry]}))


def test_what_can_be_meant_in_one_way_is_read(tmp_path: Path) -> None:
    file = read_prompts(saved(tmp_path, {"a.png": BOX, "b.png": [{**BOX, "points": None}],
                                         "c.png": [{**BOX, "category": 3}]}))  # fmt: skip
    assert not file.refused
    prompts = [entry.prompt for entries in file.entries.values() for entry in entries]
    assert [p.box.tolist() for p in prompts if p and p.box is not None] == [[4, 4, 20, 20]] * 3
    assert file.entries["c.png"][0].category == "3"


def test_each_image_has_its_prompts_or_a_reason(tmp_path: Path) -> None:
    file = read_prompts(saved(tmp_path, {**GOOD, "lost.png": [BOX]}))
    paths = [tmp_path / name for name in IMAGES]
    assigned = assign_prompts(file, paths)
    assert [len(assigned.entries[path]) for path in paths] == [2, 1, 3, 1]
    assert not assigned.missing
    assert assigned.unused == ("lost.png",)
    assert describe_unused(file, assigned.unused).endswith("not among the inputs: lost.png.")
    file = read_prompts(saved(tmp_path, {"img.png": [BOX], "other.png": [BOX]}))
    assigned = assign_prompts(file, paths)
    assert list(assigned.entries) == [paths[3]]
    assert "write more of the path there" in assigned.missing[paths[1]]
    assert "has no prompts for Schädel.png" in assigned.missing[paths[0]]
    with pytest.raises(PromptError, match="has no prompts for other"):
        assign_prompts(read_prompts(saved(tmp_path, {"lost.png": [BOX]})), paths[3:])


class Boxes:
    """Segments what is in the box, or the whole scan."""

    def set_image(self, scan: Any, *, frame: int = 0) -> None:
        self.shape = np.asarray(scan).shape[:2]

    def predict(self, prompts: Prompt | list[Prompt]) -> Prediction:
        prompts = [prompts] if isinstance(prompts, Prompt) else prompts
        masks = np.zeros((len(prompts), 1, *self.shape), bool)
        for row, prompt in enumerate(prompts):
            prompt.check_inside(*self.shape)
            x0, y0, x1, y1 = (0, 0, *self.shape[::-1]) if prompt.box is None else prompt.box
            masks[row, 0, int(max(y0, 0)) : int(y1), int(max(x0, 0)) : int(x1)] = True
        ones = np.ones((len(prompts), 1), np.float32)
        return Prediction(masks, ones, ones, np.zeros((len(prompts), 1, 4, 4), np.float32))


# Damages of a prompts file: of its content, then of its text.
Change = Callable[[dict[str, Any]], None]
NUMBERS = st.one_of(
    st.integers(-50, 80), st.floats(), st.just(10**400), st.sampled_from([0.1, 0.5, 1e300])
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)  # fmt: skip


@st.composite
def changes(draw: st.DrawFn) -> Change:
    name = draw(st.sampled_from([*GOOD, "none.png", "img.png", "./Schädel.png", "SCHÄDEL.PNG"]))
    kind = draw(st.sampled_from(["value", "entry", "key", "drop", "number", "add", "rename"]))
    value, number = draw(JSON), draw(NUMBERS)
    key = draw(st.sampled_from(["box", "points", "labels", "mask", "category"]))

    def change(content: dict[str, Any]) -> None:
        entries = content.get(name)
        first = entries[0] if isinstance(entries, list) and entries else None
        if kind == "value":
            content[name] = value
        elif kind == "drop":
            content.pop(name, None)
        elif kind == "rename":
            content[f"x/{name}"] = content.pop(name, [BOX])
        elif kind == "add" and isinstance(entries, list):
            entries.append(value)
        elif kind == "entry" and first is not None:
            entries[0] = value  # type: ignore[index]
        elif kind == "key" and isinstance(first, dict):
            first[key] = value
        elif kind == "number" and isinstance(first, dict) and isinstance(first.get("box"), list):
            first["box"] = [*first["box"][:3], number]

    return change


@settings(max_examples=examples(30), deadline=None, suppress_health_check=list(HealthCheck))
@given_by(
    damages=st.lists(changes(), max_size=3),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "cp1252"]),
    cut=st.one_of(st.just(None), st.integers(0, 400)),
)
def test_a_damaged_file_gives_right_masks_or_a_reason_for_each_prompt(
    damages: list[Change], encoding: str, cut: int | None
) -> None:
    content = json.loads(json.dumps(GOOD))
    for damage in damages:
        damage(content)
    data = json.dumps(content, ensure_ascii=False).encode(encoding, errors="replace")[:cut]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "in")
        for name in IMAGES:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (40, 30), 90).save(root / name)
        path = root / "prompts.json"
        path.write_bytes(data)
        paths = find_inputs([str(root)])
        assert len(paths) == 4
        try:
            file = read_prompts(path)
            assigned = assign_prompts(file, paths)
        except UltraSamError as error:
            assert path.name in str(error), error
            assert len(str(error)) < 1000
            return
        given = sum(len(entries) for entries in file.entries.values())
        valid = [e for entries in file.entries.values() for e in entries if e.prompt]
        assert len(valid) + len(file.refused) == given
        for value in content.values():  # nothing in a list is passed over
            assert not isinstance(value, list) or len(value) <= given
        results = list(predict_files(Boxes(), paths, assigned, Path(folder, "out"), provenance={}))
        assert [result.path for result in results] == paths
        for result in results:
            wanted = assigned.entries.get(result.path, [])
            if result.error:
                assert str(result.path) in result.error
                assert result.path in assigned.missing or wanted
                continue
            prompts = [entry for entry in wanted if entry.prompt]
            assert len(result.results) + len(result.refused) == len(prompts)
            for entry in result.results:
                prompt = entry["prompt"]
                box = prompt.get("box", [0, 0, 40, 30])
                x0, y0 = (int(max(v, 0)) for v in box[:2])
                x1, y1 = (int(min(v, side)) for v, side in zip(box[2:], (40, 30), strict=True))
                if x1 > x0 and y1 > y0:
                    assert entry["bbox"] == [x0, y0, x1 - x0, y1 - y0]
