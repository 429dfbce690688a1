"""Whatever other tools send, the server answers with a sentence and never with an error of its own."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.annotate.serving import Served

httpx = pytest.importorskip("httpx", reason="the extra client is not installed")

# Without TLS, no certificates need to be read for each request.
send = partial(httpx.post, timeout=60, verify=False)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
CONFIG = """<View><Image name="i" value="$p"/><RectangleLabels name="r" toName="i" smart="true">
<Label value="a"/></RectangleLabels></View>"""
regions = st.fixed_dictionaries(
    {"type": st.sampled_from(["keypointlabels", "rectanglelabels", "brush"]), "value": values},
    optional={"to_name": st.sampled_from(["i", "j"]), "is_positive": values, "image_rotation": values},
)  # fmt: skip


def assert_told(answer: Any) -> None:
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert isinstance(answer.json()["detail"], str)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["predict", "setup", "webhook"]), values)
def test_any_json_of_label_studio(served: Served, route: str, body: Any) -> None:
    assert_told(send(f"{served.address}/label-studio/{route}", json=body))


@settings(max_examples=40, deadline=None)
@given(st.lists(regions, max_size=3), values)
def test_any_click_of_label_studio(served: Served, clicked: Any, data: Any) -> None:
    body = {
        "tasks": [{"data": {"p": data if data else "/data/local-files/?d=phantom.png"}}],
        "label_config": CONFIG, "params": {"context": {"result": clicked}},
    }  # fmt: skip
    assert_told(send(f"{served.address}/label-studio/predict", json=body))


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["foreground", "background", "label", "result_dtype"]), values, max_size=3
    ),
    st.sampled_from(["phantom.png", "1", "9.9", "\0", "x"]),
    st.sampled_from(["json", "image", "all", "dicom_seg", "x"]),
)
def test_any_parameters_of_monai_label(
    served: Served, params: Any, image: str, output: str
) -> None:
    answer = send(
        f"{served.address}/monai-label/infer/ultrasam", params={"image": image, "output": output},
        files={"params": (None, json.dumps(params))},
    )  # fmt: skip
    assert_told(answer)


@pytest.mark.parametrize(
    ("path", "content", "kind"),
    [
        ("label-studio/predict", b"[" * 100_000, "application/json"),
        ("label-studio/predict", b"\xff", "application/json"),
        (
            "monai-label/infer/ultrasam?image=phantom.png",
            b"--x\r\n",
            "multipart/form-data; boundary=x",
        ),
        ("monai-label/infer/ultrasam?image=phantom.png", b"x", "multipart/form-data"),
        ("monai-label/activelearning/first", b"\xff", "application/json"),
        ("monai-label/auth/token", b"%", "application/x-www-form-urlencoded"),
    ],
)
def test_damaged_bodies(served: Served, path: str, content: bytes, kind: str) -> None:
    answer = send(f"{served.address}/{path}", content=content, headers={"Content-Type": kind})
    assert_told(answer)
