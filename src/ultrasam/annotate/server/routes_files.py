"""Routes of files: exports and imports."""

from __future__ import annotations

import os
import tempfile
import zipfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

from ultrasam.extras import needs

with needs("The annotator", extra="annotate"):
    from fastapi import APIRouter, UploadFile
    from fastapi import Path as PathParameter
    from fastapi.responses import FileResponse
    from pydantic import Field

from ultrasam.annotate import requests as asked
from ultrasam.annotate.exporting import ExportSettings, export_file, export_project
from ultrasam.annotate.importing import import_masks, path_inside
from ultrasam.annotate.project.images import image_row
from ultrasam.annotate.server.dependencies import App, Reader
from ultrasam.errors import DataError
from ultrasam.files import atomic_write

router = APIRouter()
_UNPACKED = 2_000_000_000  # bytes of an uploaded archive, unpacked
_FILES = 20_000
Format = Literal["png", "coco", "yolo", "nifti", "seg", "sr", "csv", "store"]


class ExportRequest(asked.Request):
    """What to export; readers null takes all."""

    formats: Annotated[tuple[Format, ...], Field(min_length=1, max_length=8)]
    which: Literal["accepted", "all"] = "accepted"
    readers: (
        Annotated[
            tuple[Annotated[str, Field(max_length=60)], ...], Field(min_length=1, max_length=100)
        ]
        | None
    ) = None
    identity: bool = False


class ImportRequest(asked.Request):
    """A path below the project's folder; `image` if it holds the masks of that image alone."""

    path: Annotated[str, Field(min_length=1, max_length=1000)]
    image: Annotated[int, Field(ge=1, le=2**53)] | None = None
    state: Literal["draft", "accepted"] = "draft"


@router.post("/export", status_code=202)
def start_export(app: App, reader: Reader, request: ExportRequest) -> dict[str, Any]:
    """Write masks in other tools' formats, and a zip of them."""
    settings = ExportSettings(
        tuple(dict.fromkeys(request.formats)), request.which, request.readers, request.identity
    )
    return app.jobs.start(
        "export", reader, request.model_dump(),
        run=lambda job: export_project(app.project, app.scans, job, settings, out=app.export_folder),
    )  # fmt: skip


@router.get("/exports/{name}", response_class=FileResponse)
def download(
    app: App,
    reader: Reader,
    name: Annotated[str, PathParameter(pattern=r"^[\w-]{1,60}$")],
) -> FileResponse:
    """The zip of an export."""
    path = export_file(app.project, name, out=app.export_folder)
    return FileResponse(path, media_type="application/zip", filename=path.name)


@router.post("/import", status_code=202)
def start_import(app: App, reader: Reader, request: ImportRequest) -> dict[str, Any]:
    """Read masks from the project's folder."""
    path = path_inside(app.project, request.path)
    if request.image is not None:
        image_row(app.project, request.image, reader)
    return app.jobs.start(
        "import", reader, request.model_dump(), image=request.image,
        run=lambda job: import_masks(
            app.project, app.scans, job, reader=reader, path=path, image=request.image,
            state=request.state,
        ),
    )  # fmt: skip


@router.post("/import/upload", status_code=202)
def upload(
    app: App,
    reader: Reader,
    file: UploadFile,
    image: int | None = None,
    state: Literal["draft", "accepted"] = "draft",
) -> dict[str, Any]:
    """Read masks from a file that is sent: JSON, DICOM-SEG, NIfTI, PNG, or a zip of a data set."""
    if image is not None:
        image_row(app.project, image, reader)
    name = Path((file.filename or "masks").replace("\\", "/")).name or "masks"
    content = file.file.read()

    def run(job: Any) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="ultrasam-import-") as folder, ExitStack() as stack:
            place = Path(folder).resolve()
            path = place / f"upload{''.join(Path(name).suffixes[-2:])[-20:]}"
            atomic_write(path, content)
            if zipfile.is_zipfile(path):
                path = _unpacked(path, place / "unpacked")
            elif path.suffix.lower() == ".json" and os.access(app.project.folder, os.W_OK):
                # Annotations that come alone name images by their place beside them.
                beside = stack.enter_context(
                    tempfile.NamedTemporaryFile(
                        dir=app.project.folder, prefix="ultrasam-import-", suffix=".json"
                    )
                )
                beside.write(content)
                beside.flush()
                path = Path(beside.name).resolve()
            return import_masks(
                app.project, app.scans, job, reader=reader, path=path, image=image, state=state
            )

    return app.jobs.start("import", reader, {"upload": name[:100]}, run, image=image)


def _unpacked(file: Path, folder: Path) -> Path:
    """The content of an archive: its ``annotations.json`` if it has one, else its folder.

    Raises:
        DataError: It is damaged, too large, or has paths that lead out of it.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if len(entries) > _FILES or sum(entry.file_size for entry in entries) > _UNPACKED:
                raise DataError(
                    f"The archive unpacks to more than {_UNPACKED / 1e9:g} GB or {_FILES:,} files; send less."
                )
            for entry in entries:
                target = (folder / entry.filename).resolve()
                if not target.is_relative_to(folder):
                    raise DataError("The archive has paths that lead out of it; pack it anew.")
                archive.extract(entry, folder)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"The archive cannot be unpacked: {error}; pack it anew.") from error
    found = sorted(folder.rglob("annotations.json"))
    return found[0] if found else folder
