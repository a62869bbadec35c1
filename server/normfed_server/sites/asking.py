"""Ask sites and wait for all of them, on whatever grid carries the messages."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol, TypeVar, runtime_checkable

from flwr.app import Message
from flwr.serverapp import Grid

from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import NormfedError, SiteCode, WireError
from normfed_common.wire.answers import Answer
from normfed_common.wire.messages import error_code
from normfed_server.sites import claims

POLL_S = 0.02

T = TypeVar("T")


class Interrupted(NormfedError):
    """The run was asked to stop."""


class SiteFailed(NormfedError):
    """A site could not do what a run needs."""

    def __init__(self, site: str, task: str, why: str) -> None:
        super().__init__(f"Site {site} could not answer {task}: {why}.")
        self.site = site


@runtime_checkable
class Forgetful(Protocol):
    """A grid that keeps requests until they are answered, unless told not to."""

    def forget(self, message_ids: Iterable[str]) -> None:
        """Nobody waits for these any more."""
        ...


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
    """

    def __init__(
        self,
        grid: Grid,
        stop: threading.Event,
        patience_s: float = math.inf,
        forgiving: bool = False,
        excused: Callable[[], frozenset[str]] = frozenset,
    ) -> None:
        self.grid, self.stop, self.patience_s, self.forgiving = grid, stop, patience_s, forgiving
        self.excused = excused

    def ask(
        self,
        requests: Mapping[str, Message],
        codes_allowed: tuple[SiteCode, ...] = (),
        missed: dict[str, str] | None = None,
    ) -> dict[str, Message]:
        """All answers at once, refusals with an allowed code among them; see `answers`."""
        return dict(self.answers(requests, codes_allowed, missed))

    def heard(
        self,
        requests: Mapping[str, Message],
        use: Callable[[str, Answer, Arrays], T],
        codes_allowed: tuple[SiteCode, ...] = (),
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
                    task = requests[site].metadata.message_type
                    raise SiteFailed(site, task, f"its answer cannot be used: {error}") from error
                missed[site] = f"its answer cannot be used: {error}"
                continue
            yield site, found

    def answers(
        self,
        requests: Mapping[str, Message],
        codes_allowed: tuple[SiteCode, ...] = (),
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
        missed = missed if self.forgiving else None
        begin, order = time.monotonic(), sorted(requests)
        tasks = {site: requests[site].metadata.message_type for site in order}
        ids = list(self.grid.push_messages([requests[site] for site in order]))
        waiting = dict(zip(ids, order, strict=True))
        early: dict[str, Message | None] = {}
        for site in order:
            while site not in early:
                for reply in list(self.grid.pull_messages(list(waiting))):
                    sender = waiting.pop(reply.metadata.reply_to_message_id)
                    early[sender] = self._checked(sender, tasks[sender], reply, codes_allowed, missed)
                if missed is not None:
                    patience_over = time.monotonic() - begin > self.patience_s
                    for number, gone in self._gone(waiting, requests, patience_over).items():
                        missed[gone], early[gone] = "not connected", None
                        del waiting[number]
                        self.forget([number])
                if site not in early:
                    self.pause()
            answer = early.pop(site)
            if answer is not None:
                yield site, answer

    def _gone(self, waiting: Mapping[str, str], requests: Mapping[str, Message], patience_over: bool) -> dict[str, str]:
        """Of the sites waited for those that are not connected and not waited for any more."""
        excused = self.excused()
        if not patience_over and not excused & set(waiting.values()):
            return {}
        present = set(self.grid.get_node_ids())
        return {
            number: site
            for number, site in waiting.items()
            if (patience_over or site in excused) and requests[site].metadata.dst_node_id not in present
        }

    def forget(self, message_ids: Iterable[str]) -> None:
        """Nobody waits for the answers to these any more."""
        if isinstance(self.grid, Forgetful):
            self.grid.forget(message_ids)

    def pause(self) -> None:
        """Wait a moment.

        Raises
        ------
        Interrupted
            If ``stop`` is set.
        """
        if self.stop.wait(POLL_S):
            raise Interrupted("stopped")

    def _checked(
        self,
        site: str,
        task: str,
        reply: Message,
        codes_allowed: tuple[SiteCode, ...],
        missed: dict[str, str] | None,
    ) -> Message | None:
        if not reply.has_error():
            return reply
        code = error_code(reply)
        if code in codes_allowed:
            return reply
        if missed is None:
            raise SiteFailed(site, task, describe(code))
        missed[site] = describe(code)
        return None


OF_THE_STUDY = (
    SiteCode.STUDY_REFUSED,
    SiteCode.MINIMUM_TOO_LOW,
    SiteCode.TOO_MUCH_ASKED,
    SiteCode.NAMES_PEOPLE,
    SiteCode.RECIPE_REFUSED,
)


def cure(code: SiteCode, run: str, site: str) -> str:
    """What an operator can do about a site that refuses a run."""
    go_on = f"or go on without it: normfed server excuse {run} {site}"
    if code not in OF_THE_STUDY:
        return f"Fix that and resume, {go_on}"
    hints = {
        SiteCode.MINIMUM_TOO_LOW: " (most hospitals ask for 10)",
        SiteCode.NAMES_PEOPLE: "; the hospital lists such people under `exclude` of its own site.yaml",
    }
    return f"A run keeps its study: change the study and begin a new run{hints.get(code, '')}, {go_on}"


def describe(code: SiteCode) -> str:
    """A site's code in words, with its number."""
    return f"{code.sentence} (code {int(code)} {code.name})"
