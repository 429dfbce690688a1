"""Annotator: an open project with all that serves it, apart from HTTP."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ultrasam.annotate.background import Background
from ultrasam.annotate.events import Events
from ultrasam.annotate.jobs import Jobs
from ultrasam.annotate.leases import Leases
from ultrasam.annotate.planes import Planes
from ultrasam.annotate.project.images import RUNS_FOLDER, Listing, update_images
from ultrasam.annotate.project.project import Project
from ultrasam.annotate.repeats import Repeats
from ultrasam.annotate.scans import Scans
from ultrasam.annotate.segmentation import Segmentation
from ultrasam.annotate.strokes import Tools
from ultrasam.annotate.uploads import SegmentedUploads
from ultrasam.annotate.worker import Priority, Worker
from ultrasam.errors import UltraSamError


@dataclass(slots=True, eq=False)
class Annotator:
    """A project, its model and the threads that work for it; close it when done.

    Attributes:
        project, scans, segmentation: the project's.
        worker: does all that uses the model or changes masks, one task at a time.
        events: what happens, for pages that listen.
        listing: what the folder held when it was opened.
        background: makes thumbnails and prepares what comes next.
        jobs: long work.
        uploads: images of other tools, which are no part of the project.
        planes: cuts through volumes.
        leases: who has which image open.
        repeats: requests that were done already.
        export_folder: where exports go; by default into the project's folder.
        model_problem: why the model cannot be loaded, or None.
    """

    project: Project
    scans: Scans
    segmentation: Segmentation
    worker: Worker
    events: Events
    listing: Listing
    background: Background
    jobs: Jobs
    uploads: SegmentedUploads
    planes: Planes
    leases: Leases = field(default_factory=Leases)
    repeats: Repeats = field(default_factory=Repeats)
    export_folder: Path | None = None
    model_problem: str | None = None

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        project: Path | None = None,
        model: str = "nano",
        device: str | None = None,
        runtime: str | None = None,
        export_folder: Path | None = None,
    ) -> Annotator:
        """Open a folder; its images are listed, and the model begins to load.

        Args:
            folder: the images'.
            project: the project file; by default in the folder.
            model, device, runtime: as in `ultrasam.load`.
            export_folder: as the attribute.

        Raises:
            DataError: As in `Project`.
        """
        opened = Project(folder, project)
        try:
            listing = update_images(opened)
        except BaseException:
            opened.close()
            raise
        scans = Scans(opened)
        segmentation = Segmentation(
            scans, model, device=device, runtime=runtime, views=bool(opened.settings["views"])
        )
        worker, events = Worker(duration=lambda: segmentation.encoding_s), Events()
        background = Background(opened, scans, segmentation, worker, events)
        annotator = cls(
            opened, scans, segmentation, worker, events, listing, background, Jobs(opened, events),
            SegmentedUploads(segmentation), Planes(opened, scans), export_folder=export_folder,
        )  # fmt: skip
        annotator.worker.submit(Priority.open, annotator._load_model)
        return annotator

    @property
    def tools(self) -> Tools:
        """What strokes need."""
        return Tools(self.project, self.scans, self.segmentation)

    @property
    def runs_folder(self) -> Path:
        """Where training writes, beside the project file."""
        return self.project.file.parent / RUNS_FOLDER

    def use_model(self, name: str) -> None:
        """Go on with other weights.

        Raises:
            CheckpointError, DeviceError: They cannot be loaded; the earlier ones stay.
        """
        self.worker.submit(Priority.open, lambda: self.segmentation.use(name)).result()
        self.events.publish("model", ready=True, problem=None)

    def _load_model(self) -> None:
        try:
            _ = self.segmentation.backend
        except UltraSamError as error:
            self.model_problem = str(error)
        self.events.publish("model", ready=self.model_problem is None, problem=self.model_problem)

    def close(self) -> None:
        """Finish what runs, and close the project."""
        self.jobs.close()
        self.background.close()
        self.worker.close()
        self.uploads.close()
        self.events.close()
        self.project.close()
