"""Worker processes: bytes in, bytes out, whatever dies."""

import os
import signal
import time
from functools import partial

import pytest

from normfed_common.processes.ticks import tick
from normfed_common.processes.workers import WorkerDied, WorkerPool


def reverse(payload: bytes) -> bytes:
    print("a library that prints")  # noqa: T201
    return payload[::-1]


def ticking(payload: bytes) -> bytes:
    for _ in payload:
        tick()
    return payload


def die(payload: bytes) -> bytes:
    if payload == b"die":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(float(payload or b"0"))
    return b"alive"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(__file__))


def test_bytes_go_through_whatever_is_printed() -> None:
    with WorkerPool("test_workers:reverse", 2) as pool:
        payloads = [os.urandom(n) for n in (0, 1, 100_000)]
        assert [pool.submit(lambda p=p: p).result(120) for p in payloads] == [p[::-1] for p in payloads]


def test_ticks_of_a_job_are_heard_by_whoever_asked_for_it() -> None:
    heard: dict[bytes, int] = {b"abc": 0, b"": 0, b"abcde": 0}

    def ticked(payload: bytes) -> None:
        heard[payload] += 1

    with WorkerPool("test_workers:ticking", 1) as pool:
        jobs = {payload: pool.submit(lambda p=payload: p, partial(ticked, payload)) for payload in heard}
        assert {payload: job.result(120) for payload, job in jobs.items()} == {payload: payload for payload in heard}
    assert heard == {b"abc": 3, b"": 0, b"abcde": 5}


def test_a_killed_worker_fails_its_own_job_only() -> None:
    with WorkerPool("test_workers:die", 1) as pool:
        before, killed, after = (pool.submit(lambda p=p: p) for p in (b"0", b"die", b"0"))
        assert before.result(120) == b"alive"
        with pytest.raises(WorkerDied, match="signal 9"):
            killed.result(120)
        assert after.result(120) == b"alive"


def test_closing_does_not_wait_for_work() -> None:
    pool = WorkerPool("test_workers:die", 1)
    pool.submit(lambda: b"0").result(120)
    running, *waiting = [pool.submit(lambda: b"3600") for _ in range(20)]
    while not running.running():
        time.sleep(0.01)
    pool.close()  # waits for nobody: the job would take an hour
    assert all(job.cancelled() for job in waiting)
    assert isinstance(running.exception(120), WorkerDied)
