"""Online expectation maximisation: sums that move a step towards those of some voxels, and their average.

    S_t = (1 - g_t) S_(t-1) + g_t s_t,   g_0 = 1, g_t = (t + 2)^-0.6        (Cappé & Moulines 2009, JRSS B 71:593)

per voxel, with s_t of the voxels drawn in round t; the average of S_t over the last half of the rounds (Polyak) makes
the model. Averaged sums make orthogonal axes and covariances, as averaged parameters do not.

A site sends n times its own new S, n its voxels of the round: these add up to n S of all sites. So the server keeps
nothing between rounds but the last total, and what a site sends is still a sum over people plus what everybody knows.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from normfed_common.foundation.arrays import Arrays
from normfed_common.models.mixtures.voxels import COUNT

AVERAGE, STEPS = "average.", "steps"
EXPONENT = 0.6


def step_size(step: int) -> float:
    """g of a step, counted from 0."""
    return 1.0 if step == 0 else float((step + 2) ** -EXPONENT)


def steps_done(last: Mapping[str, np.ndarray]) -> int:
    """Of how many rounds a total is."""
    return round(float(last[STEPS] / last[COUNT]))


def moved(batch: Arrays, last: Mapping[str, np.ndarray] | None, rounds: int) -> Arrays:
    """What a site sends.

    Parameters
    ----------
    batch
        The sums of its voxels of this round, with their ``count``.
    last
        The total of the round before; None in the first.
    rounds
        Of the whole phase.
    """
    count, step = batch[COUNT], 0 if last is None else steps_done(last)
    averaged = step - rounds // 2  # how many are in the average so far
    found: Arrays = {COUNT: count, STEPS: np.asarray(count * (step + 1))}
    for name, array in batch.items():
        if name == COUNT:
            continue
        running = array
        if last is not None:
            running = _between(count * last[name] / last[COUNT], array, step_size(step))
        average = running
        if last is not None and averaged > 0:
            average = _between(count * last[AVERAGE + name] / last[COUNT], running, 1 / (averaged + 1))
        found |= {name: running, AVERAGE + name: average}
    return found


def _between(old: np.ndarray, new: np.ndarray, step: float) -> np.ndarray:
    found: np.ndarray = (1 - step) * old + step * new
    return found
