"""Claim: at twice what `ultrasam serve` can do, it refuses with 429 and nothing else, what it accepts is
answered within the queue's bound, memory stays flat, and at least 95 % of its capacity is used; at half of
it, requests hardly wait. SIGTERM in the middle loses nothing that was accepted, and slow, large and broken
requests cost others nothing.

Peer: the server itself, in a closed loop of 8 clients, which is its capacity.

    python benchmarks/serve.py [--seconds 30] [--model nano+no-tta] [--repeats 0.5] [--queue 5]

The generator is a process of its own on the same machine, so that it takes part of the processor. Requests
begin at fixed times, whatever becomes of earlier ones, and their latency counts from that time. A share of
the images repeats (found in memory); the others are new (read and encoded).
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import cv2
import httpx
import numpy as np
import psutil

from ultrasam.hardware import processor
from ultrasam.phantom.acquisition import simulate

SEED, SIZE = 2018, (680, 840)
CLIENTS = 8
KNOWN = 20  # images that repeat
PROMPT = json.dumps({"prompts": [{"box": [192, 58, 534, 402]}]})


@dataclass
class Seen:
    """What became of the requests of a phase."""

    began: float = field(default_factory=time.perf_counter)
    statuses: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    refusals: list[float] = field(default_factory=list)
    lost: int = 0
    ended: float = 0.0
    memory: list[int] = field(default_factory=list)

    def note(self, status: str, seconds: float) -> None:
        self.statuses[status] += 1
        if status == "200":
            self.latencies.append(seconds)
            self.ended = time.perf_counter()
        elif status == "429":
            self.refusals.append(seconds)

    @property
    def rate(self) -> float:
        return len(self.latencies) / (self.ended - self.began)

    def __str__(self) -> str:
        p50, p95, p99 = np.percentile(1000 * np.array(self.latencies or [np.nan]), [50, 95, 99])
        counts = ", ".join(f"{count} × {status}" for status, count in sorted(self.statuses.items()))
        text = f"{counts}; accepted: p50 {p50:.0f}, p95 {p95:.0f}, p99 {p99:.0f} ms"
        if self.refusals:
            text += f"; refused: p99 {1000 * np.percentile(self.refusals, 99):.0f} ms"
        return text


class Images:
    """PNG files: new ones, each other than all before, and known ones that repeat."""

    def __init__(self, repeats: float) -> None:
        self._pixels = simulate(SEED, size=SIZE).pixels
        self._numbers, self._repeats = itertools.count(), repeats
        self._random = np.random.default_rng(0)
        self._known = [self.new() for _ in range(KNOWN)]

    def new(self) -> bytes:
        down, across = divmod(next(self._numbers), SIZE[1])
        moved = np.roll(self._pixels, (down, across), (0, 1))
        return cv2.imencode(".png", moved, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()

    def some(self, count: int) -> list[bytes]:
        """Made before they are needed, so that making them takes no time from the server."""
        return [
            self._known[self._random.integers(KNOWN)]
            if self._random.random() < self._repeats
            else self.new()
            for _ in range(count)
        ]


@dataclass
class Server:
    """A server that runs."""

    address: str
    process: subprocess.Popen[str]

    @property
    def memory(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def cpu_s(self) -> float:
        spent = psutil.Process(self.process.pid).cpu_times()
        return float(spent.user + spent.system)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=30.0, help="of each phase")
    parser.add_argument("--model", default="nano+no-tta")
    parser.add_argument("--repeats", type=float, default=0.5, help="share of images that repeat")
    parser.add_argument("--queue", type=float, default=5.0, help="seconds of queued work")
    given = parser.parse_args()
    print(f"{processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    images = Images(given.repeats)
    with (
        tempfile.TemporaryDirectory(prefix="ultrasam-serve-") as folder,
        served(given, folder) as server,
    ):
        asyncio.run(measure(server, images, given.seconds))
        stop_in_the_middle(server, images, given.seconds)


async def measure(server: Server, images: Images, seconds: float) -> None:
    warm = await closed_loop(server, images, min(seconds, 10.0))
    seen = await closed_loop(server, images, seconds, guess=warm.rate)
    capacity = seen.rate
    print(f"capacity: {capacity:.1f} requests/s in a closed loop of {CLIENTS}; {seen}")
    half = await open_loop(server, images, capacity / 2, seconds)
    print(f"half of it ({capacity / 2:.1f}/s): {half}; {load()}")
    twice = await open_loop(server, images, 2 * capacity, seconds)
    quarter = max(1, len(twice.memory) // 4)
    before, after = max(twice.memory[:quarter]) / 1e6, max(twice.memory[-quarter:]) / 1e6
    errors = sum(n for status, n in twice.statuses.items() if status not in ("200", "429"))
    print(
        f"twice ({2 * capacity:.1f}/s): {twice}; other than 200 and 429: {errors}; throughput "
        f"{twice.rate / capacity:.0%} of capacity; memory {before:.0f} MB in the first quarter, "
        f"{after:.0f} MB in the last; {load()}"
    )
    again = await closed_loop(server, images, seconds, guess=capacity)
    print(f"capacity once more: {again.rate:.1f}/s; {load()}")
    half = await open_loop(server, images, capacity / 2, seconds)
    async with attack(server):
        attacked = await open_loop(server, images, capacity / 2, seconds)
    print(f"half, alone: {half}")
    print(f"half, with 200 slow connections and large and broken requests: {attacked}; {load()}")


async def closed_loop(
    server: Server, images: Images, seconds: float, *, guess: float = 40.0
) -> Seen:
    """Clients of which each sends its next request when it has its answer."""
    queue, seen = iter(images.some(int(1.5 * guess * seconds) + CLIENTS)), Seen()
    end = seen.began + seconds

    async def client(http: httpx.AsyncClient) -> None:
        while time.perf_counter() < end and (content := next(queue, None)) is not None:
            if await ask(http, content, seen, time.perf_counter()) == "429":
                await asyncio.sleep(1.0)  # as Retry-After says at least

    async with connected(server) as http:
        await asyncio.gather(*(client(http) for _ in range(CLIENTS)))
    return seen


async def open_loop(server: Server, images: Images, rate: float, seconds: float) -> Seen:
    """Requests at fixed times."""
    contents = images.some(int(rate * seconds))
    seen = Seen()
    async with connected(server) as http:
        tasks, sampled = list[asyncio.Task[str]](), 0.0
        for number, content in enumerate(contents):
            due = seen.began + number / rate
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            tasks.append(asyncio.create_task(ask(http, content, seen, due)))
            if due - sampled > 0.5 and server.process.poll() is None:
                sampled = due
                seen.memory.append(server.memory)
        await asyncio.gather(*tasks)
    return seen


async def ask(http: httpx.AsyncClient, content: bytes, seen: Seen, due: float) -> str:
    try:
        answer = await http.post(
            "/v1/predict", files={"image": ("x.png", content)}, data={"request": PROMPT}
        )
        status = str(answer.status_code)
    except httpx.ConnectError:
        status = "not connected"
    except httpx.TransportError as error:
        status = f"lost ({type(error).__name__})"
    seen.note(status, time.perf_counter() - due)
    return status


@contextmanager
def served(given: argparse.Namespace, folder: str) -> Iterator[Server]:
    """A server whose caches are small, so that they are full before memory is looked at."""
    command = [
        sys.executable, "-m", "ultrasam", "serve", "--model", given.model, "--port", "0",
        "--queue", str(given.queue), "--memory", "100", "--disk", "100",
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "ULTRASAM_CACHE": folder, "TMPDIR": folder},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        server = Server(process.stdout.readline().strip().rstrip("/"), process)
        try:
            while not ready(server):
                time.sleep(0.1)
            yield server
        finally:
            process.kill()


def ready(server: Server) -> bool:
    try:
        return httpx.get(f"{server.address}/ready", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def connected(server: Server) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=server.address, timeout=120, trust_env=False,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=50, keepalive_expiry=2),
    )  # fmt: skip


class attack:  # noqa: N801 - used as a function
    """Slow heads and bodies, too large and malformed requests, as long as the block lasts."""

    def __init__(self, server: Server) -> None:
        self._port = int(server.address.rpartition(":")[2])
        self._server = server

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        slow = list[socket.socket]()
        try:
            async with connected(self._server) as http:
                for number in itertools.count():
                    for one in slow[::10]:
                        try:
                            one.sendall(b"x")
                        except OSError:
                            slow.remove(one)
                    while len(slow) < 200:
                        one = socket.create_connection(("127.0.0.1", self._port))
                        one.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
                        slow.append(one)
                    if number % 5 == 0:
                        await self._wrong(http)
                    await asyncio.sleep(0.1)
        finally:
            for one in slow:
                one.close()

    async def _wrong(self, http: httpx.AsyncClient) -> None:
        for content, kind in (
            (b"[" * 100_000, "application/json"),
            (b"--x\r\n" * 1000, "multipart/form-data; boundary=x"),
        ):
            answer = await http.post("/v1/predict", content=content, headers={"content-type": kind})
            assert 400 <= answer.status_code < 500, answer.status_code
        large = await http.post(
            "/v1/uploads", content=b"x", headers={"content-length": str(10**9)}
        )  # refused by its head
        assert large.status_code == 413, large.status_code


def stop_in_the_middle(server: Server, images: Images, seconds: float) -> None:
    """SIGTERM under load at the measured capacity."""

    async def run() -> Seen:
        rate = (await closed_loop(server, images, min(seconds, 5.0))).rate
        asyncio.get_running_loop().call_later(2.0, server.process.send_signal, signal.SIGTERM)
        return await open_loop(server, images, rate, 5.0)

    seen = asyncio.run(run())
    status = server.process.wait(60)
    lost = sum(n for name, n in seen.statuses.items() if name.startswith("lost"))
    print(f"SIGTERM after 2 of 5 s: {seen}; accepted and lost: {lost}; exit status {status}")


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    main()
