"""One request to every site, and the answers handed on in the order of the sites' names, as they come."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

from flwr.app import Array, Message
from flwr.serverapp import Grid

from normfed_common.foundation.errors import SiteCode
from normfed_common.wire.messages import error_code, size_of
from normfed_server.sites.counters import Counters

LATER_S = 60.0  # until a site is asked again that works at other hours
EARLY_BYTES = 32 * 2**20  # of answers whose turn has not come; more wait on disk


@runtime_checkable
class Forgetful(Protocol):
    """A grid that keeps requests until they are answered, unless told not to."""

    def forget(self, message_ids: Iterable[str]) -> None:
        """Nobody waits for these any more."""
        ...


def forget(grid: Grid, message_ids: Iterable[str]) -> None:
    """Nobody waits for the answers to these any more."""
    if isinstance(grid, Forgetful):
        grid.forget(message_ids)


class Exchange(ABC):
    """Whoever adds answers up needs memory for those alone that came too early; beyond EARLY_BYTES they wait on disk.

    Parameters
    ----------
    pause
        Waits a moment; may raise, and then nobody is waited for any more.
    counters
        Of the sites' ledgers: they go with requests and come with answers.

    Attributes
    ----------
    answered
        Sites whose answers were handed on or will be.
    """

    def __init__(
        self, grid: Grid, requests: Mapping[str, Message], pause: Callable[[], None], counters: Counters
    ) -> None:
        self.grid, self.requests, self._pause, self._counters = grid, requests, pause, counters
        self.answered: set[str] = set()
        self._later: dict[str, float] = {}  # sites that work at other hours, and when each is asked again

    @property
    @abstractmethod
    def without(self) -> Container[str]:
        """Sites that have no answer to hand on, now or later."""

    @abstractmethod
    def postponed(self, site: str) -> bool:
        """A site works at other hours; returns whether it is asked again, or that is settled as any refusal is."""

    @abstractmethod
    def settle(self, site: str, reply: Message) -> bool:
        """Whether an answer is handed on; if not, its sender is `without` from now on."""

    @abstractmethod
    def give_up(self, waiting: dict[str, str]) -> None:
        """Look at who has not answered, by the numbers of the requests. Whoever is not waited for any more is `without`
        from now on, and is taken out where even a late answer is of no interest."""

    def __iter__(self) -> Iterator[tuple[str, Message]]:
        """Site and answer, each as soon as it and those before it are there or given up."""
        order = sorted(self.requests)
        ids = self.grid.push_messages([self._counters.stamped(site, self.requests[site]) for site in order])
        waiting = dict(zip(ids, order, strict=True))
        early = _Early()
        try:
            for site in order:
                while self._open(site):
                    self._ask_again(waiting)
                    for reply in list(self.grid.pull_messages([n for n, s in waiting.items() if s not in self._later])):
                        number = reply.metadata.reply_to_message_id
                        sender = waiting.pop(number)
                        reply = self._counters.arrived(sender, self.requests[sender], reply)
                        if _out_of_hours(reply) and self.postponed(sender):
                            waiting[number], self._later[sender] = sender, time.monotonic() + LATER_S
                        elif self.settle(sender, reply):
                            self.answered.add(sender)
                            early.put(sender, reply, sender == site)
                    self.give_up(waiting)
                    if self._open(site):
                        self._pause()
                if site in self.answered:
                    yield site, early.take(site)
        finally:
            forget(self.grid, waiting)
            early.close()

    def present(self, sites: Iterable[str]) -> dict[str, bool]:
        """Sites, and whether each is connected now."""
        nodes = set(self.grid.get_node_ids())
        return {site: self.requests[site].metadata.dst_node_id in nodes for site in sites}

    def _ask_again(self, waiting: dict[str, str]) -> None:
        """Whose hours may have come."""
        now = time.monotonic()
        for number, site in [(n, s) for n, s in waiting.items() if self._later.get(s, now + 1) <= now]:
            del self._later[site], waiting[number]
            if self._open(site):
                message = self._counters.stamped(site, self.requests[site])
                waiting |= dict.fromkeys(self.grid.push_messages([message]), site)

    def _open(self, site: str) -> bool:
        return site not in self.answered and site not in self.without


class _Early:
    """Answers whose turn has not come: in memory up to EARLY_BYTES, beyond that on disk, one file per answer."""

    def __init__(self) -> None:
        self._held: dict[str, Message | _OnDisk] = {}
        self._bytes = 0
        self._numbers = itertools.count()
        self._folder: Path | None = None

    def put(self, site: str, message: Message, its_turn: bool) -> None:
        size = _size(message)
        if its_turn or not size or self._bytes + size <= EARLY_BYTES:
            self._held[site] = message
            self._bytes += size
            return
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="normfed-early-"))
        self._held[site] = _OnDisk(message, self._folder / f"{next(self._numbers)}.arrays")

    def take(self, site: str) -> Message:
        held = self._held.pop(site)
        if isinstance(held, _OnDisk):
            return held.read()
        self._bytes -= _size(held)
        return held

    def close(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


class _OnDisk:
    """A message whose arrays wait in a file; written and read array by array, so that it is never in memory twice."""

    def __init__(self, message: Message, path: Path) -> None:
        self.message, self.path = message, path
        self.layout: list[tuple[str, str, str, tuple[int, ...], str, int]] = []
        with open(path, "wb") as file:
            for record_name, record in message.content.array_records.items():
                for name in list(record):
                    array = record.pop(name)
                    file.write(array.data)
                    described = (array.dtype, tuple(array.shape), array.stype, len(array.data))
                    self.layout.append((record_name, name, *described))

    def read(self) -> Message:
        with open(self.path, "rb") as file:
            for record_name, name, dtype, shape, stype, size in self.layout:
                self.message.content.array_records[record_name][name] = Array(dtype, shape, stype, file.read(size))
        self.path.unlink()
        return self.message


def _out_of_hours(reply: Message) -> bool:
    return bool(reply.has_error()) and error_code(reply) is SiteCode.OUT_OF_HOURS


def _size(message: Message) -> int:
    return size_of(message) if message.has_content() else 0
