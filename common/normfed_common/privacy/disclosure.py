"""Statistical disclosure control of figures: what is said of people is said of at least ``minimum`` of them together.

With a minimum of 1, as in a simulation, every function gives back what it was given.
"""

from __future__ import annotations

import numpy as np


def common_range(lows: np.ndarray, highs: np.ndarray, minimum: int) -> tuple[float, float]:
    """A range of scores that neither end of which is one person's: at least ``minimum`` people reach either.

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


def merged_bins(per_person: np.ndarray, minimum: int) -> np.ndarray:
    """Sums over people of histograms (people, bins), where no bin tells of fewer than ``minimum`` people.

    From the last bin down, bins are added into the lowest of a run until ``minimum`` people are in it; what is left
    over at the end is added to the last complete run, or is nothing where there is none. Shape (bins,).
    """
    total = per_person.sum(0)
    if minimum == 1:
        return total
    found = np.zeros(len(total), per_person.dtype)
    people = np.zeros(len(per_person), bool)
    waiting, last = per_person.dtype.type(0), None
    for place in range(len(total) - 1, -1, -1):
        waiting += total[place]
        people |= per_person[:, place] != 0
        if people.sum() >= minimum:
            found[place], last = waiting, place
            waiting, people = per_person.dtype.type(0), np.zeros(len(per_person), bool)
    if last is not None:
        found[last] += waiting
    return found
