"""Privacy loss distributions: how surely what was released tells whether a person was in it, added up over releases.

The loss is ln(P(y) / Q(y)) of an output y that is drawn from P; of releases that follow each other it adds up. For a
sum over a Poisson sample with Gaussian noise P and Q are (1 - q) N(0, z^2) + q N(1, z^2) and N(0, z^2), or the other
way round: a person may have been put in or taken out, and the two are composed apart (Lebeda 2024, arXiv 2405.20769).

Losses are put on a grid so that the result is an upper bound on any grid: what is between two points goes to both, with
its mass under P and under Q kept ("connect the dots", Doroshenko 2022, arXiv 2207.04380). The grid's step only decides
how tight the bound is. They are added up by Fourier transforms of a window that all but a small share of delta is in.
Where delta is so small that rounding could matter, and where the losses are beyond all privacy, the bound is Chernoff's
(as that of Renyi differential privacy), which is looser.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.optimize import minimize_scalar
from scipy.special import ndtr, ndtri

from normfed_common.privacy.mechanisms import SampledGaussian

TIGHT = 3e-4  # relative; a step half as long gains less than this: steps are short enough
MOST_POINTS = 2**21  # of a grid: 16 MB per array; beyond it the bound stays as it is
WIDEST = 600.0  # losses of a window: exp of more is no number; who needs it has no privacy anyway
FIRST_POINTS = 2**17  # of the first grid of one release at most
SPARE = 1e-4  # of delta, for all that lies beyond the grids
ROUNDING = 1e-15  # of the transforms, per release that they add up


@dataclass(frozen=True)
class _Losses:
    """Losses (first + i) * step of one release, i from 0, with their probabilities under P; what is missing of 1 is an
    infinite loss."""

    first: int
    mass: np.ndarray
    times: int

    def log_moment(self, step: float, tilt: float) -> float:
        """K(t) = ln E exp(t l)."""
        exponents = self._log_mass + tilt * step * (self.first + np.arange(len(self.mass)))
        largest = float(exponents.max())
        return largest + math.log(float(np.exp(exponents - largest).sum()))

    @cached_property
    def _log_mass(self) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.log(self.mass)


def epsilon(releases: Sequence[SampledGaussian], delta: float) -> float:
    """Upper bound on epsilon of all releases together, at ``delta``; within about `TIGHT` of the least.

    Parameters
    ----------
    releases
        All with noise.
    """
    return max(_converged(releases, delta, removed) for removed in (True, False))


def _converged(releases: Sequence[SampledGaussian], delta: float, removed: bool) -> float:
    spare = SPARE * delta / 2 / sum(release.times for release in releases)
    step, best = _first_step(releases, spare), math.inf
    while True:
        parts = [_losses(release, removed, step, spare) for release in releases]
        found, points = _bound(parts, delta * (1 - SPARE), step)
        if found == 0 or best - found < TIGHT * found or 2 * points > MOST_POINTS:
            return min(best, found)
        best, step = found, step / 2


def _first_step(releases: Sequence[SampledGaussian], spare: float) -> float:
    """A step that is short beside the losses of one release on average (by their chi-squared divergence)."""
    variance, widest = 0.0, 0.0
    for release in releases:
        z, q = release.noise_multiplier, release.sampling_rate
        variance += release.times * min(q**2 * math.expm1(min(z**-2, 700.0)), z**-2)
        low, high = _range(release, spare)
        widest = max(widest, high - low)
    average = math.sqrt(variance / sum(release.times for release in releases))
    return max(average / 4, widest / FIRST_POINTS)


def _bound(parts: Sequence[_Losses], delta: float, step: float) -> tuple[float, int]:
    """Epsilon by grids of this step, and how many points the largest had; infinite losses are not in ``delta``."""

    @lru_cache(maxsize=512)
    def moment(tilt: float) -> float:
        return sum(part.times * part.log_moment(step, tilt) for part in parts)

    chernoff, spare = _beyond(moment, delta), SPARE / 2 * delta
    first = math.floor(min(-_beyond(lambda tilt: moment(-tilt), spare), 0.0) / step)
    size = next_fast_len(math.ceil(_beyond(moment, spare) / step) - first + 2, real=True)
    points = max(size, *(len(part.mass) for part in parts))
    rounding = ROUNDING * sum(part.times for part in parts)
    if points > MOST_POINTS or size * step > WIDEST or rounding > spare:
        return chernoff, points
    transform = np.ones(size // 2 + 1, np.complex128)
    for part in parts:
        places = (part.first + np.arange(len(part.mass))) % size  # what leaves the window comes in at its other end
        transform *= rfft(np.bincount(places, part.mass, size)) ** part.times
    mass = np.maximum(np.roll(irfft(transform, size), -(first % size)), 0)
    found = _solved(step * (first + np.arange(size)), mass, delta - 2 * spare)
    return min(found, chernoff), points


def _solved(losses: np.ndarray, mass: np.ndarray, delta: float) -> float:
    """The least epsilon, not negative, at which the sum over l > epsilon of p(l) (1 - exp(epsilon - l)) is ``delta``.

    Parameters
    ----------
    losses
        From 0 or less.
    """
    above = np.cumsum(mass[::-1])[::-1]
    other = np.cumsum((mass * np.exp(losses[0] - losses))[::-1])[::-1]  # mass under Q times exp(losses[0])
    told = above[1:] - np.exp(losses[:-1] - losses[0]) * other[1:]  # at every loss but the last
    place = int(np.argmax(told <= delta))
    if place == 0:
        return 0.0
    return max(0.0, float(losses[0] + math.log((above[place] - delta) / other[place])))


def _beyond(moment: Callable[[float], float], tail: float) -> float:
    """The loss above which no more than ``tail`` is, by Chernoff's bound: min over t of (K(t) - ln tail) / t."""
    found = minimize_scalar(
        lambda log: (moment(math.exp(log)) - math.log(tail)) / math.exp(log),
        bounds=(math.log(1e-7), math.log(1e9)),
        method="bounded",
        options={"xatol": 1e-3},
    )
    return float(found.fun)


