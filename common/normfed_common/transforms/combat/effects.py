"""What one scanner adds, gamma, and by what it multiplies, delta: by empirical Bayes drawn to what all its features
have.

    s = (x - mean - beta' z) / sqrt(variance)
    gamma_hat, delta_hat: the mean and the variance (n - 1) of s over the scanner's scans, per feature

    parametric      gamma ~ N(mean of gamma_hat, their variance), delta ~ inverse gamma of the moments of delta_hat;
                    the posterior means, each given the other, in turns until nothing changes (Johnson 2007)
    non-parametric  gamma, delta ~ the other features' own, each weighted by the likelihood of this feature's scans
    none            gamma_hat, delta_hat

    harmonized x = sqrt(variance) (s - gamma) / sqrt(delta) + mean + beta' z

It needs a scanner's own scans and what is shared, so it is worked out at the site and stays there, and a scanner that
comes later changes nobody's. Of a single scan no variance is known: delta is 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from normfed_common.transforms.combat.rows import Rows
from normfed_common.transforms.combat.sums import Shared

Prior = Literal["parametric", "non-parametric", "none"]
TOLERANCE, MOST_TURNS = 1e-12, 10_000  # of a change, in standard deviations; nobody needs as many turns
NORMAL_MAD = 0.6744897501960817  # of a standard normal variable, its median distance from 0
CHUNK = 2**22  # numbers at once


@dataclass(frozen=True)
class Effect:
    """One scanner's.

    Parameters
    ----------
    location, scale
        gamma and delta, (p,).
    usual
        (q,): the covariates of its people, for those who tell none.
    """

    location: np.ndarray
    scale: np.ndarray
    usual: np.ndarray

    @classmethod
    def none(cls, shared: Shared) -> Effect:
        """That of a reference: its scans stay as they are."""
        return cls(np.zeros_like(shared.mean), np.ones_like(shared.mean), shared.usual)

    @classmethod
    def of(cls, rows: Rows, shared: Shared, prior: Prior = "parametric", robust: int = 0) -> Effect:
        """Of the scans of one scanner; 0 and 1 in features in which nobody differs.

        Parameters
        ----------
        robust
            If not 0, by median and median distance from it, which scans with lesions hardly move: of so many people in
            the middle, as whatever is made of a median that is one person's can be solved for that person.
        """
        n, varies = len(rows.values), shared.varies
        usual = np.where(np.isfinite(rows.covariates).any(0), rows.usual(), shared.usual)
        found = cls(np.zeros_like(shared.mean), np.ones_like(shared.mean), usual)
        if not varies.any():
            return found
        s = standardised(rows.values, rows.filled(usual), shared)[:, varies]
        visits = int(np.unique(rows.people, return_counts=True)[1].max()) if robust > 1 else 1
        middle = partial(_middle, least=robust * visits)
        centre = middle(s) if robust else s.mean(0)
        if n == 1:
            spread = np.ones_like(centre)
        elif robust:
            spread = (middle(np.abs(s - centre)) / NORMAL_MAD) ** 2
        else:
            spread = s.var(0, ddof=1)
        spread = np.where(spread > 0, spread, 1.0)
        found.location[varies], found.scale[varies] = shrunk(centre, spread, n, prior)
        return found

    def applied(self, values: np.ndarray, covariates: np.ndarray, shared: Shared) -> np.ndarray:
        """Values (n, p) of scans of this scanner, harmonized; covariates (n, q), NaN where they are not known."""
        z = np.where(np.isfinite(covariates), covariates, self.usual)
        s = standardised(values, z, shared)
        found = np.sqrt(shared.variance) * (s - self.location) / np.sqrt(self.scale) + shared.expected(z)
        changed = shared.varies & ((self.location != 0) | (self.scale != 1))
        return np.where(changed, found, values)


def _middle(values: np.ndarray, least: int) -> np.ndarray:
    """The mean (p,) of those values (n, p) of each feature that have as many below as above them: of the ``least``
    number at least, or of all; the median for 1."""
    n = len(values)
    beyond = max(n - least, 0) // 2
    found: np.ndarray = np.sort(values, 0)[beyond : n - beyond].mean(0)
    return found


def standardised(values: np.ndarray, covariates: np.ndarray, shared: Shared) -> np.ndarray:
    """s (n, p) of the module, where features vary; elsewhere the distance from what is expected."""
    found: np.ndarray = (values - shared.expected(covariates)) / np.sqrt(np.where(shared.varies, shared.variance, 1.0))
    return found


def shrunk(centre: np.ndarray, spread: np.ndarray, n: int, prior: Prior) -> tuple[np.ndarray, np.ndarray]:
    """gamma and delta (p,) of gamma_hat and delta_hat (p,), of ``n`` scans; one feature alone is not drawn."""
    if prior == "none" or len(centre) < 2:
        return centre, spread
    found = _parametric(centre, spread, n) if prior == "parametric" else _non_parametric(centre, spread, n)
    return (found[0], np.ones_like(spread)) if n == 1 else found


def _parametric(centre: np.ndarray, spread: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    usual, between = centre.mean(), centre.var(ddof=1)
    m, v = spread.mean(), spread.var(ddof=1)
    gamma, delta = centre, spread
    for _ in range(MOST_TURNS):
        before = gamma, delta
        gamma = (between * n * centre + delta * usual) / (between * n + delta)
        squares = (n - 1) * spread + n * (centre - gamma) ** 2
        # b = m (m^2 + v) / v and a = (m^2 + 2 v) / v, both times v, which may be 0
        delta = (0.5 * squares * v + m * (m**2 + v)) / (n / 2 * v + m**2 + v)
        if all(np.abs(new - old).max() < TOLERANCE for new, old in zip((gamma, delta), before, strict=True)):
            break
    return gamma, delta


def _non_parametric(centre: np.ndarray, spread: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    gamma, delta, p = np.empty_like(centre), np.empty_like(spread), len(centre)
    for begin in range(0, p, max(1, CHUNK // p)):
        mine = np.arange(begin, min(p, begin + max(1, CHUNK // p)))
        squares = (n - 1) * spread[mine, None] + n * (centre[mine, None] - centre) ** 2
        likelihood = -0.5 * (n * np.log(spread) + squares / spread)
        likelihood[np.arange(len(mine)), mine] = -np.inf  # the others
        weight = np.exp(likelihood - likelihood.max(1, keepdims=True))
        weight /= weight.sum(1, keepdims=True)
        gamma[mine], delta[mine] = weight @ centre, weight @ spread
    return gamma, delta
