"""Worker processes end with the process they work for, also when that one is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait

_POLL_S = 0.5
_LAUNCHER = "ULTRASAM_LAUNCHER"


def exit_with_parent() -> None:
    """End this process as soon as its parent has ended; called once in each worker process.

    A killed parent cannot tell its workers, which would otherwise keep their memory for as long as they wait.
    """
    parent, number = multiprocessing.parent_process(), os.getppid()
    sentinels = [] if parent is None else [parent.sentinel]

    def watch() -> None:
        # The parent's number is watched as well: a process started as a command of its own has no sentinel,
        # and another process may have inherited the sentinel of a forked one.
        while os.getppid() == number:
            if sentinels:
                if wait(sentinels, _POLL_S):
                    break
            else:
                time.sleep(_POLL_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="exit with parent").start()


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Let Ctrl-C wait until the block is done; does nothing outside the main thread, which alone gets it.

    Raises:
        KeyboardInterrupt: It came in the block.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


def exit_with_launcher(*, first: bool) -> None:
    """Let the further processes of a distributed run end with the first one, which has started them.

    Processes that torchrun, SLURM or a user has started are theirs to end: the shell that a run was started
    from may end before it.

    Args:
        first: whether this is the first process of the run.
    """
    if first:
        os.environ[_LAUNCHER] = str(os.getpid())
    elif os.environ.get(_LAUNCHER) == str(os.getppid()):
        exit_with_parent()


def is_starting() -> bool:
    """Whether this process is a worker that is still importing the main module, which must start no work: a
    script without ``if __name__ == "__main__":`` would run once more in each of its workers."""
    return bool(getattr(multiprocessing.current_process(), "_inheriting", False))
