"""The widget of the plug-in: connect to a server, choose an image, click, accept, undo."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ultrasam.client import Client
from ultrasam.errors import UltraSamError
from ultrasam.napari.calls import Calls
from ultrasam.napari.coordinates import Json
from ultrasam.napari.frames import Frames
from ultrasam.napari.layers import Layers
from ultrasam.napari.server import LocalServer

_NO_LABEL = "no label"


class Widget(QWidget):  # type: ignore[misc]
    """Labels the images of an annotator's server in napari.

    The server keeps everything: each click is on its disk when its mask is shown, and the page in the browser
    shows the same objects.

    Args:
        napari_viewer: napari gives it.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._client: Client | None = None
        self._server: LocalServer | None = None
        self._layers: Layers | None = None
        self._image: Json | None = None
        self._objects: list[Json] = []
        self._active: str | None = None
        self._wanted: int | None = None  # the frame whose objects are asked for
        self.calls = Calls(self._failed, self)
        self.calls.changed.connect(self._update)
        self._build()
        self._viewer.dims.events.current_step.connect(self._moved)
        QApplication.instance().aboutToQuit.connect(self.close_connection)
        self._update()

    # What a person does.

    def connect_to(self, address: str, token: str = "") -> None:
        """Connect to a server.

        Args:
            address: as 'ultrasam annotate' prints it.
            token: if it needs one and the address has none.
        """
        self.close_connection()
        self._run(lambda: _opened(address, token or None), self._connected)

    def start_server(self, folder: Path, *, model: str = "nano") -> None:
        """Serve a folder of this machine for as long as napari runs, and connect to it."""
        self.close_connection()
        self._run(lambda: LocalServer(folder, model=model), self._started)

    def open_image(self, id: int) -> None:
        """Show an image of the server."""
        client = self._connection()

        def load() -> tuple[Json, Any, list[Json]]:
            row = client.image(id)
            if row["problem"]:
                raise UltraSamError(row["problem"])
            if row["frames"] == 1:
                pixels: Any = client.frame(id)
            else:
                shape = (row["frames"], row["height"], row["width"])
                pixels = Frames(lambda frame: client.frame(id, frame), shape)
            return row, pixels, client.objects(id)

        self._run(load, lambda found: self._opened_image(*found))

    def prompt(self, frame: int, prompt: Json) -> None:
        """Add a click or a box to the active object, or make a new one."""
        object = self._object()
        about: Json = {"prompt": prompt, "object": self._active}
        if object is not None:
            about["base_version"] = object["mask"]["version"] if object["mask"] else None
        elif self.label.currentText() != _NO_LABEL:
            about["label"] = self.label.currentText()
        self._stroke("prompt", frame, **about)

    def accept(self) -> None:
        """Accept the masks of this frame."""
        self._stroke("accept", self._frame(), object=self._active, frames="this")

    def delete(self) -> None:
        """Delete the active object."""
        if self._active is not None:
            self._stroke("delete", self._frame(), object=self._active)

    def undo(self) -> None:
        """Undo the latest action in this image."""
        self._go(lambda client, id: client.undo(id))

    def redo(self) -> None:
        """Do again what was undone."""
        self._go(lambda client, id: client.redo(id))

    def new_object(self) -> None:
        """Let the next click make a new object."""
        self.objects.setCurrentRow(-1)
        self._active = None
        self._show(self._frame(), self._objects)

    def close_connection(self) -> None:
        """Leave the server; one that was started here stops."""
        self.calls.close()
        if self._layers is not None:
            self._layers.close()
        if self._client is not None:
            self._client.close()
        if self._server is not None:
            self._server.close()
        self._client = self._server = self._layers = self._image = None
        self._objects, self._active, self._wanted = [], None, None

    # What the server answers.

    def _started(self, server: LocalServer) -> None:
        self._server = server
        self.address.setText(server.address)
        self._run(lambda: _opened(server.address, None), self._connected)

    def _connected(self, found: tuple[Client, Json, list[Json]]) -> None:
        self._client, project, images = found
        self.images.blockSignals(True)
        self.images.clear()
        for image in images:
            self.images.addItem(image["name"], image["id"])
        self.images.setCurrentIndex(-1)
        self.images.blockSignals(False)
        self.label.clear()
        self.label.addItems([_NO_LABEL, *(label["name"] for label in project["labels"])])
        count = len(images)
        self._say(f"{project['name']}: {count} image{'s' * (count != 1)}, as {project['reader']}.")

    def _opened_image(self, row: Json, pixels: Any, objects: list[Json]) -> None:
        if self._layers is not None:
            self._layers.close()
        self._image, self._active, self._wanted = row, None, None
        shape = (row["height"], row["width"])
        self._layers = Layers(self._viewer, pixels, row["name"], shape, row["frames"], self.prompt)
        index = self.images.findData(row["id"])
        self.images.blockSignals(True)
        self.images.setCurrentIndex(index)
        self.images.blockSignals(False)
        self._say(f"{row['name']} is open; click in the layer 'Add'.")
        self._moved()
        self._show(self._frame(), objects if self._frame() == 0 else [])
        client, id = self._connection(), row["id"]
        self._run(lambda: client.set_image(id, frame=0), lambda _: None)  # prepares the first click

    def _show(self, frame: int, objects: list[Json]) -> None:
        if self._layers is None or self._image is None:
            return
        if frame == self._frame():
            self._objects = objects
            self.objects.blockSignals(True)
            self.objects.clear()
            for one in objects:
                state = one["mask"]["state"] if one["mask"] else "not in this frame"
                self.objects.addItem(f"{one['number']} {one['label'] or _NO_LABEL} ({state})")
            ids = [one["id"] for one in objects]
            if self._active not in ids:
                self._active = None
            self.objects.setCurrentRow(ids.index(self._active) if self._active else -1)
            self.objects.blockSignals(False)
        shape = (self._image["height"], self._image["width"])
        masks = [
            self._connection().mask(one["mask"], shape) if one["mask"] else None for one in objects
        ]
        self._layers.show(frame, objects, masks, self._active)

    def _failed(self, error: UltraSamError) -> None:
        self._say(str(error), failed=True)
        self._wanted = None
        self._moved()  # what is shown is what is stored

    # Between both.

    def _stroke(self, kind: str, frame: int, **about: Any) -> None:
        def act(client: Client, id: int) -> Json:
            return client.stroke(id, kind, frame=frame, **about)

        self._go(act, frame)

    def _go(self, act: Callable[[Client, int], Json], frame: int | None = None) -> None:
        """Act on the image, and show what came of it."""
        if self._image is None:
            self._say("Open an image first.", failed=True)
            return
        client, id = self._connection(), int(self._image["id"])
        at = self._frame() if frame is None else frame

        def run() -> tuple[Json, list[Json]]:
            answer = act(client, id)
            return answer, client.objects(id, at)

        def then(found: tuple[Json, list[Json]]) -> None:
            answer, objects = found
            if answer.get("object") and not answer["object"].get("deleted"):
                self._active = answer["object"]["id"]
            self._say(f"Saved {answer['saved'][11:19]}." if answer.get("saved") else "Done.")
            self._show(at, objects)

        self._run(run, then)

    def _moved(self, _: object = None) -> None:
        """Another frame is shown: ask for its objects, the latest one only."""
        if self._image is None or self._client is None or self._wanted is not None:
            return
        client, id, frame = self._client, int(self._image["id"]), self._frame()
        self._wanted = frame

        def then(objects: list[Json]) -> None:
            self._wanted = None
            self._show(frame, objects)
            if self._frame() != frame:
                self._moved()

        self._run(lambda: client.objects(id, frame), then)

    def _run(self, call: Callable[[], Any], then: Callable[[Any], None]) -> None:
        self.calls.put(call, then)

    def _connection(self) -> Client:
        if self._client is None:
            raise UltraSamError("Connect to a server first.")
        return self._client

    def _frame(self) -> int:
        return self._layers.frame if self._layers is not None else 0

    def _object(self) -> Json | None:
        return next((one for one in self._objects if one["id"] == self._active), None)

    def _selected(self, row: int) -> None:
        self._active = self._objects[row]["id"] if 0 <= row < len(self._objects) else None
        self._show(self._frame(), self._objects)

    def _say(self, text: str, *, failed: bool = False) -> None:
        self.status.setText(text)
        self.status.setStyleSheet("color: #ff6b6b" if failed else "")

    def _update(self) -> None:
        for button in (self.accepting, self.undoing, self.redoing, self.deleting, self.adding):
            button.setEnabled(self._image is not None)
        self.images.setEnabled(self._client is not None)
        self.working.setText("working …" if self.calls.busy else "")

    def _build(self) -> None:
        self.address = QLineEdit("http://127.0.0.1:8417")
        self.address.setToolTip("As 'ultrasam annotate FOLDER' prints it")
        self.token = QLineEdit()
        self.token.setEchoMode(QLineEdit.EchoMode.Password)
        self.images, self.label, self.objects = QComboBox(), QComboBox(), QListWidget()
        self.label.addItem(_NO_LABEL)
        self.status, self.working = QLabel(), QLabel()
        self.status.setWordWrap(True)
        self.connecting = _button("Connect", self._connect)
        self.starting = _button("Open folder …", self._choose)
        self.adding = _button("New object", self.new_object)
        self.accepting = _button("Accept", self.accept)
        self.undoing, self.redoing = _button("Undo", self.undo), _button("Redo", self.redo)
        self.deleting = _button("Delete", self.delete)
        self.images.activated.connect(lambda row: self.open_image(self.images.itemData(row)))
        self.objects.currentRowChanged.connect(self._selected)
        form = QFormLayout()
        for name, field in (
            ("Server", self.address), ("Token", self.token), ("Image", self.images),
            ("Label", self.label),
        ):  # fmt: skip
            form.addRow(name, field)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addLayout(_row(self.connecting, self.starting))
        layout.addWidget(self.objects)
        layout.addLayout(_row(self.adding, self.deleting))
        layout.addLayout(_row(self.accepting, self.undoing, self.redoing))
        layout.addWidget(self.status)
        layout.addWidget(self.working)

    def _connect(self) -> None:
        self.connect_to(self.address.text(), self.token.text())

    def _choose(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of images")
        if folder:
            self.start_server(Path(folder))


def _opened(address: str, token: str | None) -> tuple[Client, Json, list[Json]]:
    client = Client(address, token=token)
    try:
        return client, client.project(), list(client.images())
    except BaseException:
        client.close()
        raise


def _button(text: str, act: Callable[[], None]) -> QPushButton:
    button = QPushButton(text)
    button.clicked.connect(lambda _: act())
    return button


def _row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    for widget in widgets:
        row.addWidget(widget)
    return row
