"""A link between a site and the server that can be cut, stalled and slowed down."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from enum import StrEnum

CHUNK = 65_536


class Condition(StrEnum):
    """How a link is."""

    WELL = "well"
    CUT = "cut"  # connections break, new ones are refused
    STALLED = "stalled"  # nothing moves, nothing breaks
    SLOW = "slow"  # `Wire.bytes_per_s`


class Wire:
    """Carries TCP from a port of its own to the server's.

    Parameters
    ----------
    target
        Host and port of the server.
    """

    def __init__(self, target: tuple[str, int], bytes_per_s: float = 200_000.0) -> None:
        self.target, self.bytes_per_s = target, bytes_per_s
        self.condition = Condition.WELL
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._closed = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def become(self, condition: Condition) -> None:
        """Change how the link is; cutting breaks what is open."""
        self.condition = condition
        if condition is Condition.CUT:
            with self._lock:
                pairs, self._pairs = self._pairs, []
            for pair in pairs:
                for end in pair:
                    _break(end)

    def close(self) -> None:
        """End it."""
        self._closed.set()
        self.become(Condition.CUT)
        self._listener.close()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self.condition is Condition.CUT:
                _break(near)
                continue
            threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection(self.target, 10)
        except OSError:
            _break(near)
            return None
        pair = (near, far)
        with self._lock:
            self._pairs.append(pair)
        with contextlib.suppress(OSError, ValueError), selectors.DefaultSelector() as selector:
            selector.register(near, selectors.EVENT_READ, far)
            selector.register(far, selectors.EVENT_READ, near)
            while not self._closed.is_set():
                if self.condition is Condition.STALLED:
                    time.sleep(0.05)
                    continue
                for key, _ in selector.select(0.2):
                    end = key.fileobj
                    if not isinstance(end, socket.socket):
                        continue
                    data = end.recv(CHUNK if self.condition is not Condition.SLOW else 4096)
                    if not data:
                        return self._drop(pair)
                    key.data.sendall(data)
                    if self.condition is Condition.SLOW:
                        time.sleep(len(data) / self.bytes_per_s)
        self._drop(pair)
        return None

    def _drop(self, pair: tuple[socket.socket, socket.socket]) -> None:
        with self._lock:
            if pair in self._pairs:
                self._pairs.remove(pair)
        for end in pair:
            with contextlib.suppress(OSError):
                end.close()


def _break(end: socket.socket) -> None:
    """Reset a connection, as a firewall does."""
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        end.close()
