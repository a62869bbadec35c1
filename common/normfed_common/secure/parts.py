"""A site's part of a secure sum as integers, and what the server reads off the sum.

Of a round a site sends n_i / n_max (w_i - w) and n_i, n_i its people, n_max the most of any site, and the server has

    sum_i n_i (w_i - w) / sum_i n_i  =  n_max sum_i [n_i / n_max (w_i - w)] / sum_i n_i,

FedAvg's mean. That the n_i add up to the people whom the sites signed for shows that the masks came off whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import WireError
from normfed_common.secure.fixed_point import FixedPoint, Multiples, WidePoint
from normfed_common.secure.keystream import TYPES, Bits

PEOPLE, LOSS = "secure/people", "secure/loss"  # beside the arrays, masked as these are
LARGEST_LOSS = 1e6
ROUND_BITS: Bits = 32
SUMS_BITS: Bits = 64

Layout = tuple[tuple[str, tuple[int, ...], str], ...]


@dataclass(frozen=True)
class OnGrid:
    """Which of the arrays of a part are whole steps of a grid, as distributed noise makes them."""

    names: frozenset[str]
    multiples: Multiples


NO_GRID = OnGrid(frozenset(), Multiples(1.0))


def of_update(
    update: Arrays, base: Arrays, people: int, most_people: int, loss: float | None, point: FixedPoint
) -> Arrays:
    """A site's part of a round.

    Parameters
    ----------
    update
        Its arrays as trained, float32, those of ``base`` that it shares.
    loss
        Cut to +-LARGEST_LOSS: it is for people to look at. Not in the part when absent.

    Raises
    ------
    RangeError
        If a weight changed by more than the range, or is no number.
    """
    weight = people / most_people
    found = {name: point.encode(np.asarray(array, np.float64) - base[name], weight) for name, array in update.items()}
    if loss is not None:
        found[LOSS] = _of_loss(point.sites).encode(np.clip(np.asarray(loss), -LARGEST_LOSS, LARGEST_LOSS), weight)
    return found | {PEOPLE: np.asarray(people, TYPES[point.bits])}


def of_sums(sums: Arrays, people: int, point: WidePoint, grid: OnGrid = NO_GRID) -> Arrays:
    """A site's part of sums, float64; two integers per number, and one where it is on the grid.

    Raises
    ------
    RangeError
        If a sum is beyond the range, or no number.
    """
    found = {
        name: grid.multiples.encode(array) if name in grid.names else point.encode(array)
        for name, array in sums.items()
    }
    return found | {PEOPLE: np.asarray(people, TYPES[point.bits])}


def of_gradients(gradients: Arrays, people: int, grid: OnGrid) -> Arrays:
    """A site's part of a round of one step, gradients with distributed noise, all on the grid; one integer per number.

    Raises
    ------
    RangeError
        If one is beyond the range, or not on the grid.
    """
    found = {name: grid.multiples.encode(array) for name, array in gradients.items()}
    return found | {PEOPLE: np.asarray(people, TYPES[SUMS_BITS])}


def mean_update(total: Arrays, base: Arrays, people: int, most_people: int, point: FixedPoint) -> Arrays:
    """The mean model, float32, of the sum of parts without masks."""
    weight = most_people / people
    return {
        name: (base[name] + point.decode(array) * weight).astype(np.float32)
        for name, array in total.items()
        if name not in (PEOPLE, LOSS)
    }


def mean_step(total: Arrays, base: Arrays, rate: float, grid: OnGrid) -> Arrays:
    """The model, float32, after one step down the sum of parts, which are gradients with distributed noise.

    Parameters
    ----------
    rate
        By which the sum is multiplied.
    """
    return {
        name: (base[name] - grid.multiples.decode(array) * rate).astype(np.float32)
        for name, array in total.items()
        if name in grid.names
    }


def mean_loss(total: Arrays, people: int, most_people: int, point: FixedPoint) -> float:
    """Over the people of all sites; NaN where the sites sent none."""
    if LOSS not in total:
        return float("nan")
    return float(_of_loss(point.sites).decode(total[LOSS])) * most_people / people


def total_sums(total: Arrays, point: WidePoint, grid: OnGrid = NO_GRID) -> Arrays:
    """The sums, float64, of the sum of parts without masks."""
    return {
        name: np.asarray(grid.multiples.decode(array) if name in grid.names else point.decode(array))
        for name, array in total.items()
        if name != PEOPLE
    }


def _of_loss(sites: int) -> WidePoint:
    return WidePoint(ROUND_BITS, LARGEST_LOSS, sites)


def layout(arrays: Mapping[str, np.ndarray]) -> Layout:
    """Names, shapes and types, in the order in which numbers are masked: what can be added up has the same."""
    return tuple((name, array.shape, str(array.dtype)) for name, array in sorted(arrays.items()))


def flat(arrays: Mapping[str, np.ndarray], bits: Bits) -> np.ndarray:
    """All numbers in one vector of unsigned integers, a copy.

    Raises
    ------
    WireError
        If they are others.
    """
    if any(array.dtype != TYPES[bits] for array in arrays.values()):
        raise WireError(f"a part of a secure sum is not of {TYPES[bits]}")
    return np.concatenate([np.zeros(0, TYPES[bits]), *(arrays[name].ravel() for name in sorted(arrays))])


def shaped(vector: np.ndarray, like: Layout) -> Arrays:
    """Undo `flat`."""
    found: Arrays = {}
    start = 0
    for name, shape, _ in like:
        size = int(np.prod(shape, dtype=np.int64))
        found[name] = vector[start : start + size].reshape(shape)
        start += size
    return found
