"""Routes of MONAI Label, below ``/monai-label``: the address to give to 3D Slicer's or OHIF's plug-in.

Sources: monailabel/endpoints and the clients of plugins/slicer and plugins/ohifv3, Project-MONAI/MONAILabel.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from ultrasam.extras import needs

with needs("The annotator", extra="annotate"):
    from fastapi import APIRouter, File, Form, Path, Query, Request, Response, UploadFile
    from pydantic import ValidationError

from ultrasam._version import __version__
from ultrasam.annotate.annotator import Annotator
from ultrasam.annotate.project.images import state_counts
from ultrasam.annotate.project.labels import labels_of
from ultrasam.annotate.project.readers import reader_name
from ultrasam.annotate.protocols.monai_label import samples
from ultrasam.annotate.protocols.monai_label.answers import file_answer, multipart_answer
from ultrasam.annotate.protocols.monai_label.infer import InferParams, Segmented, segmented
from ultrasam.annotate.protocols.monai_label.labels import label_map_of, save_label_map
from ultrasam.annotate.protocols.monai_label.volumes import (
    image_file,
    label_map_file,
    read_label_map,
)
from ultrasam.annotate.server.dependencies import App, Reader, Rules
from ultrasam.annotate.server.routes_images import waited_for
from ultrasam.annotate.worker import Priority
from ultrasam.errors import DataError, first_validation_error
from ultrasam.images.scan import Scan
from ultrasam.serve.http.problems import GoneError, NotFoundError
from ultrasam.serve.uploads import Upload

PREFIX = "/monai-label"
MODEL = "ultrasam"
router = APIRouter(prefix=PREFIX, include_in_schema=False)
Name = Annotated[str, Query(max_length=1000)]
Params = Annotated[str, Form(max_length=1_000_000)]


def series_of(request: Request) -> samples.Series:
    """The app's index of DICOM series."""
    state = request.app.state
    if not hasattr(state, "series"):
        state.series = samples.Series()
    found: samples.Series = state.series
    return found


@router.get("/info/")
def info(app: App, reader: Reader) -> dict[str, Any]:
    """The model, the labels and the images."""
    names = [label.name for label in labels_of(app.project)] or ["object"]
    loaded = app.segmentation.info
    model = {
        "type": "deepgrow", "dimension": 2, "labels": {name: k for k, name in enumerate(names, 1)},
        "description": app.segmentation.name if loaded is None else loaded.title, "version": __version__,
        "config": {},
    }  # fmt: skip
    return {
        "name": f"UltraSam: {app.project.folder.name}", "version": __version__,
        "description": "Segments a slice from foreground and background points",
        "labels": ["background", *names], "models": {MODEL: model}, "trainers": {}, "scoring": {},
        "strategies": {
            name: {"description": text, "config": {}} for name, text in samples.STRATEGIES.items()
        },
        "train_stats": {}, "datastore": _stats(app, reader),
    }  # fmt: skip


@router.get("/auth/")
def auth(rules: Rules) -> dict[str, Any]:
    """Whether a token is needed."""
    return {"enabled": rules.token is not None, "client_id": "ultrasam", "realm": "ultrasam"}


@router.post("/auth/token")
def log_in(
    rules: Rules,
    request: Request,
    username: Annotated[str, Form(max_length=60)],
    password: Annotated[str, Form(max_length=200)],
) -> dict[str, str]:
    """Exchange a reader's name and the server's token for a token of a session."""
    address = request.client.host if request.client else ""
    return {
        "access_token": rules.log_in(password, reader_name(username), address), "token_type": "Bearer",
    }  # fmt: skip


@router.get("/auth/token/valid")
def valid(reader: Reader) -> dict[str, str]:
    """Who a session's token is."""
    return {"username": reader}


@router.put("/session/")
def new_session(
    app: App, reader: Reader, files: Annotated[list[UploadFile], File()]
) -> dict[str, Any]:
    """Keep an image for a while that is no part of the project."""
    if len(files) != 1:
        raise DataError(f"{len(files)} files were sent; send one volume, such as a NIfTI file.")
    upload = app.uploads.add(files[0].file.read(), files[0].filename or "")
    return {"session_id": upload.id, "session_info": _session_json(upload.scan)}


