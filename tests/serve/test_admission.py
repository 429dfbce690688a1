"""Admission: seconds of queued work are bounded, by the measured time of each kind."""

from __future__ import annotations

import pytest

from ultrasam.serve.admission import Admission
from ultrasam.serve.http.problems import RefusedError


def known(most_s: float = 10.0, **seconds: float) -> Admission:
    admission = Admission(most_s)
    for kind, one in seconds.items():
        admission.observe(kind, one)
    return admission


def test_work_is_accepted_up_to_the_bound_and_again_when_some_is_done() -> None:
    admission = known(10, encode=4)
    tickets = [admission.admit({"encode": 1}) for _ in range(2)]
    with pytest.raises(RefusedError) as refused:
        admission.admit({"encode": 1})
    assert refused.value.status == 429
    assert refused.value.retry_after == 2
    tickets[0].close()
    admission.admit({"encode": 1})
    assert admission.queued == {"encode": 2}


def test_small_work_fits_where_large_work_does_not() -> None:
    admission = known(10, encode=4, box=0.1)
    for _ in range(2):
        admission.admit({"encode": 1})
    admission.admit({"box": 10})
    assert admission.queued_s == pytest.approx(9)


def test_what_alone_exceeds_the_bound_is_accepted_if_nothing_else_is_queued() -> None:
    admission = known(1, encode=30)
    ticket = admission.admit({"encode": 1})
    with pytest.raises(RefusedError) as refused:
        admission.admit({"encode": 1})
    assert refused.value.retry_after == 30  # then nothing is queued
    ticket.close()
    admission.admit({"encode": 1})


def test_parts_of_a_ticket_are_done_one_by_one_and_each_only_once() -> None:
    admission = known(10, encode=2, box=1)
    ticket = admission.admit({"encode": 1, "box": 3})
    encode = ticket.take("encode")
    encode.close()
    encode.close()
    assert admission.queued == {"box": 3}
    ticket.close()
    ticket.close()
    assert admission.queued_s == 0
    assert admission.queued == {}


def test_one_that_took_very_long_closes_the_door_to_nobody() -> None:
    admission = known(10, encode=1)
    for _ in range(20):
        admission.observe("encode", 1)
    admission.observe("encode", 100)
    assert admission.expected("encode") == pytest.approx(1.2)


def test_a_first_time_that_was_too_long_is_soon_forgotten() -> None:
    admission = known(10, encode=8)
    for _ in range(9):
        admission.observe("encode", 1)
    assert admission.expected("encode") == pytest.approx(1.7)


def test_times_follow_what_is_measured() -> None:
    admission = known(10, encode=1)
    for _ in range(100):
        admission.observe("encode", 3)
    assert admission.expected("encode") == pytest.approx(3, rel=0.01)
    # What is queued counts by what it takes now.
    admission.admit({"encode": 2})
    assert admission.queued_s == pytest.approx(6, rel=0.01)


def test_a_machine_that_needs_longer_than_the_parts_accepts_less() -> None:
    admission = known(10, encode=1)
    for _ in range(100):
        admission.observe_answer(2.0, 4.0)
    assert admission.expected("encode") == 1
    for _ in range(5):
        admission.admit({"encode": 1})
    assert admission.queued_s == pytest.approx(10, rel=0.01)
    with pytest.raises(RefusedError):
        admission.admit({"encode": 1})
    for _ in range(100):
        admission.observe_answer(4.0, 2.0)  # such as when others have left
    assert admission.queued_s == pytest.approx(5, rel=0.01)


def test_without_room_for_the_smallest_work_there_is_none() -> None:
    admission = known(1, encode=0.45, box=0.2, click=0.3)
    admission.check_room()
    admission.admit({"encode": 1})
    admission.check_room()
    admission.admit({"encode": 1})
    with pytest.raises(RefusedError):
        admission.check_room()
    assert admission.queued == {"encode": 2}
