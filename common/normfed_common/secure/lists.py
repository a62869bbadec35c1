"""Which lists of sites sums may be told over, one beside another: the difference of two sums is a sum, too.

A sum over five sites and one over four of them, of the same people, give the fifth site's own by subtraction: in two
runs of one study, or in one run and that which is made again without a site. So the lists that a site signed are looked
at together. They cut the sites into parts, those that are in exactly the same lists, and whatever anybody computes from
the sums by adding and subtracting is made of whole parts. No part may ever hold fewer sites than a sum itself (So,
Guler & Avestimehr 2023, AAAI, arXiv 2106.03328, ask the same of the rounds of one training, and show what is lost
without: single updates, after some rounds in which others drop out).

What is left: not all sites of a sum are asked to sign its list, so one that was not does not remember it. A server with
c sites of its own gets a list signed that leaves out one site, never, since t + t' > n + c for the thresholds of n
sites and of n - 1 (see `thresholds`); one that leaves out two or three of an odd n + c it may.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence


def parts(lists: Iterable[Collection[str]]) -> set[frozenset[str]]:
    """Sites by the lists that they are in."""
    memberships: dict[str, list[int]] = {}
    for number, sites in enumerate(lists):
        for site in set(sites):
            memberships.setdefault(site, []).append(number)
    found: dict[tuple[int, ...], set[str]] = {}
    for site, numbers in memberships.items():
        found.setdefault(tuple(numbers), set()).add(site)
    return {frozenset(sites) for sites in found.values()}


def too_few(earlier: Sequence[Collection[str]], new: Collection[str], minimum: int) -> frozenset[str]:
    """A part of fewer sites than ``minimum`` that a new list makes beside the earlier ones; empty where it makes none.

    Small parts that were there before are no news.
    """
    small = {part for part in parts([*earlier, new]) - parts(earlier) if len(part) < minimum}
    return min(small, key=lambda part: (len(part), sorted(part)), default=frozenset())