def _upload(app: App, id: str) -> Upload:
    """A session's image. MONAI Label does not tell a session that ended from one that never was."""
    try:
        return app.uploads.get(id)
    except GoneError as error:
        raise NotFoundError(str(error)) from error


@router.get("/session/{id}")
def session(app: App, reader: Reader, id: str, image: bool = False) -> Any:
    """A session, or its image."""
    upload = _upload(app, id)
    if image:
        return file_answer(upload.path.read_bytes(), upload.path.name)
    return _session_json(upload.scan)


@router.delete("/session/{id}")
def end_session(app: App, reader: Reader, id: str) -> dict[str, Any]:
    """Forget a session's image."""
    about = _session_json(_upload(app, id).scan)
    app.uploads.remove(id)
    return about


@router.post("/infer/{model}")
def infer(
    app: App,
    reader: Reader,
    request: Request,
    model: Annotated[str, Path(max_length=100)],
    image: Name = "",
    session_id: Name = "",
    output: Literal["image", "json", "all", "dicom_seg"] = "all",
    params: Params = "{}",
    file: UploadFile | None = None,
) -> Any:
    """Segment the slices that have foreground points; nothing is stored."""
    if model != MODEL:
        raise NotFoundError(f"Model '{model[:40]}' does not exist; use '{MODEL}'.")
    asked = _params(params)
    if file is not None and file.filename:
        session_id = app.uploads.add(file.file.read(), file.filename).id
    found: Segmented
    if session_id:
        scan = _upload(app, session_id).scan
        found = waited_for(
            app.worker.submit(
                Priority.preview,
                lambda: segmented(
                    scan, asked,
                    lambda index, prompt, several: app.uploads.predict(
                        session_id, index, prompt, multimask=several
                    ),
                ),
            )
        )  # fmt: skip
    else:
        id = samples.image_named(app, series_of(request), image)
        found = waited_for(
            app.worker.submit(
                Priority.preview,
                lambda: segmented(
                    app.scans.scan(id), asked,
                    lambda index, prompt, several: app.segmentation.predict(
                        id, index, prompt, multimask=several
                    ),
                ),
            )
        )  # fmt: skip
    loaded = app.segmentation.info
    facts = found.as_json(MODEL if loaded is None else loaded.title)
    if output == "json":
        return facts
    if output == "dicom_seg":
        return file_answer(found.dicom_seg(loaded), "segmentation.dcm")
    name = f"segmentation{asked.result_extension}"
    content = found.label_map()
    return (
        file_answer(content, name) if output == "image" else multipart_answer(facts, content, name)
    )


@router.post("/activelearning/{strategy}")
def next_sample(app: App, reader: Reader, strategy: str) -> dict[str, Any]:
    """The next image that is not labeled; nothing if there is none."""
    return samples.next_sample(app, reader, strategy)


@router.get("/datastore/")
def datastore(app: App, reader: Reader, output: Literal["all", "train", "stats"] = "stats") -> Any:
    """The images of the project, and which the reader has labeled."""
    if output == "stats":
        return _stats(app, reader)
    rows = app.project.rows(
        "SELECT i.id, coalesce(r.state, 'new') AS state FROM images i LEFT JOIN readings r "
        "ON r.image = i.id AND r.reader = ? WHERE i.missing = 0 ORDER BY i.path",
        reader,
    )
    if output == "train":
        return [
            {"image": str(row["id"]), "label": str(row["id"])}
            for row in rows
            if row["state"] == "done"
        ]
    objects = {}
    for row in rows:
        about = samples.sample_json(app, row["id"])
        final = {"final": {"ext": ".nii.gz", "info": {}}} if row["state"] == "done" else {}
        objects[about["id"]] = {
            "image": {"ext": _extension(about["name"]), "info": {"name": about["name"]}}, "labels": final,
        }  # fmt: skip
    return {"name": app.project.folder.name, "description": "", "objects": objects}


