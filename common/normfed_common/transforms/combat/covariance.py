"""CovBat: how features go together differs between scanners as well, and is made alike (Chen 2022, Hum Brain Mapp).

After ComBat the residuals r = harmonized x - mean - beta' z have the same mean and variance at every scanner, but not
the same covariance. With c = (r - their mean) / their deviation, and V the leading eigenvectors of c's covariance,

    t = V' c,  t' = sqrt(w) (t - gamma) / sqrt(delta),  harmonized c = c + V (t' - t)

gamma, delta of one scanner's t, and w the variance of t within scanners: ComBat of scores, without empirical Bayes. A
site sends n, sum r, sum r r' and, within scanners, sum (r - rbar)(r - rbar)', so that V and w are those of all rows in
one place: p (p + 1) numbers, for features that are few.

Source: Chen 2022, doi 10.1002/hbm.25688.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import WireError
from normfed_common.learning.setting import SUMS_ROUNDING
from normfed_common.transforms.combat.effects import Effect
from normfed_common.transforms.combat.rows import Rows
from normfed_common.transforms.combat.sums import Shared


def covariance_sums(residuals: Rows) -> Arrays:
    """``scans`` (), ``residuals`` (p,), ``products`` and ``within`` (p, p); see the module."""
    p = residuals.values.shape[1]
    within = np.zeros((p, p))
    for mine in residuals.by_scanner().values():
        away = mine.values - mine.values.mean(0)
        within += away.T @ away
    values = residuals.values
    return {
        "scans": np.asarray(float(len(values))),
        "residuals": values.sum(0),
        "products": values.T @ values,
        "within": within,
    }


def check_covariance(sums: Arrays) -> None:
    """Whether residuals can have these sums.

    Raises
    ------
    WireError
        If not.
    """
    n, most = float(sums["scans"]), 1 + SUMS_ROUNDING
    if n < 0:
        raise WireError("counts are below 0")
    squares = np.diag(sums["products"])
    if (squares < 0).any() or (sums["residuals"] ** 2 > n * squares * most + SUMS_ROUNDING).any():
        raise WireError("residuals and their squares contradict each other")
    for name in ("products", "within"):
        array = sums[name]
        slack = SUMS_ROUNDING * float(np.trace(array)) + np.finfo(np.float64).tiny
        if np.abs(array - array.T).max(initial=0.0) > slack or not _semidefinite(array, slack):
            raise WireError(f"{name} are not of residuals")
    if (np.diag(sums["within"]) > squares * most + SUMS_ROUNDING).any():
        raise WireError("residuals differ more within scanners than they do at all")


def _semidefinite(array: np.ndarray, slack: float) -> bool:
    """Whether no eigenvalue is below -``slack``, a tenth as costly as to know them all."""
    try:
        np.linalg.cholesky(array + slack * np.eye(len(array)))
    except np.linalg.LinAlgError:
        return False
    return True


@dataclass(frozen=True)
class Components:
    """What all sites know of the covariance.

    Parameters
    ----------
    mean, deviation
        Of the residuals, (p,).
    axes
        (p, k): V.
    scores
        Mean, 0, and variance within scanners of t, as those of features.
    """

    mean: np.ndarray
    deviation: np.ndarray
    axes: np.ndarray
    scores: Shared

    @classmethod
    def of(cls, total: Arrays, share: float) -> Components:
        """As many components as explain the ``share`` of the variance of c.

        Raises
        ------
        WireError
            If there are no residuals, or none that have such sums.
        """
        n = float(total["scans"])
        if n <= 0:
            raise WireError("the sums cover no people")
        with np.errstate(over="ignore", invalid="ignore"):
            mean = total["residuals"] / n
            covariance = total["products"] / n - np.outer(mean, mean)
        variance = np.diag(covariance)
        # what is but rounding beside other features is nobody's, and would be divided by
        deviation = np.sqrt(np.where(variance > SUMS_ROUNDING**2 * variance.max(initial=0.0), variance, 1.0))
        correlation = covariance / np.outer(deviation, deviation)
        if not np.isfinite(correlation).all():
            raise WireError("no residuals have such products")
        values, axes = np.linalg.eigh(correlation)
        values, axes = values[::-1], axes[:, ::-1]
        explained = np.cumsum(values) / max(float(values.sum()), np.finfo(np.float64).tiny)
        axes = axes[:, : int(np.searchsorted(explained, share)) + 1]  # all of them where rounding leaves less than 1
        scaled = axes / deviation[:, None]
        within = np.einsum("pk,pl,lk->k", scaled, total["within"], scaled, optimize=True) / n
        k = axes.shape[1]
        return cls(mean, deviation, axes, Shared(np.zeros((0, k)), np.zeros(k), np.maximum(within, 0.0), np.zeros(0)))

    def where(self, chosen: np.ndarray) -> Components:
        """Of some of the features, by bool (p,), where the others have no residuals."""
        return replace(self, mean=self.mean[chosen], deviation=self.deviation[chosen], axes=self.axes[chosen])

    def effect(self, residuals: Rows) -> Effect:
        """Of the scores of one scanner's residuals."""
        return Effect.of(self._scored(residuals), self.scores, "none")

    def applied(self, residuals: Rows, effect: Effect) -> np.ndarray:
        """The residuals (n, p) of one scanner, with the covariance of all."""
        scored = self._scored(residuals)
        change = effect.applied(scored.values, scored.covariates, self.scores) - scored.values
        found: np.ndarray = residuals.values + self.deviation * (change @ self.axes.T)
        return found

    def _scored(self, residuals: Rows) -> Rows:
        scores = ((residuals.values - self.mean) / self.deviation) @ self.axes
        return Rows(scores, residuals.scanners, np.zeros((len(scores), 0)), residuals.people)
