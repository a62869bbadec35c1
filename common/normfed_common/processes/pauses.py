"""How long to pause between two looks for what another process, or another machine, will have done."""

from __future__ import annotations

from dataclasses import dataclass

SHARE = 15.0  # one of so many parts of the wait: what comes is found late by a thirtieth of its time, on average


@dataclass(frozen=True)
class Pauses:
    """Short while something may come soon, longer the longer it has not: a look costs both sides processor time.

    Parameters
    ----------
    shortest_s, longest_s
        The first pause, and that of a wait fifteen times as long and more.
    """

    shortest_s: float
    longest_s: float

    def after(self, waited_s: float) -> float:
        """The next pause, in seconds, of somebody who has waited that long."""
        return min(max(waited_s / SHARE, self.shortest_s), self.longest_s)
