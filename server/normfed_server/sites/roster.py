"""Which sites there are: who is connected now, and what each says of itself. Sites may come and go between rounds."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping

from flwr.app import Message
from flwr.serverapp import Grid

from normfed_common.algorithms.arms import POOLED
from normfed_common.foundation.errors import SITE_CODES, NormfedError, RunError, SiteCode, WireError
from normfed_common.foundation.versions import apart
from normfed_common.study.roles import ROLES
from normfed_common.wire.answers import Described, Machine
from normfed_common.wire.messages import error_code, requests
from normfed_common.wire.requests import Describe
from normfed_server.sites import claims
from normfed_server.sites.asking import POLL_S, Asker, SiteFailed, cure, describe
from normfed_server.sites.closing import Closing
from normfed_server.sites.collecting import Reminder
from normfed_server.sites.description import SiteDescription
from normfed_server.sites.hearing import NOBODY, Hearing
from normfed_server.sites.letterhead import Letterhead

PATIENCE_S = 120.0  # for sites of a simulation to come up; on a loaded machine a runtime takes its time
TELL_S = 15.0
# Until a site is asked again that did not let the study in: twice as long each time.
AGAIN_S, AGAIN_AT_MOST_S = 5.0, 300.0
UNDECIDED = (SiteCode.AWAITS_APPROVAL, SiteCode.OUT_OF_HOURS)
LISTEN_S = 1.0  # between two looks for newcomers' answers


class Roster:
    """Asks every node once who it is.

    Parameters
    ----------
    letterhead
        What a site is asked with.
    members
        Sites that the operator admitted, and their nodes; absent in a simulation, where every node is welcome.
    enrolled
        How many people the operator enrolled sites with, where that was said: no site is counted with more.
    tell
        Told a site, and what everybody should know of what it said of itself.
    hearing
        Told what every site says of its machine, and with which code it refuses.

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
    set_aside
        Site to why what it said of itself cannot be used.
    """

    def __init__(
        self,
        grid: Grid,
        asker: Asker,
        letterhead: Letterhead,
        members: Callable[[], Mapping[str, int]] | None = None,
        enrolled: Callable[[], Mapping[str, int]] = dict,
        tell: Callable[[str, str], None] = lambda site, text: None,
        hearing: Hearing = NOBODY,
    ) -> None:
        self.grid, self.asker, self.letterhead, self.members = grid, asker, letterhead, members
        self.enrolled, self.tell, self.hearing = enrolled, tell, hearing
        self.nodes: dict[str, int] = {}
        self.sites: dict[str, SiteDescription] = {}
        self.machines: dict[str, Machine] = {}
        self.refusing: dict[str, SiteCode] = {}
        self.set_aside: dict[str, str] = {}
        self._again: dict[int, tuple[float, float]] = {}  # nodes to ask again: when, and the pause that was
        self._away: dict[str, float] = {}  # since when, by a clock that nobody sets
        self._known: set[int] = set()
        self._asked: dict[str, int] = {}  # newcomers that were asked and have not answered: message to node
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._closed = threading.Event()
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
        self._ask_everybody()
        self.refresh()

    def wait_for_members(self, excused: Callable[[], frozenset[str]], tell: Callable[[list[str]], None]) -> None:
        """Until every member is connected and lets the study in, or enough do and the study's patience is over.

        A site where nobody has approved the study yet is waited for as one that is not connected. Where a person, or
        the hospital's policy, refused it, the others go on if they are enough: it is asked again all the same.

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
        self._ask_everybody()
        reminder = Reminder()
        while waiting := self._undecided() - excused():
            if time.monotonic() - begin > federation.patience_s:
                break
            if reminder.due():
                for site in sorted(waiting):
                    self.tell(site, describe(self.refusing[site]))
            self.asker.pause()
            self._ask_everybody()
        self.refresh()
        for site, code in self.refusing.items():
            if site not in excused() and not code.of_consent:
                raise RunError(f"Site {site} refuses: {describe(code)}. {cure(code, self.letterhead.run, site)}")
        wanted = [site for site in self._members() if site not in excused()]
        needed = Closing.of(federation, dict.fromkeys(wanted, 1), 1).sites if wanted else 1
        if len(self.sites) < needed:
            reasons = {**self.set_aside}
            reasons |= {
                site: f"{'excused, and ' if site in excused() else ''}refuses: {describe(code)}"
                for site, code in self.refusing.items()
            }
            listed = "; ".join(f"{site}: {why}" for site, why in sorted(reasons.items()))
            raise RunError(
                f"{len(self.sites)} of {len(self._members())} sites can take part; at least {needed} must. "
                f"{listed or 'The others are not connected any more'}. Fix that, and resume."
            )

    def refresh(self) -> set[str]:
        """The sites that are connected now. Nodes that are new are asked who they are, and taken in once they answer:
        a newcomer may prepare its scans for hours, and holds nobody up."""
        with self._lock:
            present, welcome = self._present()
            new = self._unasked(present)
            if new:
                messages = [self._stamped(node, welcome.get(node)) for node in new]
                self._asked |= dict(zip(self.grid.push_messages(messages), new, strict=True))
                self._known |= set(new)
            self._hear(welcome)
            if self._asked and not self._listener.is_alive():
                self._listener = threading.Thread(target=self._listen, daemon=True)
                self._listener.start()
            here = {site for site, node in self.nodes.items() if node in present}
            for site in self.nodes:
                if site in here:
                    self._away.pop(site, None)
                else:
                    self._away.setdefault(site, time.monotonic())
            return here

    def away(self) -> dict[str, float]:
        """Sites that are not connected, and for how many seconds each has been found so."""
        with self._lock:
            now = time.monotonic()
            return {site: now - since for site, since in self._away.items()}

    def may_return(self) -> dict[str, float]:
        """Of those the members: whom the operator let in and did not revoke. Nobody in a simulation, where whoever goes
        has gone."""
        members = self._members()
        return {site: seconds for site, seconds in self.away().items() if members.get(site) == self.nodes[site]}

    def close(self) -> None:
        """Nobody is waited for any more."""
        self._closed.set()
        with self._lock:
            self.asker.forget(list(self._asked))
            self._asked.clear()

    def not_let_in(self) -> dict[str, str]:
        """Members whose hospitals did not let the study in, or not yet, and why."""
        with self._lock:
            members = self._members()
            return {s: describe(code) for s, code in self.refusing.items() if code.of_consent and s in members}

    def trainers(self, minimum: int) -> dict[str, int]:
        """Sites with people enough to train, and how many."""
        return {
            name: site.train for name, site in self.sites.items() if name != POOLED and site.train >= max(minimum, 1)
        }

    def _ask_everybody(self) -> None:
        """Before anything is trained everybody is waited for who stays connected."""
        with self._lock:
            present, welcome = self._present()
            names = {welcome.get(node, f"node {node}"): node for node in self._unasked(present)}
            tolerant = SITE_CODES if self.members is not None else ()
            gone: dict[str, str] = {}
            questions = {name: self._question(node) for name, node in names.items()}
            for name, reply in self.asker.ask(questions, tolerant, gone).items():
                self._describe(names[name], reply, welcome)
            self._known |= {node for name, node in names.items() if name not in gone}
        if not self.asker.forgiving:
            for name, why in self.set_aside.items():
                raise SiteFailed(name, "query.describe", why)

    def _undecided(self) -> set[str]:
        """Sites that may yet let the study in."""
        return {site for site, code in self.refusing.items() if code in UNDECIDED}

    def _unasked(self, present: set[int]) -> list[int]:
        """Connected nodes that are new, or due to be asked again."""
        now, under_way = time.monotonic(), set(self._asked.values())
        due = {node for node, (when, _) in self._again.items() if when <= now} - under_way
        return sorted((present - self._known) | (present & due))

    def _question(self, node: int) -> Message:
        return requests({"": node}, self.letterhead.request(Describe()), {})[""]

    def _stamped(self, node: int, site: str | None) -> Message:
        """The question to a newcomer, with what goes with every request to a site whose name the operator knows."""
        question = self._question(node)
        return question if site is None else self.asker.counters.stamped(site, question)

    def _present(self) -> tuple[set[int], dict[int, str]]:
        """Connected nodes that may take part, and those of them whose names the operator knows."""
        welcome = {node: site for site, node in self._members().items()}
        present = set(self.grid.get_node_ids())
        return (present if self.members is None else present & set(welcome)), welcome

    def _hear(self, welcome: Mapping[int, str]) -> None:
        """Take in the newcomers that have answered."""
        if not self._asked:
            return
        for reply in list(self.grid.pull_messages(list(self._asked))):
            node = self._asked.pop(reply.metadata.reply_to_message_id)
            if (site := welcome.get(node)) is not None:
                reply = self.asker.counters.arrived(site, self._question(node), reply)
            self._describe(node, reply, welcome)

    def _listen(self) -> None:
        """Look for newcomers' answers until all are there."""
        while not self._closed.wait(LISTEN_S):
            with self._lock:
                if not self._asked:
                    return
                with contextlib.suppress(NormfedError):  # whoever looks at the start of the next round is told
                    self._hear(self._present()[1])

    def _describe(self, node: int, reply: Message, welcome: Mapping[int, str]) -> None:
        site = welcome.get(node)
        if site is None and self.members is not None:
            return  # shut out while it was asked: whatever it calls itself
        if reply.has_error():
            if site is not None:
                self._refuse(site, node, error_code(reply))
            return
        try:
            answer, _ = claims.read(reply)
            told = answer.told(Described)
            said = claims.description(told)
        except WireError as error:
            self._set_aside(site, node, f"what it said of itself cannot be used: {error}")
            return
        if site is not None and answer.site != site:
            # A key stands for one site: nobody speaks in another's name.
            self._refuse(site, node, SiteCode.BAD_REQUEST)
            return
        name = answer.site
        if told.machine is not None:
            self.hearing.described(name, told.machine.model_dump())
            if why := apart(told.machine.normfed, self.letterhead.version):
                self.tell(name, why)
                self._refuse(name, node, SiteCode.VERSION_DIFFERS)  # as the site itself should have done
                return
        counted = claims.believed(said, self.enrolled().get(name))
        if counted != said:
            self.tell(name, f"says that it has {_people(said)}; counted are {_people(counted)}, as it was enrolled")
        # What it said first counts for the whole run: a weight is not to be claimed anew in the middle.
        self.sites = dict(sorted({name: counted, **self.sites}.items()))
        self.nodes = dict(sorted({**self.nodes, name: node}.items()))
        self.refusing.pop(name, None)
        self._again.pop(node, None)
        self.set_aside.pop(name, None)
        if told.machine is not None:
            self.machines[name] = told.machine

    def _refuse(self, site: str, node: int, code: SiteCode) -> None:
        before, self.refusing[site] = self.refusing.get(site), code
        self.hearing.refused(site, code)
        if not code.of_consent:
            return
        if code is SiteCode.WITHDRAWN:  # for good: it is not asked again
            self._again.pop(node, None)
        else:
            pause = min(2 * self._again[node][1], AGAIN_AT_MOST_S) if node in self._again else AGAIN_S
            self._again[node] = time.monotonic() + pause, pause
        if before is not code:
            self.tell(site, f"{describe(code)}. {cure(code, self.letterhead.run, site)}")

    def _set_aside(self, site: str | None, node: int, why: str) -> None:
        name = site or f"node {node}"
        self.set_aside[name] = why
        self.tell(name, f"set aside: {why}")

    def _members(self) -> Mapping[str, int]:
        return self.members() if self.members is not None else {}

    def _missing(self, excused: frozenset[str]) -> list[str]:
        present = set(self.grid.get_node_ids())
        members = self._members()
        if not members:
            return ["every site"]
        return sorted(site for site, node in members.items() if node not in present and site not in excused)


def _people(site: SiteDescription) -> str:
    return ", ".join(f"{max(getattr(site, role), 0):,} to {role.replace('_', ' ')}" for role in ROLES)
