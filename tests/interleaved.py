"""Threads that change places in the middle of whatever a garbage collection can interrupt."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable


class _Yields:
    """Rubbish in a circle whose collection hands the interpreter to another thread."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        time.sleep(0)


def failures(work: Callable[[], object], times: int, threads: int = 4) -> list[BaseException]:
    """Call ``work`` so often in each of some threads, at different depths of the stack; what it raised."""
    raised: list[BaseException] = []

    def at_depth(frames: int) -> None:
        if frames:
            return at_depth(frames - 1)
        try:
            for _ in range(times):
                _Yields()
                work()
        except BaseException as error:  # noqa: BLE001  # a thread has nobody else to tell
            raised.append(error)

    before = gc.get_threshold()
    gc.set_threshold(10, 2, 2)
    try:
        running = [threading.Thread(target=at_depth, args=(7 * k,)) for k in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
    finally:
        gc.set_threshold(*before)
    return raised