def _range(release: SampledGaussian, spare: float) -> tuple[float, float]:
    """The losses between which all but ``spare`` is at either end, under P and under Q, the person being in P."""
    far = -release.noise_multiplier * float(ndtri(min(spare, 0.1)))
    return _loss(-far, release), _loss(1 + far, release)


def _losses(release: SampledGaussian, removed: bool, step: float, spare: float) -> _Losses:
    """The losses of one release; ``removed`` says that P has the person and Q has not."""
    z, q = release.noise_multiplier, release.sampling_rate
    low, high = _range(release, spare)
    first, last = math.floor(low / step), math.ceil(high / step)
    edges = step * np.arange(first, last + 1)
    outputs = _output(edges, release)
    without = _cells(outputs / z)
    within = (1 - q) * without + q * _cells((outputs - 1) / z)
    p, other = (within, without) if removed else (without[::-1], within[::-1])
    # The first and the last cells are open: lower losses count as the lowest, higher ones are left out.
    inner, other = p[1:-1], other[1:-1]
    upper = edges[1:] if removed else -edges[-2::-1]
    # Of a cell's mass m under P and m' under Q, a at its lower and b at its upper end: a + b = m, and
    # a exp(-lower) + b exp(-upper) = m'.
    with np.errstate(divide="ignore", invalid="ignore"):
        excess = np.clip(np.nan_to_num(upper + np.log(other) - np.log(inner), nan=0.0, neginf=0.0), 0, step)
    lower_part = inner * np.exp(excess - step) * np.expm1(-excess) / math.expm1(-step)
    mass = np.append(lower_part, 0) + np.append(0, inner - lower_part)
    mass[0] += p[0]
    return _Losses(first if removed else -last, mass, release.times)


def _loss(output: float, release: SampledGaussian) -> float:
    """ln(P / Q) at an output, the person being in P."""
    z, q = release.noise_multiplier, release.sampling_rate
    exponent = (2 * output - 1) / (2 * z**2)
    return exponent if q == 1 else float(np.logaddexp(math.log1p(-q), math.log(q) + exponent))


def _output(losses: np.ndarray, release: SampledGaussian) -> np.ndarray:
    """Where a loss is had: the inverse of `_loss`; minus infinity below the least loss."""
    z, q = release.noise_multiplier, release.sampling_rate
    if q == 1:
        return z**2 * losses + 0.5
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        near = np.log1p(np.expm1(losses) / q)  # exact around 0, where most losses are
        far = losses - math.log(q) + np.log1p(-(1 - q) * np.exp(-losses))
    found = np.where(losses < 1, near, far)
    return np.where(np.isnan(found), -np.inf, z**2 * found + 0.5)


def _cells(edges: np.ndarray) -> np.ndarray:
    """Mass of N(0, 1) below the first edge, between neighbours, above the last, (edges + 1,); with digits in both
    tails."""
    low, high = np.append(-np.inf, edges), np.append(edges, np.inf)
    return np.where(low > 0, ndtr(-low) - ndtr(-high), ndtr(high) - ndtr(low))
