"""Gather a round's updates: one after another in the order of the sites' names, until the round is over."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import Protocol

from flwr.app import Message

from normfed_common.foundation.errors import SiteCode
from normfed_common.wire.messages import error_code, size_of
from normfed_server.sites.asking import Asker, describe
from normfed_server.sites.closing import Closing, Outcome
from normfed_server.sites.exchange import Exchange

TELL_S, TELL_AT_MOST_S = 15.0, 600.0  # twice as long every time
REFUSALS = (  # beside those of the study
    SiteCode.BAD_REQUEST,
    SiteCode.COHORT_TOO_SMALL,
    SiteCode.NO_TRAINING_SUBJECTS,
    SiteCode.VERSION_DIFFERS,
    SiteCode.PROTOCOL_DIFFERS,
    SiteCode.BUNDLE_REFUSED,
    SiteCode.NOT_INSTALLED,
    SiteCode.TOO_CLOSE_TO_EARLIER,
    SiteCode.RECORD_UNUSABLE,
    SiteCode.PLUGIN_REFUSED,
    SiteCode.SECURE_SUM_REFUSED,
    SiteCode.OUT_OF_RANGE,
    SiteCode.AUDIT_UNUSABLE,
    SiteCode.HEAD_NOT_SIGNED,
    SiteCode.COHORT_NOT_LOOKED_AT,
)


class Collected(Protocol):
    """What became of the sites that were asked; see `Collection`."""

    outcomes: dict[str, Outcome]
    reasons: dict[str, str]
    bytes: int

    def set_aside(self, site: str, why: str) -> None:
        """An answer that came is not used after all."""
        ...


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


class Collection(Exchange):
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
        super().__init__(asker.grid, requests, asker.pause, asker.counters)
        self.asker, self._told = asker, set[str]()
        self.closing = closing
        self.tell = tell if wall_clock and arrivals is None else None
        self.patience_s = closing.patience_s if wall_clock and arrivals is None else math.inf
        self.outcomes: dict[str, Outcome] = {}
        self.reasons: dict[str, str] = {}
        self.bytes = 0
        self._reminder = Reminder()
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
        self._reminder = Reminder()
        for site, reply in super().__iter__():
            self.outcomes[site] = Outcome.TOOK_PART
            yield site, reply

    @property
    def without(self) -> Container[str]:
        """See `Exchange`: whatever became of them, they did not take part."""
        return self.outcomes

    def postponed(self, site: str) -> bool:
        """See `Exchange`; the round's own rule says for how long."""
        return self.asker.postponed(site, self._told)

    def settle(self, site: str, reply: Message) -> bool:
        """See `Exchange`; an answer that comes after its site was given up only counts."""
        if not reply.has_error() and not reply.has_content():
            self.set_aside(site, "its answer is empty")
            return False
        self.bytes += size_of(reply)
        if reply.has_error():
            code = error_code(reply)
            self.outcomes[site], self.reasons[site] = _outcome(code), describe(code)
            if self.outcomes[site] is Outcome.NO_PART:
                self.closing = self.closing.apart_from({site})
            return False
        return site not in self.outcomes

    def give_up(self, waiting: dict[str, str]) -> None:
        """See `Exchange`; now and then, tell who is waited for."""
        seconds = self._reminder.seconds()
        if self._over(seconds, waiting.values()):
            for site in self._open_among(waiting.values()):
                hours = f"; {describe(SiteCode.OUT_OF_HOURS)}" if site in self._later else ""
                self._late(site, f"no answer within {seconds:.0f} s{hours}")
        if self.tell is not None and self._reminder.due():
            self.tell(self.present(self._open_among(waiting.values())), seconds)

    def set_aside(self, site: str, why: str) -> None:
        """An answer that came is not used after all."""
        self.outcomes[site], self.reasons[site] = Outcome.SET_ASIDE, why

    def _over(self, seconds: float, waiting: Iterable[str]) -> bool:
        """Whether nobody is waited for any more: the quorum is there, and patience is over or the operator excused all
        the others; or these are away as well, and the quorum will never be there."""
        open_ = self._open_among(waiting)
        only_excused = set(open_) <= self.closing.excused()
        aside = {site for site, outcome in self.outcomes.items() if outcome is Outcome.SET_ASIDE}
        not_asked_again = self.closing.people.keys() - self.requests.keys()  # its answer came and could not be used
        if self.closing.without(aside | not_asked_again).quorum(self.answered):
            return only_excused or seconds > self.patience_s
        return only_excused and not any(self.present(open_).values())

    def _open_among(self, sites: Iterable[str]) -> list[str]:
        return sorted(site for site in sites if site not in self.outcomes)

    def _late(self, site: str, why: str) -> None:
        self.outcomes[site], self.reasons[site] = Outcome.LATE, why


def _outcome(code: SiteCode) -> Outcome:
    """What an error makes of the site that sent it."""
    if code is SiteCode.NOTHING_PAIRED:
        return Outcome.NO_PART
    return Outcome.REFUSED if code.of_the_study or code.of_consent or code in REFUSALS else Outcome.FAILED