@router.put("/datastore/")
def upload(app: App, reader: Reader) -> None:
    """Refused: what is in the project is decided by its folder."""
    raise DataError(
        "Images are not added to the project from other tools; copy the file into its folder, or work in a "
        "session."
    )


@router.get("/datastore/image")
def image(app: App, reader: Reader, request: Request, image: Name) -> Response:
    """An image as a volume."""
    id = samples.image_named(app, series_of(request), image)
    content, suffix = image_file(app.scans.scan(id))
    return file_answer(
        content if isinstance(content, bytes) else content.read_bytes(), f"{id}{suffix}"
    )


@router.get("/datastore/image/info")
def image_info(app: App, reader: Reader, request: Request, image: Name) -> dict[str, Any]:
    """An image, without its voxels."""
    return samples.sample_json(app, samples.image_named(app, series_of(request), image))


@router.get("/datastore/label")
def label(app: App, reader: Reader, request: Request, label: Name, tag: Name = "") -> Response:
    """The accepted masks of a reader as a label map."""
    id = samples.image_named(app, series_of(request), label)
    labels, _ = label_map_of(app, id, reader)
    return file_answer(label_map_file(labels, app.scans.scan(id), ".nii.gz"), f"{id}.nii.gz")


@router.get("/datastore/label/info")
def label_info(
    app: App, reader: Reader, request: Request, label: Name, tag: Name = ""
) -> dict[str, Any]:
    """The values of the objects in a label map."""
    id = samples.image_named(app, series_of(request), label)
    return {"name": f"{id}.nii.gz", "labels": label_map_of(app, id, reader)[1]}


@router.put("/datastore/label")
def save_label(
    app: App,
    reader: Reader,
    request: Request,
    image: Name,
    label: UploadFile,
    tag: Name = "",
    params: Params = "{}",
) -> dict[str, Any]:
    """Make the reader's objects in an image what a label map says."""
    id = samples.image_named(app, series_of(request), image)
    app.leases.check(id, reader)
    values = read_label_map(label.file.read(), label.filename or "", app.scans.scan(id))
    names = _names(params)
    count = waited_for(
        app.worker.submit(Priority.stroke, lambda: save_label_map(app, id, reader, values, names))
    )
    app.events.publish("image", image=id, reader=reader)
    return {"image": str(id), "label": str(id), "objects": count}


@router.get("/train/")
def train_status(reader: Reader) -> None:
    """No training runs here."""
    raise NotFoundError("No training runs; train on the annotator's page.")


@router.post("/train/")
@router.post("/train/{model}")
@router.delete("/train/")
def train(reader: Reader, model: str = "") -> None:
    """Refused: training is started where its result can be looked at."""
    raise DataError("Training is started and stopped on the annotator's page.")


@router.get("/logs/")
def logs(reader: Reader) -> Response:
    """The log is where the server was started."""
    return Response(
        "The log is in the terminal in which 'ultrasam annotate' runs.\n", media_type="text/plain"
    )


def _stats(app: Annotator, reader: str) -> dict[str, Any]:
    counts = state_counts(app.project, reader)
    return {
        "total": sum(counts.values()),
        "completed": counts["done"],
        "label_tags": {},
        "train": [],
    }


def _session_json(scan: Scan) -> dict[str, Any]:
    return {"frames": scan.num_frames, "width": scan.width, "height": scan.height}


def _extension(name: str) -> str:
    return ".nii.gz" if name.lower().endswith(".nii.gz") else name[name.rfind(".") :]


def _params(text: str) -> InferParams:
    try:
        return InferParams.model_validate_json(text or "{}")
    except ValidationError as error:
        raise DataError(f"params: {first_validation_error(error)}.") from error


def _names(text: str) -> dict[int, str]:
    """The names of a label map's values, from ``{"label_info": [{"name": …, "idx": …}]}``."""
    try:
        entries = json.loads(text or "{}").get("label_info") or []
        return {int(one.get("idx", k)): str(one["name"])[:100] for k, one in enumerate(entries, 1)}
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise DataError(
            'params: label_info must be a list such as [{"name": "lesion", "idx": 1}].'
        ) from error
