"""Slow, broken and vanished clients on a real port: they cost others nothing."""

from __future__ import annotations

import concurrent.futures
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from starlette.responses import Response

from tests.serve.conftest import FakeModel, png, until
from tests.serve.listening import Listening, listening
from ultrasam.serve import guard
from ultrasam.serve.app import Limits
from ultrasam.serve.http.connections import TimedH11

SMALL = png(size=(8, 10))


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def server(model: FakeModel, cache_folder: Path) -> Iterator[Listening]:
    with listening(model, limits=Limits(upload_bytes=50_000), head_s=0.3) as running:
        yield running
        model.gate.set()


def connected(server: Listening) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=30)


def predict(server: Listening, content: bytes = SMALL, *, timeout: float = 60) -> httpx.Response:
    return httpx.post(
        f"{server.address}/v1/predict", files={"image": ("x.png", content)},
        data={"request": json.dumps({"prompts": [{"box": [1, 1, 6, 6]}]})}, timeout=timeout,
        trust_env=False,
    )  # fmt: skip


def test_who_sends_a_head_slowly_is_closed_and_others_are_answered(
    server: Listening, model: FakeModel
) -> None:
    model.gate.set()
    with ExitStack() as stack:
        slow = [stack.enter_context(connected(server)) for _ in range(50)]
        for one in slow:
            one.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: ")
        assert predict(server).status_code == 200
        for one in slow:
            assert one.recv(100) == b""  # closed without an answer


def test_a_second_head_on_a_connection_has_no_more_time_than_the_first(server: Listening) -> None:
    host = f"Host: 127.0.0.1:{server.port}\r\n".encode()
    with connected(server) as one:
        one.sendall(b"GET /health HTTP/1.1\r\n" + host + b"\r\n")
        answer = b""
        while not answer.endswith(b"}"):
            answer += one.recv(10_000)
        assert answer.startswith(b"HTTP/1.1 200")
        one.sendall(b"GET /health HTTP/1.1\r\nX-A: ")
        assert one.recv(100) == b""


@contextmanager
def asked_for(
    size: int, write_s: float, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Listening, socket.socket]]:
    """A server with a limit on answers that are not read, and a client that has asked for a large one."""
    monkeypatch.setattr(TimedH11, "write_s", write_s)
    model = FakeModel()
    model.gate.set()
    with listening(model, limits=Limits()) as server, connected(server) as one:
        server.app.add_route("/large", lambda _: Response(b"x" * size))
        host = f"Host: 127.0.0.1:{server.port}\r\n".encode()
        one.sendall(b"GET /large HTTP/1.1\r\n" + host + b"\r\n")
        yield server, one


