"""Gather a round's updates: one after another in the order of the sites' names, until the round is over."""

from __future__ import annotations

import itertools
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from flwr.app import Array, Message

from normfed_common.foundation.errors import SiteCode
from normfed_common.wire.messages import error_code, size_of
from normfed_server.sites.asking import Asker, describe
from normfed_server.sites.closing import Closing, Outcome

TELL_S, TELL_AT_MOST_S = 15.0, 600.0  # twice as long every time
REFUSALS = (
    SiteCode.STUDY_REFUSED,
    SiteCode.BAD_REQUEST,
    SiteCode.COHORT_TOO_SMALL,
    SiteCode.NO_TRAINING_SUBJECTS,
    SiteCode.VERSION_DIFFERS,
    SiteCode.BUNDLE_REFUSED,
    SiteCode.NOT_INSTALLED,
    SiteCode.MINIMUM_TOO_LOW,
    SiteCode.TOO_CLOSE_TO_EARLIER,
    SiteCode.TOO_MUCH_ASKED,
    SiteCode.NAMES_PEOPLE,
    SiteCode.RECORD_UNUSABLE,
    SiteCode.PLUGIN_REFUSED,
)
EARLY_BYTES = 32 * 2**20  # of answers whose turn has not come; more wait on disk


class Reminder:
    """When to tell who is waited for: after TELL_S, then after pauses twice as long every time."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._due, self._pause_s = TELL_S, TELL_S

    def seconds(self) -> float:
        """Since the wait began."""
        return time.monotonic() - self._begin

    def due(self) -> bool:
        """Whether it is time; true once a pause."""
        if self.seconds() <= self._due:
            return False
        self._pause_s = min(2 * self._pause_s, TELL_AT_MOST_S)
        self._due = self.seconds() + self._pause_s
        return True


class Collection:
    """One round's answers.

    Parameters
    ----------
    arrivals
        Virtual seconds until each answer is there.
    wall_clock
        Whether patience runs out by the clock on the wall. A simulation without hospital times has no clock: how long
        its machine takes says nothing of the sites.
    tell
        Told now and then who is waited for, whether each is connected, and for how many seconds.

    Attributes
    ----------
    outcomes, reasons
        Site to what became of it, and why; complete when the iteration has ended.
    """

    def __init__(
        self,
        asker: Asker,
        requests: Mapping[str, Message],
        closing: Closing,
        arrivals: Mapping[str, float] | None = None,
        wall_clock: bool = True,
        tell: Callable[[dict[str, bool], float], None] | None = None,
    ) -> None:
        self.asker, self.requests, self.closing = asker, requests, closing
        self.tell = tell if wall_clock and arrivals is None else None
        self.patience_s = closing.patience_s if wall_clock and arrivals is None else math.inf
        self.outcomes: dict[str, Outcome] = {}
        self.reasons: dict[str, str] = {}
        self.bytes = 0
        if arrivals is not None:
            end = closing.at(arrivals)
            for site in sorted(requests):
                if arrivals[site] > end:
                    self._late(site, f"would arrive {arrivals[site] - end:.0f} s after the round's end")

    def __iter__(self) -> Iterator[tuple[str, Message]]:
        """Site and answer of those that took part so far, in the order of their names.

        Raises
        ------
        Interrupted
            If the run is asked to stop meanwhile.
        """
        reminder, order = Reminder(), sorted(self.requests)
        ids = self.asker.grid.push_messages([self.requests[site] for site in order])
        waiting = dict(zip(ids, order, strict=True))
        answered: set[str] = set()
        early = _Early()
        try:
            for site in order:
                while site not in answered and site not in self.outcomes:
                    for reply in self.asker.grid.pull_messages(list(waiting)):
                        sender = waiting.pop(reply.metadata.reply_to_message_id)
                        self._settle(sender, reply, answered, early, sender == site)
                    if self._over(reminder.seconds(), waiting.values(), answered):
                        for missing in waiting.values():
                            if missing not in self.outcomes:
                                self._late(missing, f"no answer within {reminder.seconds():.0f} s")
                    elif site not in answered and site not in self.outcomes:
                        self.asker.pause()
                    if self.tell is not None and reminder.due():
                        self.tell(self._waited_for(waiting.values()), reminder.seconds())
                if site not in self.outcomes:
                    self.outcomes[site] = Outcome.TOOK_PART
                    yield site, early.take(site)
        finally:
            self.asker.forget(waiting)
            early.close()

    def _over(self, seconds: float, waiting: Iterable[str], answered: set[str]) -> bool:
        """Whether nobody is waited for any more: the quorum is there, and patience is over or the operator excused all
        the others; or these are away as well, and the quorum will never be there."""
        open_ = {site for site in waiting if site not in self.outcomes}
        only_excused = open_ <= self.closing.excused()
        aside = {site for site, outcome in self.outcomes.items() if outcome is Outcome.SET_ASIDE}
        not_asked_again = self.closing.people.keys() - self.requests.keys()  # its answer came and could not be used
        if self.closing.without(aside | not_asked_again).quorum(answered):
            return only_excused or seconds > self.patience_s
        return only_excused and not any(self._waited_for(open_).values())

    def _waited_for(self, sites: Iterable[str]) -> dict[str, bool]:
        """Sites without an answer, and whether each is connected."""
        present = set(self.asker.grid.get_node_ids())
        open_ = sorted(site for site in sites if site not in self.outcomes)
        return {site: self.requests[site].metadata.dst_node_id in present for site in open_}

    def set_aside(self, site: str, why: str) -> None:
        """An answer that came is not used after all."""
        self.outcomes[site], self.reasons[site] = Outcome.SET_ASIDE, why

    def _settle(self, site: str, reply: Message, answered: set[str], early: _Early, its_turn: bool) -> None:
        if not reply.has_error() and not reply.has_content():
            self.set_aside(site, "its answer is empty")
            return
        self.bytes += size_of(reply)
        if reply.has_error():
            code = error_code(reply)
            self.outcomes[site] = Outcome.REFUSED if code in REFUSALS else Outcome.FAILED
            self.reasons[site] = describe(code)
        elif site not in self.outcomes:
            answered.add(site)
            early.put(site, reply, its_turn)

    def _late(self, site: str, why: str) -> None:
        self.outcomes[site], self.reasons[site] = Outcome.LATE, why


class _Early:
    """Answers whose turn has not come: in memory up to EARLY_BYTES, beyond that on disk, one file an answer."""

    def __init__(self) -> None:
        self._held: dict[str, Message | _OnDisk] = {}
        self._bytes = 0
        self._numbers = itertools.count()
        self._folder: Path | None = None

    def put(self, site: str, message: Message, its_turn: bool) -> None:
        size = size_of(message)
        if its_turn or self._bytes + size <= EARLY_BYTES:
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
        self._bytes -= size_of(held)
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
