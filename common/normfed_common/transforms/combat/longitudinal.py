"""Longitudinal ComBat: scans of the same people again and again, each with an intercept of their own (Beer 2020).

    x = alpha of the scanner + beta' z + u of the person + e,   u ~ N(0, lambda s^2),  e ~ N(0, s^2)

A person is seen at one site, so the weights W = (I + lambda A A')^-1 with A's columns of people, and those of scanners,
split into sites. With P = W - W D (D'W D)^-1 D'W, which takes scanners' columns D off, the restricted likelihood

    log |I + lambda A A'| + log |D'W D| + log |Z'P Z| + (n - scanners - q) log(x'P x - x'P Z (Z'P Z)^-1 Z'P x)

is a function of sums over sites at every lambda. So mixed models are learnt exactly by sums: first at a grid of lambda,
then at each feature's best one, between whose neighbours it lies on a parabola. The effects of scanners are those of
ComBat, of x - u, where u = lambda sum (x - alpha - beta' z) / (1 + lambda visits) is the person's.

Source: Beer 2020, NeuroImage 220:117129, doi 10.1016/j.neuroimage.2020.117129.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from normfed_common.foundation import arrays as named
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import DatasetError, WireError
from normfed_common.transforms.combat.effects import Effect, Prior
from normfed_common.transforms.combat.rows import Rows
from normfed_common.transforms.combat.sums import Shared
from normfed_common.transforms.combat.usable import LEAST_PEOPLE, check_sites

RATIOS = np.concatenate([[0.0], 10 ** np.linspace(-4, 4, 80)])  # the grid of lambda
LEAST_RESIDUAL = 1e-12


@dataclass(frozen=True)
class LongitudinalCombat:
    """What was learnt.

    Parameters
    ----------
    shared, effects
        See `Combat`.
    ratios
        (p,): lambda.
    levels
        Scanner to its alpha, (p,).
    """

    shared: Shared
    effects: Mapping[str, Effect]
    ratios: np.ndarray
    levels: Mapping[str, np.ndarray]

    @classmethod
    def learn(
        cls,
        sites: Sequence[Rows],
        covariates: Sequence[str] = (),
        prior: Prior = "parametric",
        minimum_people: int = LEAST_PEOPLE,
    ) -> LongitudinalCombat:
        """From the rows of every site; see `Combat.learn`. Rows of one person have the same number, at one site.

        Raises
        ------
        DatasetError
            If there is one scanner in all, nobody was scanned twice, or scanners cannot be told from people.
        """
        check_sites(sites, covariates, minimum_people)
        if all(len(np.unique(rows.people)) == len(rows.people) for rows in sites):
            raise DatasetError("Nobody has two scans: longitudinal ComBat takes people who were scanned again.")
        try:
            ratios = best_ratios(named.add([grid_sums(rows) for rows in sites]))
            shared = _shared(named.add([ratio_sums(rows, ratios) for rows in sites]))
        except (WireError, np.linalg.LinAlgError) as error:
            raise DatasetError(f"Longitudinal ComBat cannot harmonize these scans: {error}.") from error
        levels = {scanner: level for rows in sites for scanner, level in _levels(rows, ratios, shared).items()}
        found = cls(shared, {}, ratios, levels)
        effects: dict[str, Effect] = {}
        for rows in sites:
            rest = replace(rows, values=rows.values - found.of_people(rows))
            effects |= {scanner: Effect.of(mine, shared, prior) for scanner, mine in rest.by_scanner().items()}
        return replace(found, effects=effects)

    def of_people(self, rows: Rows) -> np.ndarray:
        """u (n, p) of whoever each row is of, from all rows of theirs."""
        z = rows.filled(self.shared.usual)
        away = rows.values - z @ self.shared.slopes - np.stack([self.levels[str(one)] for one in rows.scanners])
        _, owner, visits = np.unique(rows.people, return_inverse=True, return_counts=True)
        total = np.zeros((len(visits), away.shape[1]))
        np.add.at(total, owner, away)
        found: np.ndarray = (self.ratios * total / (1 + self.ratios * visits[:, None]))[owner]
        return found

    def harmonized(self, rows: Rows) -> np.ndarray:
        """The values (n, p) as an average scanner would have them, of scanners that are known: what is a person's own
        is kept."""
        own = self.of_people(rows)
        found = np.empty_like(own)
        for scanner, mine in ((scanner, rows.scanners == scanner) for scanner in np.unique(rows.scanners)):
            effect = self.effects[str(scanner)]
            rest = effect.applied((rows.values - own)[mine], rows.covariates[mine], self.shared)
            found[mine] = rest + own[mine]
        return found


def grid_sums(rows: Rows) -> Arrays:
    """The sums of a site at every lambda of the grid."""
    design, each = _Design(rows), []
    for ratio in RATIOS:
        sums = design.at(ratio, rows.values)
        each.append({name: sums[name] for name in ("determinant", "zz", "zx", "xx")})
    stacked = {name: np.stack([sums[name] for sums in each]) for name in each[0]}
    return {"degrees": design.degrees, **stacked}


def best_ratios(total: Arrays) -> np.ndarray:
    """The lambda (p,) at which the restricted likelihood of each feature is greatest."""
    zz, zx = total["zz"], total["zx"]
    free = float(total["degrees"]) - zz.shape[1]
    residual = total["xx"] - (zx * np.linalg.solve(zz, zx)).sum(1)
    deviance = free * np.log(np.maximum(residual, LEAST_RESIDUAL))
    deviance += (total["determinant"] + np.linalg.slogdet(zz)[1])[:, None]
    best = deviance.argmin(0)
    found = RATIOS[best].copy()
    inside = (best >= 2) & (best < len(RATIOS) - 1)
    at, columns = best[inside], np.flatnonzero(inside)
    below, here, above = (deviance[at + step, columns] for step in (-1, 0, 1))
    bend = below - 2 * here + above
    step = np.clip(np.where(bend > 0, 0.5 * (below - above) / np.where(bend > 0, bend, 1.0), 0.0), -1, 1)
    found[inside] *= (RATIOS[3] / RATIOS[2]) ** step
    return found


def ratio_sums(rows: Rows, ratios: np.ndarray) -> Arrays:
    """The sums of a site, of each feature at its own lambda (p,)."""
    q, p = rows.covariates.shape[1], len(ratios)
    design = _Design(rows)
    found = {"zz": np.zeros((q, q, p)), "zx": np.zeros((q, p)), "xx": np.zeros(p)}
    found |= {"level": np.zeros(p), "level_covariates": np.zeros((q, p))}
    for ratio in np.unique(ratios):
        mine = ratios == ratio
        sums = design.at(ratio, rows.values[:, mine])
        for name in ("zx", "xx"):
            found[name][..., mine] = sums[name]
        found["zz"][..., mine] = sums["zz"][..., None]
        found["level"][mine] = design.scans @ sums["levels"]
        found["level_covariates"][:, mine] = (design.scans @ sums["covariate_levels"])[:, None]
    scans, covariates = np.asarray(float(len(rows.values))), design.z.sum(0)
    return {"scans": scans, "degrees": design.degrees, "covariates": covariates, **found}


def _shared(total: Arrays) -> Shared:
    n, q = float(total["scans"]), len(total["zx"])
    zz = np.moveaxis(total["zz"], -1, 0)
    slopes = np.linalg.solve(zz, total["zx"].T[..., None])[..., 0].T
    residual = np.maximum(total["xx"] - (slopes * total["zx"]).sum(0), 0.0)
    mean = (total["level"] - (slopes * total["level_covariates"]).sum(0)) / n
    return Shared(slopes, mean, residual / (float(total["degrees"]) - q), total["covariates"] / n)


def _levels(rows: Rows, ratios: np.ndarray, shared: Shared) -> dict[str, np.ndarray]:
    """alpha of every scanner of a site."""
    design = _Design(rows)
    found = np.zeros((len(design.scanners), len(ratios)))
    for ratio in np.unique(ratios):
        mine = ratios == ratio
        sums = design.at(ratio, rows.values[:, mine])
        found[:, mine] = sums["levels"] - sums["covariate_levels"] @ shared.slopes[:, mine]
    return dict(zip(design.scanners, found, strict=True))


class _Design:
    """A site's scanners, covariates and people, whose weights depend on lambda."""

    def __init__(self, rows: Rows) -> None:
        by_scanner = rows.by_scanner()
        self.scanners = list(by_scanner)
        self._d = (rows.scanners[:, None] == np.array(self.scanners)).astype(np.float64)
        usual = np.array([mine.usual() for mine in by_scanner.values()]).reshape(len(self.scanners), -1)
        self.z = np.where(np.isfinite(rows.covariates), rows.covariates, self._d @ usual)
        self.scans = self._d.sum(0)
        self.degrees = np.asarray(float(len(rows.values) - len(self.scanners)))
        _, self._owner, self._visits = np.unique(rows.people, return_inverse=True, return_counts=True)

    def at(self, ratio: float, x: np.ndarray) -> Arrays:
        """The sums at one lambda: ``levels`` of scanners are those of x alone, ``covariate_levels`` those of z."""
        d, wd = self._d, self._weighted(self._d, ratio)
        inner = d.T @ wd
        levels, of_covariates = (np.linalg.solve(inner, wd.T @ values) for values in (x, self.z))
        away, z = x - d @ levels, self.z - d @ of_covariates
        weighted, wz = self._weighted(away, ratio), self._weighted(z, ratio)
        determinant = np.log1p(ratio * self._visits).sum() + np.linalg.slogdet(inner)[1]
        return {
            "determinant": np.asarray(determinant),
            "zz": z.T @ wz,
            "zx": wz.T @ away,
            "xx": (away * weighted).sum(0),
            "levels": levels,
            "covariate_levels": of_covariates,
        }

    def _weighted(self, values: np.ndarray, ratio: float) -> np.ndarray:
        """W times values (n, m)."""
        total = np.zeros((len(self._visits), values.shape[1]))
        np.add.at(total, self._owner, values)
        found: np.ndarray = values - (ratio / (1 + ratio * self._visits))[self._owner, None] * total[self._owner]
        return found
