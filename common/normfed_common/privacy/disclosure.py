"""Statistical disclosure control of figures: what is said of people is said of at least ``minimum`` of them together.

With a minimum of 1, as in a simulation, every function returns what it was given.
"""

from __future__ import annotations

import numpy as np


def common_range(lows: np.ndarray, highs: np.ndarray, minimum: int) -> tuple[float, float]:
    """A range of scores neither end of which is one person's: at least ``minimum`` people reach either.

    Parameters
    ----------
    lows, highs
        (people,): the least and the greatest score of each.

    Returns
    -------
    The ``minimum``-th least and the ``minimum``-th greatest of them, rounded outwards to about a hundredth of the
    range; scores beyond are to be counted as the ends.
    """
    place = min(minimum, len(lows)) - 1
    low, high = float(np.sort(lows)[place]), float(np.sort(highs)[::-1][place])
    if minimum == 1 or high <= low:
        return low, max(low, high)
    step = 2.0 ** np.floor(np.log2((high - low) / 64))
    return float(np.floor(low / step) * step), float(np.ceil(high / step) * step)


def microaggregated(scores: np.ndarray, minimum: int) -> np.ndarray:
    """Everybody's score (people,) replaced by the mean of a group of at least ``minimum`` with scores next to it.

    Univariate microaggregation, groups in the order of the scores (Domingo-Ferrer & Mateo-Sanz 2002, IEEE TKDE
    14(1):189-201); fewer people than ``minimum`` are one group.
    """
    if minimum == 1 or len(scores) == 0:
        return scores
    order = np.argsort(scores, kind="stable")
    groups = max(len(scores) // minimum, 1)
    found = np.empty(len(scores))
    for members in np.array_split(order, groups):
        found[members] = scores[members].mean()
    return found


def merged_bins(total: np.ndarray, present: np.ndarray, minimum: int) -> np.ndarray:
    """A histogram over people, where no bin tells of fewer than ``minimum`` people.

    From the last bin down, bins are added up until ``minimum`` people are in them; the sum stands in the lowest bin of
    such a run. What is left over at the bottom belongs to the last run, which then begins at the first bin; it is
    nothing where there is no run. So a run reaches from its bin to the next that is not empty: see `reach`.

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
    places = np.flatnonzero(present.any(0))[::-1]
    people = np.zeros(len(present), bool)
    waiting, last = total.dtype.type(0), None
    for place in places:
        waiting += total[place]
        people |= present[:, place]
        if people.sum() >= minimum:
            found[place], last = waiting, place
            waiting, people = total.dtype.type(0), np.zeros(len(present), bool)
    if last is not None:
        whole = found[last] + waiting
        found[last] = 0
        found[0] = whole
    return found


def reach(told: np.ndarray) -> np.ndarray:
    """The same histogram (bins,) with what stands in the lowest bin of each run (`merged_bins`) in its highest."""
    places = np.flatnonzero(told)
    found = np.zeros_like(told)
    if len(places):
        found[np.append(places[1:] - 1, len(told) - 1)] = told[places]
    return found
