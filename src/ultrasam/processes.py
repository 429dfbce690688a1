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
    sentinels = [] if parent is None else [parent.sentinel]

    def watch() -> None:
        # The parent's number is watched as well: a process started as a command of its own, as distributed
        # runs do, has no sentinel, and another process may have inherited the sentinel of a forked one.
        while os.getppid() == number:
            if sentinels:
                if wait(sentinels, _POLL_S):
                    break
            else:
                time.sleep(_POLL_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="exit with parent").start()
