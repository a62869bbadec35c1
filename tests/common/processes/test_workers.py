"""Worker processes: bytes in, bytes out, whatever dies."""

import os
import signal
import time

import pytest

from normfed_common.processes.workers import WorkerDied, WorkerPool


def reverse(payload: bytes) -> bytes:
    print("a library that prints")  # noqa: T201
    return payload[::-1]


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