def test_who_does_not_read_an_answer_is_closed(
    cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with asked_for(50_000_000, 0.3, monkeypatch) as (server, one):
        assert predict(server).status_code == 200
        until(lambda: server.server.server_state.connections == set())
        received = 0
        with suppress(ConnectionResetError):
            while part := one.recv(1_000_000):
                received += len(part)
        assert received < 50_000_000


def test_who_reads_an_answer_slowly_gets_all_of_it(
    cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with asked_for(20_000_000, 0.5, monkeypatch) as (_, one):
        received, start = 0, time.monotonic()
        while received < 20_000_000:
            part = one.recv(1_000_000)
            assert part, f"closed after {received} bytes"
            received += len(part)
            time.sleep(0.05)
        assert time.monotonic() - start > 1  # twice the limit, with something read all the time


def test_who_sends_a_body_slowly_gets_408(
    server: Listening, model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.gate.set()
    monkeypatch.setattr(guard, "_BODY_S", 0.3)
    host = f"Host: 127.0.0.1:{server.port}\r\n".encode()
    with connected(server) as slow:
        slow.sendall(b"POST /v1/uploads HTTP/1.1\r\n" + host + b"Content-Length: 1000\r\n\r\nabc")
        assert predict(server).status_code == 200
        answer = b""
        while part := slow.recv(10_000):
            answer += part
        assert answer.startswith(b"HTTP/1.1 408")  # and then closed


def test_a_body_without_an_end_is_cut_off(server: Listening) -> None:
    host = f"Host: 127.0.0.1:{server.port}\r\n".encode()
    with connected(server) as endless:
        endless.sendall(
            b"POST /v1/uploads HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\n"
        )
        answer = b""
        for _ in range(100):
            try:
                endless.sendall(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")
            except OSError:
                break
        try:
            answer = endless.recv(10_000)
        except ConnectionResetError:
            return  # closed, with what was sent in the meantime
        assert answer.startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "sent",
    [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"GET / HTTP/9\r\n\r\n",
     b"GET / HTTP/1.1\r\n" + b"X: " + b"a" * 100_000],
    ids=["tls", "no path", "version", "long head"],
)  # fmt: skip
def test_what_is_no_http_is_closed(server: Listening, model: FakeModel, sent: bytes) -> None:
    model.gate.set()
    with connected(server) as one:
        one.sendall(sent)
        answer = one.recv(10_000)
        assert not answer or answer.startswith(b"HTTP/1.1 400")
    assert predict(server).status_code == 200


def test_the_work_of_who_has_left_is_not_done(server: Listening, model: FakeModel) -> None:
    answers = list[int]()

    def ask() -> None:
        answers.append(predict(server).status_code)

    first = threading.Thread(target=ask)
    first.start()
    until(lambda: model.started == 1)
    engine = server.app.state.engine
    with pytest.raises(httpx.ReadTimeout):
        predict(server, png(1, size=(8, 10)), timeout=0.3)  # leaves
    until(lambda: engine.admission.queued == {"encode": 1, "box": 1})
    assert engine._worker.waiting <= 1  # a canceled job, which is dropped when its turn comes
    model.gate.set()
    first.join()
    until(lambda: server.drain.answering == 0)
    assert answers == [200]
    assert model.encoded == [1]


def test_when_it_is_told_to_stop_accepted_requests_are_answered_and_new_ones_put_off(
    server: Listening, model: FakeModel
) -> None:
    answers = list[int]()
    threads = [
        threading.Thread(
            target=lambda seed=seed: answers.append(
                predict(server, png(seed, size=(8, 10))).status_code
            )
        )
        for seed in range(4)
    ]
    for thread in threads:
        thread.start()
    until(lambda: server.drain.answering == 4)
    server.drain.begin()
    refused = predict(server)
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    assert httpx.get(f"{server.address}/ready", trust_env=False).status_code == 503
    assert httpx.get(f"{server.address}/health", trust_env=False).status_code == 200
    model.gate.set()
    for thread in threads:
        thread.join()
    assert answers == [200] * 4
    until(lambda: not _answers(server))  # it ends by itself


def _answers(server: Listening) -> bool:
    try:
        httpx.get(f"{server.address}/health", trust_env=False)
    except httpx.TransportError:
        return False
    return True


def test_beyond_the_bound_429_is_the_only_refusal_and_each_acceptance_is_answered(
    cache_folder: Path,
) -> None:
    model = FakeModel(expected={"encode": 0.4, "box": 0.1, "click": 0.1})
    with listening(model, limits=Limits(queued_s=2.0)) as server:
        statuses = list[int]()

        def ask(seed: int) -> None:
            answer = predict(server, png(seed, size=(8, 10)))
            statuses.append(answer.status_code)
            if answer.status_code == 429:
                assert int(answer.headers["retry-after"]) >= 1

        threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(12)]
        for thread in threads:
            thread.start()
        until(lambda: len(statuses) == 8)  # refused at once, while the model stands still
        assert statuses == [429] * 8
        model.gate.set()
        for thread in threads:
            thread.join()
        assert statuses == [429] * 8 + [200] * 4
        text = httpx.get(f"{server.address}/metrics", trust_env=False).text
        assert 'requests_total{method="POST",route="/v1/predict",status="429"} 8.0' in text


def test_a_full_queue_refuses_large_bodies_unread_and_connections_live_on(
    cache_folder: Path,
) -> None:
    model = FakeModel()
    large = png(size=(600, 700))
    with listening(model, limits=Limits(queued_s=1.0)) as server, ExitStack() as stack:
        first = threading.Thread(target=predict, args=(server,))
        first.start()
        until(lambda: model.started == 1)
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(8))

        def ask(_: int) -> list[int]:
            with httpx.Client(base_url=server.address, timeout=60, trust_env=False) as client:
                return [client.post("/v1/uploads", content=large).status_code for _ in range(10)]

        found = list(pool.map(ask, range(8)))
        assert found == [[429] * 10] * 8
        model.gate.set()
        first.join()
