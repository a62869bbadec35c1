"""How much privacy is spent: epsilon of a composition of sampled Gaussian mechanisms, and the noise for a target.

Sums over everybody compose to one Gaussian mechanism, whose epsilon is known exactly (Balle & Wang 2018, arXiv
1805.06530). With samples among them, the privacy loss is added up numerically (`loss_distribution`), always to an upper
bound.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache

from normfed_common.privacy.mechanisms import SampledGaussian

MOST_NOISE = 1e6
CLOSE = 1e-3  # relative: the noise for a target


def epsilon(releases: Iterable[SampledGaussian], delta: float) -> float:
    """Upper bound on epsilon of all releases together, at ``delta``; infinity where one has no noise."""
    return _epsilon(together(releases), delta)


def together(releases: Iterable[SampledGaussian]) -> tuple[SampledGaussian, ...]:
    """The same releases in as few entries as possible, in an order of their own.

    Sums over everybody with noise z_i are as one of them with 1 / z^2 = sum 1 / z_i^2.
    """
    times: Counter[tuple[float, float]] = Counter()
    for release in releases:
        times[release.noise_multiplier, release.sampling_rate] += release.times
    if any(z == 0 for (z, _), number in times.items() if number):
        return (SampledGaussian(0),)
    inverse = math.fsum(number / z**2 for (z, q), number in times.items() if q == 1)
    found = [SampledGaussian(z, q, number) for (z, q), number in sorted(times.items()) if q < 1 and number]
    return (*([SampledGaussian(inverse**-0.5)] if inverse else []), *found)


@lru_cache(maxsize=4096)
def _epsilon(releases: tuple[SampledGaussian, ...], delta: float) -> float:
    if not releases:
        return 0.0
    if releases[0].noise_multiplier == 0:
        return math.inf
    if releases[0].sampling_rate == 1 and len(releases) == 1:
        return _of_gaussian(releases[0].noise_multiplier, delta)
    from normfed_common.privacy.loss_distribution import epsilon as composed

    return composed(releases, delta)


def _of_gaussian(z: float, delta: float) -> float:
    """Of one sum over everybody: Balle & Wang 2018, theorem 8, solved for epsilon."""
    from scipy.optimize import brentq
    from scipy.special import log_ndtr

    def excess(epsilon: float) -> float:
        """ln delta of this epsilon, less that of the target."""
        told, other = (float(log_ndtr(side / (2 * z) - epsilon * z)) for side in (1, -1))
        return told + math.log(max(-math.expm1(epsilon + other - told), 1e-300)) - math.log(delta)

    if excess(0.0) <= 0:
        return 0.0
    high = 1.0
    while excess(high) > 0:
        high *= 2
    found: float = brentq(excess, 0.0, high, xtol=1e-12, rtol=1e-12)
    return found * (1 + 1e-9)


def noise_multiplier(target: float, delta: float, releases: Callable[[float], Iterable[SampledGaussian]]) -> float:
    """The least z, to `CLOSE`, so that the releases made with it are within epsilon ``target``.

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
    while high - low > CLOSE * high:
        middle = (low + high) / 2
        low, high = (middle, high) if epsilon(releases(middle), delta) > target else (low, middle)
    return high
