"""Which sites there are: who is connected now, and what each says of itself. Sites may come and go between rounds."""

from __future__ import annotations

import threading
import time

from flwr.serverapp import Grid

from normfed_common.errors import RunError, SiteCode
from normfed_common.wire.messages import Request, decode_answer, requests
from normfed_server.asking import POLL_S, Asker
from normfed_server.plan import POOLED, SiteDescription

PATIENCE_S = 120.0  # for sites to come up; on a loaded machine a runtime takes its time


class Roster:
    """Asks every node once who it is.

    Parameters
    ----------
    header
        What a site is asked with: the study.

    Attributes
    ----------
    nodes
        Site to its node, the latest where it came back under another.
    sites
        Site to what it said of itself.
    """

    def __init__(self, grid: Grid, asker: Asker, header: Request) -> None:
        self.grid, self.asker, self.header = grid, asker, header
        self.nodes: dict[str, int] = {}
        self.sites: dict[str, SiteDescription] = {}
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

    def refresh(self) -> set[str]:
        """Ask nodes that are new; gives the sites that are connected now."""
        with self._lock:
            present = set(self.grid.get_node_ids())
            new = {str(node): node for node in sorted(present - self._known)}
            if new:
                messages = requests("query.describe", new, self.header, {})
                for node, reply in self.asker.ask(messages, tuple(SiteCode) if self._known else ()).items():
                    answer, _ = decode_answer(reply)
                    self.nodes[answer.site] = int(node)
                    self.sites[answer.site] = SiteDescription(**answer.counts, kinds=answer.labels)
                self._known |= present
            self.nodes = dict(sorted(self.nodes.items()))
            self.sites = dict(sorted(self.sites.items()))
            return {site for site, node in self.nodes.items() if node in present}

    def trainers(self, minimum: int) -> dict[str, int]:
        """Sites with people enough to train, and how many."""
        return {
            name: site.train for name, site in self.sites.items() if name != POOLED and site.train >= max(minimum, 1)
        }
