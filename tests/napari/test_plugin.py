"""The plug-in in a viewer without a screen; napari and a Qt binding are in an environment of their own.

Drawing needs OpenGL, which Qt's own `offscreen` does not have: run it under `xvfb-run -a`.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.annotate.serving import CLICK, PHANTOM, Served
from ultrasam.images.reading import read_scan

pytest.importorskip("napari", reason="napari is not installed: make test-tools")
pytest.importorskip("pytestqt", reason="pytest-qt is not installed: make test-tools")
if sys.platform == "linux" and not os.environ.get("DISPLAY"):
    pytest.skip("napari draws on a display: run by xvfb-run -a", allow_module_level=True)

from ultrasam.napari.widget import Widget

ROW, COLUMN = CLICK[1] - 0.5, CLICK[0] - 0.5


class Plugin:
    """The widget in a viewer, and a way to wait for it."""

    def __init__(self, viewer: Any, qtbot: Any) -> None:
        self.viewer, self._qtbot = viewer, qtbot
        self.widget = Widget(viewer)
        qtbot.addWidget(self.widget)

    def wait(self, until: Callable[[], bool] = lambda: True) -> None:
        self._qtbot.waitUntil(lambda: not self.widget.calls.busy and until(), timeout=60_000)

    def open(self, name: str) -> None:
        self.widget.open_image(self.widget.images.itemData(self.widget.images.findText(name)))
        self.wait()

    @property
    def status(self) -> str:
        return str(self.widget.status.text())

    @property
    def masks(self) -> np.ndarray:
        return np.asarray(self.viewer.layers["Masks"].data)


@pytest.fixture
def plugin(make_napari_viewer: Any, qtbot: Any, served: Served) -> Any:
    plugin = Plugin(make_napari_viewer(), qtbot)
    plugin.widget.connect_to(served.address)
    plugin.wait()
    yield plugin
    plugin.widget.close_connection()


@pytest.fixture(autouse=True)
def _clean(served: Served) -> Any:
    """Each test begins without objects."""
    yield
    from ultrasam.client import Client

    with Client(served.address) as client:
        for image in client.images():
            for one in client.objects(image["id"]):
                client.stroke(image["id"], "delete", object=one["id"])


def test_it_lists_the_images(plugin: Plugin) -> None:
    names = [plugin.widget.images.itemText(k) for k in range(plugin.widget.images.count())]
    assert names == ["cine.dcm", "phantom.png", "volume.nii.gz"]
    assert "3 images, as anna" in plugin.status


def test_a_click_makes_a_mask_and_undo_takes_it_back(plugin: Plugin) -> None:
    plugin.open("phantom.png")
    shown = plugin.viewer.layers["phantom.png"].data
    assert np.array_equal(shown, read_scan(PHANTOM).frame())
    plugin.viewer.layers["Add"].add([ROW, COLUMN])
    plugin.wait()
    number = plugin.masks[int(ROW), int(COLUMN)]
    assert number > 0
    assert plugin.status.startswith("Saved")
    one_click = plugin.masks.copy()
    plugin.viewer.layers["Remove"].add([ROW - 100, COLUMN])
    plugin.wait()
    assert len(plugin.viewer.layers["Add"].data) == 1
    assert len(plugin.viewer.layers["Remove"].data) == 1
    plugin.widget.undo()
    plugin.wait()
    assert np.array_equal(plugin.masks, one_click)
    assert len(plugin.viewer.layers["Remove"].data) == 0
    plugin.widget.undo()
    plugin.wait()
    assert not plugin.masks.any()
    assert len(plugin.viewer.layers["Add"].data) == 0
    plugin.widget.redo()
    plugin.wait()
    assert np.array_equal(plugin.masks, one_click)


def test_a_box_makes_a_second_object(plugin: Plugin) -> None:
    plugin.open("phantom.png")
    plugin.viewer.layers["Add"].add([ROW, COLUMN])
    plugin.wait()
    plugin.widget.new_object()
    x0, y0, x1, y1 = 567 - 0.5, 53 - 0.5, 840 - 0.5, 407 - 0.5
    plugin.viewer.layers["Boxes"].add_rectangles(np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0]]))
    plugin.wait()
    assert len(set(np.unique(plugin.masks)) - {0}) == 2
    assert plugin.widget.objects.count() == 2
    assert len(plugin.viewer.layers["Boxes"].data) == 1
    plugin.widget.delete()
    plugin.wait()
    assert len(set(np.unique(plugin.masks)) - {0}) == 1


def test_each_frame_of_a_cine_has_its_masks(plugin: Plugin) -> None:
    plugin.open("cine.dcm")
    viewer = plugin.viewer
    viewer.dims.set_current_step(0, 1)
    plugin.wait()
    viewer.layers["Add"].add([1, ROW, plugin.masks.shape[2] - 1 - COLUMN])
    plugin.wait()
    assert plugin.masks[1].any()
    assert not plugin.masks[0].any()
    viewer.dims.set_current_step(0, 0)
    plugin.wait()
    assert "not in this frame" in plugin.widget.objects.item(0).text()
    plugin.widget.accept()
    plugin.wait()
    viewer.dims.set_current_step(0, 1)
    plugin.wait()
    assert "accepted" in plugin.widget.objects.item(0).text()


def test_what_is_refused_is_told_and_disappears(plugin: Plugin) -> None:
    plugin.open("phantom.png")
    plugin.viewer.layers["Remove"].add([ROW, COLUMN])
    plugin.wait()
    assert "only background clicks" in plugin.status
    assert len(plugin.viewer.layers["Remove"].data) == 0
    plugin.widget.undo()
    plugin.wait()
    assert plugin.status


def test_a_missing_server_is_told(make_napari_viewer: Any, qtbot: Any) -> None:
    plugin = Plugin(make_napari_viewer(), qtbot)
    plugin.widget.connect_to("http://127.0.0.1:1")
    plugin.wait()
    assert "No annotator answers" in plugin.status


def test_it_serves_a_folder_of_its_own(make_napari_viewer: Any, qtbot: Any, tmp_path: Path) -> None:
    shutil.copy(PHANTOM, tmp_path / "phantom.png")
    plugin = Plugin(make_napari_viewer(), qtbot)
    plugin.widget.start_server(tmp_path)
    plugin.wait(lambda: plugin.widget.images.count() == 1)
    assert plugin.widget.address.text().startswith("http://127.0.0.1:")
    plugin.widget.close_connection()
    plugin.widget.start_server(tmp_path / "missing")
    plugin.wait(lambda: "is not a folder" in plugin.status)
    plugin.widget.close_connection()


def test_the_manifest_is_valid() -> None:
    npe2 = pytest.importorskip("npe2", reason="the extra napari is not installed")
    manifest = npe2.PluginManifest.from_file(
        Path(sys.modules["ultrasam"].__path__[0]) / "napari" / "napari.yaml"
    )
    manifest.validate_imports()
    assert manifest.name == "ultrasam"
