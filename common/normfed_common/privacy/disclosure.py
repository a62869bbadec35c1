"""Statistical disclosure control of figures: what is said of people is said of at least ``minimum`` of them together.

With a minimum of 1, as in a simulation, every function returns what it was given.

Where people are of several ``groups``, int (people,), whatever is said is said of nobody or of at least ``minimum``
people of each: a made-up model may score all those without a modality alike, and then they hide nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

LARGEST_SHARE = 0.5  # of one person in a part
FAIR = 0.2  # of what others than the largest would have, were all alike


def common_range(
    lows: np.ndarray, highs: np.ndarray, minimum: int, groups: np.ndarray | None = None
) -> tuple[float, float]:
    """A range of scores neither end of which is one person's: at least ``minimum`` people reach either.

    Parameters
    ----------
    lows, highs
        (people,): the least and the greatest score of each.

    Returns
    -------
    The ``minimum``-th least and the ``minimum``-th greatest of them (of the group in which it is further out), rounded
    outwards to about a hundredth of the range; scores beyond are to be counted as the ends.
    """
    parts = _parts(len(lows), groups)
    low = min(float(np.sort(lows[part])[min(minimum, len(part)) - 1]) for part in parts)
    high = max(float(np.sort(highs[part])[::-1][min(minimum, len(part)) - 1]) for part in parts)
    if minimum == 1 or high <= low:
        return low, max(low, high)
    step = 2.0 ** np.floor(np.log2((high - low) / 64))
    return float(np.floor(low / step) * step), float(np.ceil(high / step) * step)


def microaggregated(scores: np.ndarray, minimum: int, groups: np.ndarray | None = None) -> np.ndarray:
    """Everybody's score (people,) replaced by the mean of a group of at least ``minimum`` with scores next to it.

    Univariate microaggregation, groups in the order of the scores (Domingo-Ferrer & Mateo-Sanz 2002, IEEE TKDE
    14(1):189-201); fewer people than ``minimum`` are one group.
    """
    if minimum == 1 or len(scores) == 0:
        return scores
    found = np.empty(len(scores))
    for part in _parts(len(scores), groups):
        order = part[np.argsort(scores[part], kind="stable")]
        for members in np.array_split(order, max(len(order) // minimum, 1)):
            found[members] = scores[members].mean()
    return found


def merged_bins(total: np.ndarray, present: np.ndarray, minimum: int, groups: np.ndarray | None = None) -> np.ndarray:
    """A histogram over people, where no bin tells of fewer than ``minimum`` people.

    From the last bin down, bins are added up until ``minimum`` people are in them; the sum stands in the lowest bin of
    such a run. What is left over at the bottom belongs to the last run (and, where few of a group are in both, to the
    one before it as well), which then begins at the first bin; it is nothing where there is no run. So a run reaches
    from its bin to the next that is not empty: see `reach`.

    Parameters
    ----------
    total
        (bins,): counts, or sums of weights, of all people.
    present
        bool (people, bins): who is in which bin.

    Returns
    -------
    (bins,), of the type of ``total``; ``total`` itself for a minimum of 1.
    """
    if minimum == 1:
        return total
    found = np.zeros_like(total)
    parts = _parts(len(present), groups)
    members = np.zeros((len(parts), len(present)), int)
    for row, part in zip(members, parts, strict=True):
        row[part] = 1
    up_to = np.zeros((len(total) + 1, len(present)), np.int32)  # in how many of the bins below somebody is
    np.cumsum(present.T, axis=0, out=up_to[1:])

    def enough(places: Sequence[int]) -> bool:
        """Of neighbours, the last first; what is between them is empty."""
        counts = members @ (up_to[places[0] + 1] > up_to[places[-1]])
        return bool(counts.any() and ((counts == 0) | (counts >= minimum)).all())

    told = runs(np.flatnonzero(present.any(0)), enough)
    for number, run in enumerate(told, 1):
        found[0 if number == len(told) else run[-1]] = sum((total[place] for place in run), total.dtype.type(0))
    return found


def runs(occupied: np.ndarray, enough: Callable[[Sequence[int]], bool]) -> list[list[int]]:
    """The occupied bins, from the last down, in as many runs of neighbours as can be that have ``enough`` in them.

    What is left over at the bottom belongs to the last run, and where that is not enough to the one before it as well;
    there is no run where all bins together are not enough.

    Parameters
    ----------
    occupied
        Their numbers, ascending.
    """
    found: list[list[int]] = []
    waiting: list[int] = []
    for place in occupied[::-1].tolist():
        waiting.append(place)
        if enough(waiting):
            found.append(waiting)
            waiting = []
    while waiting and found and not enough(waiting):
        waiting = found.pop() + waiting
    if waiting and enough(waiting):
        found.append(waiting)
    return found


def concentrated(shares: np.ndarray, minimum: int) -> np.ndarray:
    """Which parts are as good as a few people's, where everybody has some of everything (p % rule; Hundepool et al.
    2012, Statistical Disclosure Control, 4.2).

    Parameters
    ----------
    shares
        (people, parts), never negative: how much of a part is whose.

    Returns
    -------
    bool (parts,): one person has more than half, or all but the ``minimum`` - 1 with most have next to nothing. A part
    that is nobody's is not; nor is any for a minimum of 1.
    """
    people = len(shares)
    if minimum == 1 or not people:
        return np.zeros(shares.shape[1:], bool)
    ordered, total = np.sort(shares, 0)[::-1], shares.sum(0)
    least = FAIR * max(people - minimum + 1, 0) / people
    few = ordered[minimum - 1 :].sum(0) <= least * total
    found: np.ndarray = (total > 0) & (few | (ordered[0] > LARGEST_SHARE * total))
    return found


def reach(told: np.ndarray) -> np.ndarray:
    """The same histogram (bins,) with what stands in the lowest bin of each run (`merged_bins`) in its highest."""
    places = np.flatnonzero(told)
    found = np.zeros_like(told)
    if len(places):
        found[np.append(places[1:] - 1, len(told) - 1)] = told[places]
    return found


def _parts(people: int, groups: np.ndarray | None) -> list[np.ndarray]:
    """Who is in each group, by number; everybody in one where there are no groups."""
    return [np.arange(people)] if groups is None else [np.flatnonzero(groups == group) for group in np.unique(groups)]
