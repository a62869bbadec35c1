"""Ask sites and wait for all of them, on whatever grid carries the messages."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import TypeVar

from flwr.app import Message
from flwr.serverapp import Grid

from normfed_common.algorithms.arms import POOLED
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import NormfedError, SiteCode, WireError
from normfed_common.wire.answers import Answer
from normfed_common.wire.messages import asked, error_code
from normfed_server.sites import claims
from normfed_server.sites.counters import Counters
from normfed_server.sites.exchange import Exchange, forget

POLL_S = 0.02

T = TypeVar("T")


FIX_ANSWER = "Fix the plug-in or the data that it comes from and resume, or change the study and begin a new run"


class Interrupted(NormfedError):
    """The run was asked to stop."""


class SiteFailed(NormfedError):
    """A site could not do what a run needs."""

    def __init__(self, site: str, task: str, why: str, remedy: str = FIX_ANSWER) -> None:
        who = "Pooled training" if site == POOLED else f"Site {site}"  # a site that only a simulation makes up
        super().__init__(f"{who} could not answer {task}: {why}. {remedy}.")
        self.site = site


class Asker:
    """Sends requests and gathers the answers by site.

    Parameters
    ----------
    patience_s
        How long a site that is not connected is waited for; one that is connected is waited for as long as it works.
    forgiving
        Whether a run goes on without the sums and figures of a site that failed, is gone or says what cannot be.
    excused
        Sites that need not be waited for once they are gone.
    counters
        Of the sites' ledgers.

    Attributes
    ----------
    asked_again
        Told a site that is asked for the same again later, and why.
    """

    def __init__(
        self,
        grid: Grid,
        stop: threading.Event,
        patience_s: float = math.inf,
        forgiving: bool = False,
        excused: Callable[[], frozenset[str]] = frozenset,
        counters: Counters | None = None,
    ) -> None:
        self.grid, self.stop, self.patience_s, self.forgiving = grid, stop, patience_s, forgiving
        self.excused = excused
        self.asked_again: Callable[[str, str], None] = lambda site, why: None
        self.counters = counters or Counters()

    def ask(
        self,
        requests: Mapping[str, Message],
        codes_allowed: Container[int] = (),
        missed: dict[str, str] | None = None,
    ) -> dict[str, Message]:
        """All answers at once, refusals with an allowed code among them; see `answers`."""
        return dict(self.answers(requests, codes_allowed, missed))

    def heard(
        self,
        requests: Mapping[str, Message],
        use: Callable[[str, Answer, Arrays], T],
        codes_allowed: Container[int] = (),
        missed: dict[str, str] | None = None,
    ) -> Iterator[tuple[str, T]]:
        """What is made of each answer as it comes; see `answers`. Refusals with an allowed code are passed over.

        Parameters
        ----------
        use
            Takes a site, its answer and its arrays; raises `WireError` where they cannot be used.
        missed
            Sites whose answer cannot be used are in it as well.

        Raises
        ------
        SiteFailed
            If an answer cannot be used and nobody forgives it.
        """
        for site, reply in self.answers(requests, codes_allowed, missed):
            if reply.has_error():
                continue
            try:
                answer, arrays = claims.read(reply)
                if answer.site != site:
                    raise WireError("the answer says it is another site's")
                found = use(site, answer, arrays)
            except WireError as error:
                if missed is None or not self.forgiving:
                    raise SiteFailed(site, _task(requests[site]), f"its answer cannot be used: {error}") from error
                missed[site] = f"its answer cannot be used: {error}"
                continue
            yield site, found

    def answers(
        self,
        requests: Mapping[str, Message],
        codes_allowed: Container[int] = (),
        missed: dict[str, str] | None = None,
    ) -> Iterator[tuple[str, Message]]:
        """Send one message per site and wait until every one is answered.

        Parameters
        ----------
        missed
            Filled with the sites that failed or are gone, and why; if nobody forgives them, that is an error.

        Yields
        ------
        Site and answer, in the order of the sites' names, each as soon as it and those before it are there: what is
        added up needs no more memory than the answers that came too early.

        Raises
        ------
        SiteFailed
            At the first refusal with a code that is not allowed.
        Interrupted
            If ``stop`` is set meanwhile.
        """
        return iter(_Answers(self, requests, codes_allowed, missed if self.forgiving else None))

    def forget(self, message_ids: Iterable[str]) -> None:
        """Nobody waits for the answers to these any more."""
        forget(self.grid, message_ids)

    def postponed(self, site: str, told: set[str]) -> bool:
        """A site works at other hours and is asked again; said once for all that are ``told``."""
        if site not in told:
            told.add(site)
            self.asked_again(site, describe(SiteCode.OUT_OF_HOURS))
        return True

    def pause(self) -> None:
        """Wait a moment.

        Raises
        ------
        Interrupted
            If ``stop`` is set.
        """
        if self.stop.wait(POLL_S):
            raise Interrupted("stopped")


class _Answers(Exchange):
    """The answers to a request of which nobody is late: whoever is connected is waited for.

    Parameters
    ----------
    missed
        Sites that failed or are gone, and why; None where nobody forgives them.
    """

    def __init__(
        self,
        asker: Asker,
        requests: Mapping[str, Message],
        codes_allowed: Container[int],
        missed: dict[str, str] | None,
    ) -> None:
        super().__init__(asker.grid, requests, asker.pause, asker.counters)
        self.asker, self.codes_allowed, self.missed = asker, codes_allowed, missed
        self._begin = time.monotonic()
        self._without: set[str] = set()
        self._told: set[str] = set()

    @property
    def without(self) -> Container[str]:
        """See `Exchange`."""
        return self._without

    def postponed(self, site: str) -> bool:
        """See `Exchange`."""
        if SiteCode.OUT_OF_HOURS in self.codes_allowed or self.missed is None:
            return False
        return self.asker.postponed(site, self._told)

    def settle(self, site: str, reply: Message) -> bool:
        """See `Exchange`; raises `SiteFailed` where nobody forgives."""
        if not reply.has_error() or (code := error_code(reply)) in self.codes_allowed:
            return True
        if self.missed is None:
            raise SiteFailed(site, _task(self.requests[site]), describe(code), _remedy(code))
        self._miss(site, describe(code))
        return False

    def give_up(self, waiting: dict[str, str]) -> None:
        """See `Exchange`: sites that are not connected, or work at other hours, once patience is over or the operator
        excused them."""
        if self.missed is None:
            return
        impatient = time.monotonic() - self._begin > self.asker.patience_s
        excused = self.asker.excused()
        candidates = {site: number for number, site in waiting.items() if impatient or site in excused}
        if not candidates:
            return
        for site, connected in self.present(candidates).items():
            if not connected or site in self._later:
                self._miss(site, describe(SiteCode.OUT_OF_HOURS) if connected else "not connected")
                del waiting[candidates[site]]
                self.asker.forget([candidates[site]])

    def _miss(self, site: str, why: str) -> None:
        if self.missed is not None:
            self.missed[site] = why
        self._without.add(site)


def cure(code: SiteCode, run: str, site: str) -> str:
    """What an operator can do about a site that refuses a run."""
    return f"{_remedy(code)}, or go on without it: normfed server excuse {run} {site}"


def describe(code: SiteCode) -> str:
    """A site's code in words, with its number."""
    return f"{code.sentence} (code {int(code)} {code.name})"


