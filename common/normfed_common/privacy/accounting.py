"""How much privacy is spent: epsilon of a composition of sampled Gaussian mechanisms, and the noise for a target."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import lru_cache

from normfed_common.privacy.mechanisms import SampledGaussian

ORDERS = tuple(1 + x / 10 for x in range(1, 100)) + tuple(range(11, 64)) + (80, 128, 256, 512, 1024)
MOST_NOISE = 1e6


def epsilon(releases: Iterable[SampledGaussian], delta: float) -> float:
    """Upper bound on epsilon of all releases together, at ``delta``; infinity where one has no noise."""
    return _epsilon(tuple(releases), delta)


@lru_cache(maxsize=4096)
def _epsilon(releases: tuple[SampledGaussian, ...], delta: float) -> float:
    import numpy as np
    from opacus.accountants.analysis.rdp import compute_rdp, get_privacy_spent

    if not releases:
        return 0.0
    if any(release.noise_multiplier == 0 for release in releases):
        return math.inf
    rdp = sum(
        compute_rdp(q=r.sampling_rate, noise_multiplier=r.noise_multiplier, steps=r.times, orders=list(ORDERS))
        for r in releases
    )
    found, _ = get_privacy_spent(orders=list(ORDERS), rdp=np.asarray(rdp), delta=delta)
    return float(found)


def noise_multiplier(target: float, delta: float, releases: Callable[[float], Iterable[SampledGaussian]]) -> float:
    """The least z, to about a thousandth, so that the releases made with it are within epsilon ``target``.

    Raises
    ------
    ValueError
        If no noise up to `MOST_NOISE` does.
    """
    low, high = 0.0, 1.0
    while epsilon(releases(high), delta) > target:
        low, high = high, 2 * high
        if high > MOST_NOISE:
            raise ValueError(f"epsilon {target:g} at delta {delta:g} asks for more noise than {MOST_NOISE:g}")
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if epsilon(releases(middle), delta) > target else (low, middle)
    return high
