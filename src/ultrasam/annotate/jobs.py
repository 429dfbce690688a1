"""Jobs: long work in the background, with progress, cancel and results that are kept.

Jobs run one after the other. Each is a row of the project file: one that was running when the process ended
is ``interrupted`` at the next start, and what it had written stays.
"""

from __future__ import annotations

import json
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any

from ultrasam.annotate.events import Events
from ultrasam.annotate.project.project import Project, now
from ultrasam.errors import UltraSamError
from ultrasam.serve.http.problems import NotFoundError

logger = logging.getLogger(__name__)
Json = dict[str, Any]
_EVERY_S = 0.25  # between two events of progress
_LISTED = 100


class CanceledError(Exception):
    """The user canceled the job; what it has written stays."""


class Job:
    """A job that runs: it reports to its row and to the pages.

    Attributes:
        id: its number.
    """

    def __init__(self, jobs: Jobs, id: int) -> None:
        self.id = id
        self._jobs = jobs
        self._canceled = threading.Event()
        self._told = 0.0

    def progress(self, done: int, total: int, sentence: str | None = None) -> None:
        """Say how far it is.

        Raises:
            CanceledError: The user has canceled it.
        """
        if time.monotonic() - self._told >= _EVERY_S or sentence is not None:
            self._told = time.monotonic()
            facts: Json = {"done": done, "total": total}
            if sentence is not None:
                facts["sentence"] = sentence
            self._jobs.update(self.id, **facts)
        self.check()

    def check(self) -> None:
        """Stop here if it is canceled.

        Raises:
            CanceledError: It is.
        """
        if self._canceled.is_set():
            raise CanceledError

    def cancel(self) -> None:
        """Let it stop at its next report."""
        self._canceled.set()


Run = Callable[[Job], Json]
"""Does a job; returns its result, with a ``sentence``. `CanceledError` may carry a result as its argument."""


class Jobs:
    """The jobs of a project.

    Args:
        project: keeps them.
        events: hears of them.
    """

    def __init__(self, project: Project, events: Events) -> None:
        self._project, self._events = project, events
        self._queue: queue.Queue[tuple[Job, Run] | None] = queue.Queue()
        self._jobs: dict[int, Job] = {}
        self._lock = threading.Lock()
        with project.write() as connection:
            connection.execute(
                "UPDATE jobs SET state = 'interrupted', sentence = 'The program ended before the job did; "
                "what it had made until then is kept.' WHERE state IN ('waiting', 'running')"
            )
        self._thread = threading.Thread(target=self._work, name="annotate jobs", daemon=True)
        self._thread.start()

    def start(
        self, kind: str, reader: str, request: Json, run: Run, *, image: int | None = None
    ) -> Json:
        """Put a job in the queue; returns it as the page sees it."""
        with self._project.write() as connection:
            id = connection.execute(
                "INSERT INTO jobs (kind, image, reader, state, request, created) "
                "VALUES (?, ?, ?, 'waiting', ?, ?)",
                (kind, image, reader, json.dumps(request), now()),
            ).lastrowid
        assert id is not None
        job = Job(self, id)
        with self._lock:
            self._jobs[id] = job
        self._queue.put((job, run))
        return self.job(id)

    def job(self, id: int) -> Json:
        """One job.

        Raises:
            NotFoundError: There is none of that number.
        """
        row = self._project.row("SELECT * FROM jobs WHERE id = ?", id)
        if row is None:
            raise NotFoundError(f"There is no job {id}.")
        return _job(row)

    def all(self) -> list[Json]:
        """The latest jobs, newest first."""
        return [
            _job(row)
            for row in self._project.rows("SELECT * FROM jobs ORDER BY id DESC LIMIT ?", _LISTED)
        ]

    def cancel(self, id: int) -> Json:
        """Cancel a job that waits or runs; it keeps what it has written.

        Raises:
            NotFoundError: There is none of that number.
        """
        found = self.job(id)
        with self._lock:
            job = self._jobs.get(id)
        if job is not None:
            job.cancel()
            if found["state"] == "waiting":
                self.update(id, state="cancelled", sentence="Canceled before it began.")
        return self.job(id)

    def update(self, id: int, **facts: Any) -> None:
        """Change a job's row, and tell the pages."""
        columns = ", ".join(f"{name} = ?" for name in facts)
        with self._project.write() as connection:
            connection.execute(f"UPDATE jobs SET {columns} WHERE id = ?", (*facts.values(), id))
        self._events.publish("job", **self.job(id))

    def close(self) -> None:
        """Cancel all, and wait until the one that runs has stopped."""
        with self._lock:
            for job in self._jobs.values():
                job.cancel()
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            job, run = item
            try:
                job.check()
                self.update(job.id, state="running")
                result = run(job)
                self._end(job, "done", result)
            except CanceledError as error:
                result = error.args[0] if error.args else {}
                self._end(job, "cancelled", {"sentence": "Canceled.", **result})
            except UltraSamError as error:
                self._end(job, "failed", {"sentence": str(error)})
            except Exception as error:
                logger.exception("Job %d failed", job.id)
                self._end(
                    job, "failed",
                    {"sentence": f"Internal error: {type(error).__name__}: {error}. Please report it."},
                )  # fmt: skip

    def _end(self, job: Job, state: str, result: Json) -> None:
        with self._lock:
            self._jobs.pop(job.id, None)
        sentence = result.pop("sentence", "")
        try:
            self.update(job.id, state=state, sentence=sentence, result=json.dumps(result))
        except UltraSamError as error:  # a full disk; the row stays as it was
            logger.warning("%s", error)


def _job(row: sqlite3.Row) -> Json:
    return {
        "id": row["id"], "kind": row["kind"], "image": row["image"], "reader": row["reader"],
        "state": row["state"], "done": row["done"], "total": row["total"], "sentence": row["sentence"],
        "result": None if row["result"] is None else json.loads(row["result"]), "created": row["created"],
    }  # fmt: skip
