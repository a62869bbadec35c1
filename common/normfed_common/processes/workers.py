"""Worker processes that turn bytes into bytes: no pickle, one frame in, one frame out over pipes.

Each worker is a fresh interpreter (never a fork: torch's and SimpleITK's threads do not survive one) that loads one
function ``module:name`` of type ``bytes -> bytes`` and serves it until its input closes. Before an answer it may send
ticks, each a header alone: see `ticks`.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from importlib import import_module
from typing import IO

from normfed_common.foundation.errors import NormfedError
from normfed_common.processes.supervision import end_with_parent
from normfed_common.processes.ticks import Ticked, heard, nobody

HEADER = struct.Struct("<Q")
TICK = HEADER.pack(2**64 - 1)  # no frame is as long
CLOSE_S = 5.0


class WorkerDied(NormfedError):
    """A worker process ended while it was working: killed, or out of memory."""


class WorkerPool:
    """``count`` processes that share one queue of jobs."""

    def __init__(self, function: str, count: int) -> None:
        if count < 1:
            raise ValueError("a pool needs at least one worker")
        self.function = function
        self._jobs: queue.Queue[tuple[Callable[[], bytes], Future[bytes], Ticked] | None] = queue.Queue()
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._threads = [threading.Thread(target=self._serve, args=(i,), daemon=True) for i in range(count)]
        for thread in self._threads:
            thread.start()

    def submit(self, payload: Callable[[], bytes], ticked: Ticked = nobody) -> Future[bytes]:
        """Queue a job, whose bytes are made when a worker is free for it; the future holds the function's result, or
        `WorkerDied`. Meanwhile ``ticked`` is called with each of its ticks, in a thread of the pool."""
        future: Future[bytes] = Future()
        self._jobs.put((payload, future, ticked))
        return future

    def close(self) -> None:
        """End the workers immediately, whatever they do; what they write is whole or absent."""
        with contextlib.suppress(queue.Empty):
            while True:  # jobs that nobody has begun are dropped
                job = self._jobs.get_nowait()
                if job is not None:
                    job[1].cancel()
        for _ in self._threads:
            self._jobs.put(None)
        for process in list(self._processes.values()):
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        for thread in self._threads:
            thread.join(CLOSE_S)

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self, slot: int) -> None:
        while (job := self._jobs.get()) is not None:
            payload, future, ticked = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                process = self._processes.get(slot)
                if process is None or process.poll() is not None:
                    process = self._processes[slot] = self._start()
                future.set_result(_exchange(process, payload(), ticked))
            except Exception as error:  # noqa: BLE001  (whoever waits is told; the next job is served all the same)
                future.set_exception(error)

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "normfed_common.processes.workers", self.function]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, preexec_fn=end_with_parent
        )


def _exchange(process: subprocess.Popen[bytes], payload: bytes, ticked: Ticked) -> bytes:
    """One frame there, one back, with ticks before it."""
    if process.stdin is None or process.stdout is None:
        raise ValueError("a worker without pipes")
    try:
        write_frame(process.stdin, payload)
        return read_frame(process.stdout, ticked)
    except (EOFError, OSError) as error:
        code = process.wait()
        why = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise WorkerDied(f"a worker process ended in the middle of its work ({why})") from error


def write_frame(stream: IO[bytes], payload: bytes) -> None:
    """Length, then payload."""
    stream.write(HEADER.pack(len(payload)))
    stream.write(payload)
    stream.flush()


def read_frame(stream: IO[bytes], ticked: Ticked = nobody) -> bytes:
    """The next payload; ``ticked`` is called with each tick before it.

    Raises
    ------
    EOFError
        If the stream ends before it is complete.
    """
    while (header := stream.read(HEADER.size)) == TICK:
        ticked()
    if len(header) < HEADER.size:
        raise EOFError
    (size,) = HEADER.unpack(header)
    payload = stream.read(size)
    if len(payload) < size:
        raise EOFError
    return payload


def write_tick(stream: IO[bytes]) -> None:
    """A tick; of no account to a parent that is gone, which shows with the answer."""
    with contextlib.suppress(BrokenPipeError):
        stream.write(TICK)
        stream.flush()


def serve(function: Callable[[bytes], bytes], requests: IO[bytes], replies: IO[bytes]) -> None:
    """Answer requests until they end."""
    while True:
        try:
            write_frame(replies, function(read_frame(requests)))
        except (EOFError, BrokenPipeError):  # the parent is gone
            return


def main() -> None:
    """Serve the function that the command line names."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not end up among the replies
    module, name = sys.argv[1].split(":")
    with heard(lambda: write_tick(replies)):
        serve(getattr(import_module(module), name), sys.stdin.buffer, replies)


if __name__ == "__main__":
    main()