def _remedy(code: SiteCode) -> str:
    """What has to be done before a site that refused answers."""
    if code in _CONSENT:
        return _CONSENT[code]
    if not code.of_the_study:
        return "Fix that and resume"
    hints = {
        SiteCode.MINIMUM_TOO_LOW: " (most hospitals ask for 10)",
        SiteCode.NAMES_PEOPLE: "; the hospital lists such people under `exclude` of its own site.yaml",
        SiteCode.BUDGET_SPENT: " with a smaller privacy.epsilon or fewer models; or resume, once the hospital has "
        "raised the budget of its own site.yaml",
    }
    return f"A run keeps its study: change the study and begin a new run{hints.get(code, '')}"


_CONSENT = {
    SiteCode.AWAITS_APPROVAL: "Ask the hospital to look at it (there: normfed site asked, show, approve); the site "
    "joins the run once a person approved",
    SiteCode.REFUSED_BY_HOSPITAL: "Ask the hospital why; the site joins the run if a person there approves it later",
    SiteCode.WITHDRAWN: "The run goes on without the site if enough others are there; of a model that was trained with "
    "it make one without it in a new run",
    SiteCode.OUT_OF_HOURS: "The site is asked again by itself; a longer federation.patience_s waits for it",
}


def _task(message: Message) -> str:
    """What a request asks for, of which model and in which round."""
    request = asked(message)
    return f"{request.task} of {request.arm}" + (f" in round {request.round}" if request.round else "")
