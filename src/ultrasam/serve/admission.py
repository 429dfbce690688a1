"""Admission: work is accepted only as long as what is queued takes less than some seconds.

Seconds are items times the measured time of their kind, so that the bound means the same for a small model
and a large one, on any machine. They are corrected by how long requests took in fact: a busy machine needs
longer than the parts alone.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Mapping

from ultrasam.serve.http.problems import RefusedError

_WEIGHT = 0.1  # of the latest time in the average, at least; the first ones count alike
_OUTLIER = 3.0  # times the average; what took longer counts as this much, as it says little of what follows
_MOST_SLOWNESS = 10.0  # of the correction
_LEAST_S = 0.2  # of predictions that the correction is learned from
_UNKNOWN_S = 0.1  # the time of what was never measured


class Admission:
    """Counts what is queued, and refuses what would take too long. Any thread may call it.

    Args:
        most_s: seconds of queued work. One request is accepted whatever it takes if nothing else is queued.
    """

    def __init__(self, most_s: float) -> None:
        self.most_s = most_s
        self._means: dict[str, float] = {}
        self._observed: Counter[str] = Counter()
        self._slowness = 1.0
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def observe(self, kind: str, seconds: float) -> None:
        """Note how long an item of a kind took."""
        with self._lock:
            before = self._means.get(kind, seconds)
            self._observed[kind] += 1
            weight = max(_WEIGHT, 1 / self._observed[kind])
            self._means[kind] = before + weight * (min(seconds, _OUTLIER * before) - before)

    def expected(self, kind: str) -> float:
        """The seconds that an item of a kind takes: an exponential average."""
        return self._means.get(kind, _UNKNOWN_S)

    def observe_answer(self, predicted_s: float, took_s: float) -> None:
        """Note how long a request took in all, and how long its and all earlier work should have taken."""
        if predicted_s < _LEAST_S:
            return
        ratio = min(max(took_s / predicted_s, 1.0), _MOST_SLOWNESS)
        with self._lock:
            self._slowness += _WEIGHT * (ratio - self._slowness)

    @property
    def queued_s(self) -> float:
        """Seconds of all work that is accepted and not done."""
        with self._lock:
            return self._seconds(self._counts)

    @property
    def queued(self) -> dict[str, int]:
        """How many items of each kind are accepted and not done."""
        with self._lock:
            return dict(+self._counts)

    def admit(self, work: Mapping[str, int]) -> Ticket:
        """Accept work; the ticket must be closed when it is done or dropped.

        Args:
            work: how many items of each kind.

        Raises:
            RefusedError: Too much is queued (429); it says in how many seconds there is room.
        """
        with self._lock:
            queued, more = self._seconds(self._counts), self._seconds(work)
            if queued > 0 and queued + more > self.most_s:
                # A request that alone exceeds the bound fits when nothing else is queued.
                wait = max(1, math.ceil(min(queued, queued + more - self.most_s)))
                raise RefusedError(
                    f"{queued:.1f} seconds of work are queued; ask again in {wait} s.", 429,
                    retry_after=wait,
                )  # fmt: skip
            self._counts.update(work)
            predicted = (queued + more) / self._slowness
        return Ticket(self, Counter(work), predicted)

    def check_room(self) -> None:
        """Refuse, before anything is read, what cannot be accepted however small it is.

        Raises:
            RefusedError: As in `admit`.
        """
        smallest = min(("box", "click"), key=self.expected)
        self.admit({smallest: 1}).close()

    def release(self, work: Mapping[str, int]) -> None:
        """Forget work; for `Ticket`."""
        with self._lock:
            self._counts.subtract(work)

    def _seconds(self, work: Mapping[str, int]) -> float:
        parts = (count * self.expected(kind) for kind, count in work.items() if count > 0)
        return self._slowness * sum(parts)


class Ticket:
    """Accepted work; closing it twice does nothing."""

    def __init__(self, admission: Admission, work: Counter[str], predicted_s: float = 0.0) -> None:
        self._admission, self._work = admission, work
        self._predicted_s, self._since = predicted_s, time.perf_counter()

    def take(self, kind: str) -> Ticket:
        """Part with the items of a kind, which now have a ticket of their own."""
        return Ticket(self._admission, Counter({kind: self._work.pop(kind, 0)}))

    def answered(self) -> None:
        """The work is done, from the first to the last."""
        spent = time.perf_counter() - self._since
        self._admission.observe_answer(self._predicted_s, spent)

    def close(self) -> None:
        """The work is done or dropped."""
        work, self._work = self._work, Counter()
        self._admission.release(work)
