"""Connections to the server's port: bounded per address, and closed where nothing is asked."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol  # bounds the bytes of headers; httptools does not

from normfed_server.superlink.door import is_local
from normfed_server.superlink.refusals import Refusals, network

TOTAL = 512  # connections from outside; a process may have 1024 files open on most systems
HANDSHAKE_S = 15.0  # until TLS is agreed
QUIET_S = 30.0  # until a request's headers are there
BACKLOG = 128
PAUSE_S = 0.5

logger = logging.getLogger("normfed_server.connections")
logger.setLevel(logging.ERROR)


class Guests:
    """Counts connections from outside, by address; those of this machine are not counted.

    Parameters
    ----------
    most
        Per address.
    """

    def __init__(self, most: int, total: int = TOTAL) -> None:
        self.most, self.total = most, total
        self._inside: Counter[str] = Counter()

    def enter(self, address: str) -> bool:
        """Whether there is room; if so, it is taken."""
        who = network(address)
        if self._inside[who] >= self.most or self._inside.total() >= self.total:
            return False
        self._inside[who] += 1
        return True

    def leave(self, address: str) -> None:
        """Give room back."""
        who = network(address)
        self._inside[who] -= 1
        if not self._inside[who]:
            del self._inside[who]


class Connection(H11Protocol):
    """A connection that knows since when nothing whole was asked on it.

    Parameters
    ----------
    leave
        Called when it ends.
    note
        Told what was wrong with what came.
    """

    def __init__(self, leave: Callable[[], None], note: Callable[[str], None], **options: Any) -> None:
        super().__init__(**options)
        self.logger = logger  # uvicorn's own has a line for every wrong byte
        self._leave, self._note = leave, note
        self._quiet_since = time.monotonic()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self._note("sent what is not HTTP")
        super().send_400_response(msg)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give room back."""
        super().connection_lost(exc)
        self._leave()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._quiet_since = time.monotonic()
        super().on_response_complete()

    def close_if_quiet(self, longest_s: float) -> None:
        """Close where a request has not begun, or not ended its headers, for so long."""
        asked = self.cycle is not None and not self.cycle.response_complete
        if not asked and time.monotonic() - self._quiet_since > longest_s:
            self.transport.abort()


class Server(uvicorn.Server):
    """uvicorn, which accepts connections by itself, without bound, where this one looks at their address first.

    Parameters
    ----------
    config
        With TLS.
    """

    def __init__(self, config: uvicorn.Config, guests: Guests, refusals: Refusals, quiet_s: float = QUIET_S) -> None:
        super().__init__(config)
        self.guests, self.refusals, self.quiet_s = guests, refusals, quiet_s
        family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
        self._listener = socket.create_server((config.host, config.port), family=family, backlog=BACKLOG)
        self._listener.setblocking(False)
        self._tasks: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then accept."""
        await super().startup(sockets=[])
        if self.started:
            self._begin(self._accept())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nobody any more, then end what is open."""
        for task in self._tasks:
            task.cancel()
        self._listener.close()
        await super().shutdown(sockets=[])
        self.refusals.sum_up()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        if counter % 10 == 0:
            self.refusals.flush()
            for connection in list(self.server_state.connections):
                if isinstance(connection, Connection):
                    connection.close_if_quiet(self.quiet_s)
        return await super().on_tick(counter)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, name = await loop.sock_accept(self._listener)
            except OSError:  # no more files may be opened: some will be closed
                await asyncio.sleep(PAUSE_S)
                continue
            address = name[0]
            if is_local(address, connection.getsockname()[0]):
                self._begin(self._welcome(connection, address, lambda: None))
            elif self.guests.enter(address):
                self._begin(self._welcome(connection, address, partial(self.guests.leave, address)))
            else:
                connection.close()
                self.refusals.note(address, "has too many connections open")

    async def _welcome(self, connection: socket.socket, address: str, leave: Callable[[], None]) -> None:
        """Agree on TLS; uvicorn does the rest."""
        loop = asyncio.get_running_loop()
        options = {"config": self.config, "server_state": self.server_state, "app_state": self.lifespan.state}
        try:
            await loop.connect_accepted_socket(
                lambda: Connection(leave, partial(self.refusals.note, address), **options),
                connection,
                ssl=self.config.ssl,
                ssl_handshake_timeout=HANDSHAKE_S,
                ssl_shutdown_timeout=HANDSHAKE_S,
            )
        except OSError:  # whatever it wanted, it was not TLS, or not with our certificate
            connection.close()
            leave()
            self.refusals.note(address, "did not agree on TLS")

    def _begin(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
