"""What is lost is repeated, what hangs is replaced, and what cannot be done ends the run with a reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultrasam.cluster.driver import drive
from ultrasam.cluster.shards import ShardDone, heartbeat_file
from ultrasam.errors import DiskFullError, UltraSamError


class LostError(Exception):
    pass


def done(shard: int) -> ShardDone:
    return ShardDone(shard, 1, 1, 0, 0, 0.0, {})


class Scripted:
    """A worker that does with each shard what ``act`` says: a result, an error, or None, which hangs."""

    lost = (LostError,)

    def __init__(
        self, act: Callable[[int, bool, Mapping[str, str]], ShardDone | Exception | None]
    ) -> None:
        self.act = act
        self.replaced = self.closed = 0
        self.busy = False

    def start(self, shard: int, *, careful: bool, refused: Mapping[str, str]) -> Future[ShardDone]:
        assert not self.closed
        future: Future[ShardDone] = Future()
        result = self.act(shard, careful, refused)
        if isinstance(result, Exception):
            future.set_exception(result)
        elif result is not None:
            future.set_result(result)
        return future

    def replace(self) -> None:
        self.replaced += 1

    def close(self) -> None:
        self.closed += 1


@given(st.integers(0, 12), st.integers(1, 4), st.lists(st.integers(0, 11), max_size=5, unique=True))
def test_every_shard_is_done_once_whichever_workers_are_lost(
    count: int, workers: int, unlucky: list[int]
) -> None:
    seen: list[tuple[int, bool]] = []

    def act(shard: int, careful: bool, refused: Mapping[str, str]) -> ShardDone | Exception:
        seen.append((shard, careful))
        return LostError() if shard in unlucky and not careful else done(shard)

    hands = [Scripted(act) for _ in range(workers)]
    finished: list[int] = []
    drive(Path("nowhere"), range(count), hands, lambda one: finished.append(one.shard))
    assert sorted(finished) == list(range(count))
    again = [shard for shard, careful in seen if careful]
    assert sorted(again) == sorted(shard for shard in unlucky if shard < count)
    assert sum(hand.replaced for hand in hands) == len(again)
    assert all(hand.closed == 1 for hand in hands)


def test_a_worker_that_shows_no_life_is_replaced_and_one_that_does_is_not(tmp_path: Path) -> None:
    slow: list[Future[ShardDone]] = []

    class Slow(Scripted):
        def start(
            self, shard: int, *, careful: bool, refused: Mapping[str, str]
        ) -> Future[ShardDone]:
            future = super().start(shard, careful=careful, refused=refused)
            if shard == 1:
                slow.append(future)
            return future

    def act(shard: int, careful: bool, refused: Mapping[str, str]) -> ShardDone | None:
        return None if shard == 1 or (shard == 0 and not careful) else done(shard)

    beats = 0

    def beating(one: ShardDone) -> None:
        finished.append(one.shard)

    finished: list[int] = []
    hands = [Slow(act), Slow(act)]
    beat = heartbeat_file(tmp_path, 1)
    beat.parent.mkdir()

    def touch() -> bool:
        """Shard 1 is at work until shard 0 has been repeated."""
        nonlocal beats
        beats += 1
        beat.write_text(str(beats))
        if finished and not slow[0].done():
            slow[0].set_result(done(1))
        return True

    import threading

    stop = threading.Event()

    def keep() -> None:
        while not stop.wait(0.05):
            touch()

    thread = threading.Thread(target=keep)
    thread.start()
    try:
        drive(tmp_path, [0, 1], hands, beating, stalled_s=2.0)
    finally:
        stop.set()
        thread.join()
    assert finished == [0, 1]
    assert len(slow) == 1  # it was never replaced
    assert sum(hand.replaced for hand in hands) == 1


def test_a_file_that_ends_its_worker_again_and_again_is_refused(tmp_path: Path) -> None:
    beat = heartbeat_file(tmp_path, 0)
    beat.parent.mkdir()
    seen: list[dict[str, str]] = []

    def act(shard: int, careful: bool, refused: Mapping[str, str]) -> ShardDone | Exception:
        seen.append(dict(refused))
        if "a.png" in refused and "b.png" in refused:
            return done(shard)
        if careful:
            beat.write_text("b.png" if "a.png" in refused else "a.png")
        return LostError()

    drive(tmp_path, [0], [Scripted(act)], lambda one: None)
    assert seen[:4] == [{}] * 4
    assert set(seen[4]) == {"a.png"}
    assert "4 times" in seen[4]["a.png"]
    assert set(seen[-1]) == {"a.png", "b.png"}


def test_workers_lost_before_any_file_end_the_run_with_a_reason(tmp_path: Path) -> None:
    hand = Scripted(lambda *given: LostError())
    with pytest.raises(UltraSamError, match=r"before it opened a file.*fewer --workers"):
        drive(tmp_path, [0, 1], [hand], lambda one: None)
    assert hand.closed == 1


def test_a_worker_that_ended_while_it_had_nothing_to_do_is_replaced(tmp_path: Path) -> None:
    class Idle(Scripted):
        def start(self, shard: int, **how: object) -> Future[ShardDone]:  # type: ignore[override]
            if shard == 1 and not self.replaced:
                raise LostError
            return super().start(shard, **how)  # type: ignore[arg-type]

    hand, finished = Idle(lambda shard, *given: done(shard)), []
    drive(tmp_path, range(3), [hand], lambda one: finished.append(one.shard))
    assert (finished, hand.replaced) == ([0, 1, 2], 1)


def test_an_error_of_the_shard_function_ends_the_run(tmp_path: Path) -> None:
    hands = [Scripted(lambda *given: DiskFullError("No space.")), Scripted(lambda *given: None)]
    with pytest.raises(DiskFullError, match="No space"):
        drive(tmp_path, [0, 1], hands, lambda one: None)
    assert [hand.closed for hand in hands] == [1, 1]
