"""Worker processes end with the process they work for, also when that one is killed."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from multiprocessing.connection import wait

_POLL_S = 0.5


def exit_with_parent() -> None:
    """End this process as soon as its parent has ended; called once in each worker process.

    A killed parent cannot tell its workers, which would otherwise keep their memory for as long as they wait.
    """
    parent, number = multiprocessing.parent_process(), os.getppid()

    def watch() -> None:
        if parent is not None:
            wait([parent.sentinel])
        else:  # started as a command of its own, such as the further processes of a distributed run
            while os.getppid() == number:
                time.sleep(_POLL_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="exit with parent").start()
