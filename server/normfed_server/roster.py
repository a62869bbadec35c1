"""Which sites there are: who is connected now, and what each says of itself. Sites may come and go between rounds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from flwr.app import Message
from flwr.serverapp import Grid

from normfed_common.errors import RunError, SiteCode
from normfed_common.wire.messages import Machine, decode_answer, error_code, requests
from normfed_server.asking import POLL_S, Asker
from normfed_server.letterhead import Letterhead
from normfed_server.participation import Closing
from normfed_server.plan import POOLED, SiteDescription

PATIENCE_S = 120.0  # for sites of a simulation to come up; on a loaded machine a runtime takes its time
TELL_S = 15.0


class Roster:
    """Asks every node once who it is.

    Parameters
    ----------
    letterhead
        What a site is asked with.
    members
        Sites that the operator admitted, and their nodes; absent in a simulation, where every node is welcome.

    Attributes
    ----------
    nodes
        Site to its node, the latest where it came back under another.
    sites
        Site to what it said of itself.
    machines
        Site to what it said of its machine.
    refusing
        Site to the code with which it refused to say anything.
    away
        Site to the moment when it was first found not to be connected any more.
    """

    def __init__(
        self,
        grid: Grid,
        asker: Asker,
        letterhead: Letterhead,
        members: Callable[[], Mapping[str, int]] | None = None,
    ) -> None:
        self.grid, self.asker, self.letterhead, self.members = grid, asker, letterhead, members
        self.nodes: dict[str, int] = {}
        self.sites: dict[str, SiteDescription] = {}
        self.machines: dict[str, Machine] = {}
        self.refusing: dict[str, SiteCode] = {}
        self.away: dict[str, datetime] = {}
        self._known: set[int] = set()
        self._lock = threading.Lock()

    def wait_for(self, expected: int) -> None:
        """Until so many nodes are there: sites come up one after another.

        Raises
        ------
        RunError
            If some are still missing after PATIENCE_S.
        """
        deadline = time.monotonic() + PATIENCE_S
        while len(nodes := list(self.grid.get_node_ids())) < expected:
            if time.monotonic() > deadline:
                raise RunError(f"Only {len(nodes)} of {expected} sites came up within {PATIENCE_S:.0f} s.")
            time.sleep(POLL_S)
        self.refresh()

    def wait_for_members(self, excused: Callable[[], frozenset[str]], tell: Callable[[list[str]], None]) -> None:
        """Until every member is connected, or enough are and the study's patience is over.

        Parameters
        ----------
        excused
            Sites that the operator said may be left out.
        tell
            Told now and then who is waited for.

        Raises
        ------
        RunError
            If too few came, or a site refuses.
        """
        federation = self.letterhead.study.federation
        begin, told = time.monotonic(), 0.0
        while missing := self._missing(excused()):
            waited = time.monotonic() - begin
            if waited > federation.patience_s:
                names = self._members()
                closing = Closing.of(federation, dict.fromkeys(names, 1), 1)
                if len(names) - len(missing) >= closing.sites:
                    break
                raise RunError(
                    f"{', '.join(missing)} did not connect within {federation.patience_s:.0f} s; {closing.sites} of "
                    f"{len(names)} sites are needed. Look at `normfed server status`, then resume."
                )
            if waited - told > TELL_S:
                told = waited
                tell(missing)
            self.asker.pause()
        self.refresh()
        for site, code in self.refusing.items():
            if site not in excused():
                raise RunError(
                    f"Site {site} refuses: {code.sentence} (code {int(code)} {code.name}). Mend that and resume, or "
                    f"go on without it: normfed server excuse {self.letterhead.run} {site}"
                )

    def refresh(self) -> set[str]:
        """Ask nodes that are new; gives the sites that are connected now."""
        with self._lock:
            members = self._members()
            welcome = {node: site for site, node in members.items()}
            present = set(self.grid.get_node_ids())
            if self.members is not None:
                present &= set(welcome)
            new = {str(node): node for node in sorted(present - self._known)}
            if new:
                messages = requests("query.describe", new, self.letterhead.general(), {})
                tolerant = bool(self._known) or self.members is not None
                for node, reply in self.asker.ask(messages, tuple(SiteCode) if tolerant else ()).items():
                    self._describe(int(node), reply, welcome)
                self._known |= present
            self.nodes = dict(sorted(self.nodes.items()))
            self.sites = dict(sorted(self.sites.items()))
            here = {site for site, node in self.nodes.items() if node in present}
            for site in self.nodes:
                if site in here:
                    self.away.pop(site, None)
                else:
                    self.away.setdefault(site, datetime.now(UTC))
            return here

    def trainers(self, minimum: int) -> dict[str, int]:
        """Sites with people enough to train, and how many."""
        return {
            name: site.train for name, site in self.sites.items() if name != POOLED and site.train >= max(minimum, 1)
        }

    def _describe(self, node: int, reply: Message, welcome: Mapping[int, str]) -> None:
        site = welcome.get(node)
        if reply.has_error():
            if site is not None:
                self.refusing[site] = error_code(reply)
            return
        answer, _ = decode_answer(reply)
        if site is not None and answer.site != site:
            # A key stands for one site: nobody speaks in another's name.
            self.refusing[site] = SiteCode.BAD_REQUEST
            return
        self.nodes[answer.site] = node
        self.sites[answer.site] = SiteDescription(**answer.counts, kinds=answer.labels)
        self.refusing.pop(answer.site, None)
        if answer.machine is not None:
            self.machines[answer.site] = answer.machine

    def _members(self) -> Mapping[str, int]:
        return self.members() if self.members is not None else {}

    def _missing(self, excused: frozenset[str]) -> list[str]:
        present = set(self.grid.get_node_ids())
        members = self._members()
        if not members:
            return ["every site"]
        return sorted(site for site, node in members.items() if node not in present and site not in excused)
