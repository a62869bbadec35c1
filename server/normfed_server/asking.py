"""Ask sites and wait for all of them, on whatever grid carries the messages."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping

from flwr.app import Message
from flwr.serverapp import Grid

from normfed_common.errors import NormfedError, SiteCode
from normfed_common.wire.messages import error_code

POLL_S = 0.02


class Interrupted(NormfedError):
    """The run was asked to stop."""


class SiteFailed(NormfedError):
    """A site could not do what a run needs."""

    def __init__(self, site: str, task: str, code: SiteCode) -> None:
        super().__init__(f"Site {site} could not answer {task}: {code.sentence} (code {int(code)} {code.name}).")
        self.site, self.code = site, code


class Asker:
    """Sends requests and gathers the answers by site."""

    def __init__(self, grid: Grid, stop: threading.Event) -> None:
        self.grid, self.stop = grid, stop

    def ask(self, requests: Mapping[str, Message], codes_allowed: tuple[SiteCode, ...] = ()) -> dict[str, Message]:
        """All answers at once; see `answers`."""
        return dict(self.answers(requests, codes_allowed))

    def answers(
        self, requests: Mapping[str, Message], codes_allowed: tuple[SiteCode, ...] = ()
    ) -> Iterator[tuple[str, Message]]:
        """Send one message per site and wait until every one is answered.

        Yields
        ------
        Site and answer, in the order of the sites' names, each as soon as it and those before it are there: what is
        added up needs no more memory than the answers that came too early. Refusals with an allowed code are left out.

        Raises
        ------
        SiteFailed
            At the first refusal with any other code.
        Interrupted
            If ``stop`` is set meanwhile.
        """
        order = sorted(requests)
        tasks = {site: requests[site].metadata.message_type for site in order}
        ids = list(self.grid.push_messages([requests[site] for site in order]))
        waiting = dict(zip(ids, order, strict=True))
        early: dict[str, Message | None] = {}
        for site in order:
            while site not in early:
                if self.stop.is_set():
                    raise Interrupted("stopped")
                for reply in list(self.grid.pull_messages(list(waiting))):
                    sender = waiting.pop(reply.metadata.reply_to_message_id)
                    early[sender] = self._checked(sender, tasks[sender], reply, codes_allowed)
                if site not in early:
                    time.sleep(POLL_S)
            answer = early.pop(site)
            if answer is not None:
                yield site, answer

    def _checked(self, site: str, task: str, reply: Message, codes_allowed: tuple[SiteCode, ...]) -> Message | None:
        if not reply.has_error():
            return reply
        code = error_code(reply)
        if code not in codes_allowed:
            raise SiteFailed(site, task, code)
        return None
