"""The engine: one encoding for many waiters, none for nobody, and a bound on what is queued."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.serve.conftest import FakeModel, Unmeasured, image, picture, until
from ultrasam.errors import DataError
from ultrasam.images.scan import Scan
from ultrasam.inference.predictor import Predictor
from ultrasam.prompts import Prompt
from ultrasam.runtimes.torch_backend import TorchBackend
from ultrasam.serve.admission import Admission
from ultrasam.serve.cache import EmbeddingCache
from ultrasam.serve.engine import Engine, Image, Timings
from ultrasam.serve.http.problems import RefusedError
from ultrasam.serve.metrics import Metrics

BOX = [Prompt(box=(1, 1, 6, 6))]
Use = Callable[[Engine], Awaitable[Any]]


def with_engine(
    model: Any, use: Use, *, most_s: float = 1000.0, memory: int = 10**9, disk: int = 0
) -> Any:
    """What a coroutine makes of an engine whose model is loaded."""

    async def run() -> Any:
        engine = Engine(
            lambda: model, admission=Admission(most_s), cache=EmbeddingCache(memory), disk_bytes=disk,
            metrics=Metrics(),
        )  # fmt: skip
        engine.start()
        while not engine.is_ready:
            await asyncio.sleep(0.002)
        try:
            return await use(engine)
        finally:
            if isinstance(model, FakeModel):
                model.gate.set()
            engine.close()

    return asyncio.run(run())


async def begun(model: FakeModel, calls: int = 1) -> None:
    while model.started < calls:
        await asyncio.sleep(0.002)


def test_it_predicts_as_the_predictor(backend: TorchBackend) -> None:
    model = Unmeasured(backend, name="small")
    expected = Predictor(backend)
    expected.set_image(picture())
    prompts = [Prompt(box=(20, 20, 70, 60)), Prompt(points=[(40, 40)])]

    async def use(engine: Engine) -> None:
        asked = Image("a" * 64, lambda: Scan.from_array(picture()))
        for multimask in (None, True, False):
            found, _ = await engine.predict(asked, 0, prompts, multimask=multimask)
            wanted = expected.predict(prompts, multimask=multimask)
            assert np.array_equal(found.masks, wanted.masks)
            assert np.allclose(found.predicted_iou, wanted.predicted_iou, atol=1e-5)
            assert np.allclose(found.low_res_logits, wanted.low_res_logits, atol=1e-3)

    with_engine(model, use)


def test_equal_images_are_read_and_encoded_once_for_all_who_wait() -> None:
    model, opened = FakeModel(), list[int]()

    async def use(engine: Engine) -> None:
        timings = [Timings() for _ in range(5)]
        tasks = [
            asyncio.create_task(
                engine.predict(image(7, opened=opened), 0, BOX, multimask=None, timings=one)
            )
            for one in timings
        ]
        await begun(model)
        assert engine.admission.queued == {"encode": 1, "box": 5}
        model.gate.set()
        found = await asyncio.gather(*tasks)
        assert [float(one.predicted_iou[0, 0]) for one, _ in found] == [7.0] * 5
        assert sorted(str(one.source) for one in timings) == ["encoded", *["joined"] * 4]
        assert engine.admission.queued == {}

    with_engine(model, use)
    assert (opened, model.encoded, model.decoded) == ([7], [1], 5)


def test_what_is_in_memory_is_neither_opened_nor_encoded() -> None:
    model, opened = FakeModel(), list[int]()
    model.gate.set()

    async def use(engine: Engine) -> None:
        timings = Timings()
        await engine.predict(image(7, opened=opened), 0, BOX, multimask=None)
        await engine.predict(image(7, opened=opened), 0, BOX, multimask=None, timings=timings)
        assert timings.source == "memory"

    with_engine(model, use)
    assert (opened, model.encoded) == ([7], [1])


def test_the_same_pixels_in_another_file_are_not_encoded_again() -> None:
    model, opened = FakeModel(), list[int]()
    model.gate.set()

    async def use(engine: Engine) -> None:
        await engine.predict(image(7, opened=opened), 0, BOX, multimask=None)
        await engine.predict(image(7, digest="b" * 64, opened=opened), 0, BOX, multimask=None)

    with_engine(model, use)
    assert (opened, model.encoded) == ([7, 7], [1])


def test_work_that_nobody_waits_for_is_dropped_before_it_begins() -> None:
    model = FakeModel()

    async def use(engine: Engine) -> None:
        first = asyncio.create_task(engine.predict(image(1), 0, BOX, multimask=None))
        await begun(model)
        gone = asyncio.create_task(engine.predict(image(2), 0, BOX, multimask=None))
        while not engine._worker.waiting:
            await asyncio.sleep(0.002)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        assert gone.cancelled()
        assert engine.admission.queued == {"encode": 1, "box": 1}
        model.gate.set()
        await first

    with_engine(model, use)
    assert model.encoded == [1]


def test_who_leaves_takes_nothing_from_others_who_wait_for_the_same() -> None:
    model = FakeModel()

    async def use(engine: Engine) -> None:
        tasks = [
            asyncio.create_task(engine.predict(image(3), 0, BOX, multimask=None)) for _ in range(3)
        ]
        await begun(model)
        tasks[0].cancel()  # the one that began it
        await asyncio.sleep(0.01)
        model.gate.set()
        found = await asyncio.gather(*tasks[1:])
        assert all(one.predicted_iou[0, 0] == 3 for one, _ in found)

    with_engine(model, use)
    assert model.encoded == [1]


def test_what_would_wait_too_long_is_refused_and_costs_nothing() -> None:
    model, opened = FakeModel(), list[int]()

    async def use(engine: Engine) -> None:
        tasks = [
            asyncio.create_task(engine.predict(image(value), 0, BOX, multimask=None))
            for value in (1, 2)
        ]
        await begun(model)
        with pytest.raises(RefusedError) as refused:
            await engine.predict(image(9, opened=opened), 0, BOX, multimask=None)
        assert (refused.value.status, refused.value.retry_after) == (429, 1)
        # Who waits for what is encoded anyway still fits.
        joined = asyncio.create_task(engine.predict(image(1), 0, BOX, multimask=None))
        await asyncio.sleep(0.01)
        model.gate.set()
        await asyncio.gather(*tasks, joined)

    with_engine(model, use, most_s=2.5)
    assert opened == []


def test_a_file_that_cannot_be_read_is_told_to_all_who_wait_and_forgotten() -> None:
    def broken() -> Scan:
        raise DataError("broken")

    async def use(engine: Engine) -> None:
        tasks = [engine.predict(Image("c" * 64, broken), 0, BOX, multimask=None) for _ in range(2)]
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [str(one) for one in found] == ["broken", "broken"]
        assert engine.admission.queued == {}
        assert not engine._making

    with_engine(FakeModel(), use)


def test_a_frame_that_does_not_exist_is_refused() -> None:
    async def use(engine: Engine) -> None:
        with pytest.raises(DataError, match="Frame 5 does not exist"):
            await engine.predict(image(1), 5, BOX, multimask=None)

    with_engine(FakeModel(), use)


def test_memory_holds_no_more_frames_than_its_limit() -> None:
    model = FakeModel()
    model.gate.set()
    each = 8 * 10 + 16

    async def use(engine: Engine) -> None:
        for value in range(10):
            await engine.predict(image(value), 0, BOX, multimask=None)
            assert engine.cache.bytes <= 3 * each
        assert engine.cache.find(image(9).digest, 0) is not None
        assert engine.cache.find(image(0).digest, 0) is None

    with_engine(model, use, memory=3 * each)


def test_after_a_restart_embeddings_come_from_the_disk(
    backend: TorchBackend, cache_folder: Path
) -> None:
    asked = Image("a" * 64, lambda: Scan.from_array(picture()))
    prompts = [Prompt(box=(20, 20, 70, 60))]

    async def first(engine: Engine) -> Any:
        found, _ = await engine.predict(asked, 0, prompts, multimask=None)
        while not list(cache_folder.glob("embeddings/*.npz")):
            await asyncio.sleep(0.005)
        return found

    async def second(engine: Engine) -> Any:
        timings = Timings()
        found, _ = await engine.predict(asked, 0, prompts, multimask=None, timings=timings)
        return found, timings.source

    before = with_engine(Unmeasured(backend, name="small"), first, disk=10**9)
    after, source = with_engine(Unmeasured(backend, name="small"), second, disk=10**9)
    assert source == "disk"
    assert np.array_equal(before.low_res_logits, after.low_res_logits)
    (path,) = cache_folder.glob("embeddings/*.npz")
    path.write_bytes(path.read_bytes()[:100])
    again, source = with_engine(Unmeasured(backend, name="small"), second, disk=10**9)
    assert source == "encoded"
    assert np.array_equal(before.low_res_logits, again.low_res_logits)


def test_before_the_model_is_loaded_requests_are_put_off() -> None:
    model = FakeModel()

    async def run() -> None:
        engine = Engine(
            lambda: model, admission=Admission(1), cache=EmbeddingCache(1), disk_bytes=0,
            metrics=Metrics(),
        )  # fmt: skip
        with pytest.raises(RefusedError) as refused:
            await engine.predict(image(1), 0, BOX, multimask=None)
        assert refused.value.status == 503
        engine.close()

    asyncio.run(run())


def test_a_model_that_fails_to_load_is_told() -> None:
    told = list[BaseException]()

    def load() -> Any:
        raise DataError("no weights")

    async def run() -> None:
        engine = Engine(
            load, admission=Admission(1), cache=EmbeddingCache(1), disk_bytes=0, metrics=Metrics(),
            failed=told.append,
        )  # fmt: skip
        engine.start()
        await asyncio.to_thread(until, lambda: bool(told))
        assert not engine.is_ready
        engine.close()

    asyncio.run(run())
    assert str(told[0]) == "no weights"
