"""Mixed models of scans of the same people again and again, each with an intercept of their own, learnt by sums.

    x = alpha of the scanner + beta' z + u of the person + e,   u ~ N(0, lambda s^2),  e ~ N(0, s^2)

A person is seen at one site, so the weights W = (I + lambda A A')^-1 with A's columns of people, and those of scanners,
split into sites. With P = W - W D (D'W D)^-1 D'W, which takes scanners' columns D off, the restricted likelihood

    log |I + lambda A A'| + log |D'W D| + log |Z'P Z| + (n - scanners - q) log(x'P x - x'P Z (Z'P Z)^-1 Z'P x)

is a function of sums over sites at every lambda. So mixed models are learnt exactly by sums: first at a grid of lambda,
then at each feature's best one, refined by the parabola through its neighbours.

Unlike those of `sums`, a site's own sums say what the mean of each of its scanners is, and of those who were scanned as
often; a secure sum over sites hides which is whose.

Source: Beer 2020, NeuroImage 220:117129, doi 10.1016/j.neuroimage.2020.117129.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import WireError
from normfed_common.learning.setting import SUMS_ROUNDING
from normfed_common.transforms.combat.rows import Rows
from normfed_common.transforms.combat.sums import SINGULAR, Shared, check_confounded

RATIOS = np.concatenate([[0.0], 10 ** np.linspace(-4, 4, 80)])  # the grid of lambda
LEAST_RESIDUAL = 1e-12


def groups_alike(rows: Rows, least: int) -> list[list[int]]:
    """Numbers of the rows of a site that may count, by who was scanned as often at the same scanners; no group is of
    fewer than ``least`` people.

    Sums at many lambda are those of every scanner, and of everybody who was scanned as often, apart: each number of
    visits has a pole of its own. So of whoever has visits as fewer people have, the last one does not count, and so on;
    who is left with one that fewer have does not count at all.
    """
    kept = {int(person): np.flatnonzero(rows.people == person).tolist() for person in np.unique(rows.people)}
    while True:
        alike: dict[tuple[str, ...], list[int]] = {}
        for person, of in kept.items():
            alike.setdefault(tuple(sorted(map(str, rows.scanners[of]))), []).append(person)
        few = [person for people in alike.values() if len(people) < least for person in people]
        if not few:
            return [[row for person in people for row in kept[person]] for people in alike.values()]
        most = max(len(kept[person]) for person in few)
        for person in few:
            if len(kept[person]) == most:
                kept[person].pop()
        kept = {person: of for person, of in kept.items() if of}


def told_alike(rows: Rows, least: int) -> Rows:
    """Those rows of a site that may count; see `groups_alike`."""
    return rows.where(np.array(sorted(row for group in groups_alike(rows, least) for row in group), int))


def grid_sums(rows: Rows) -> Arrays:
    """The sums of a site at every lambda of the grid, (L, ...): ``determinant`` (L,), ``zz`` (L, q, q), ``zx`` (L, q,
    p), ``xx`` (L, p); beside them ``scans``, ``degrees``, and of how many people there is more than one scan, ``again``
    (), ``covariates`` and ``covariate_squares`` (q,)."""
    design, each = _Design(rows), []
    for ratio in RATIOS:
        sums = design.at(ratio, rows.values)
        each.append({name: sums[name] for name in ("determinant", "zz", "zx", "xx")})
    stacked = {name: np.stack([sums[name] for sums in each]) for name in each[0]}
    again = np.asarray(float((design.visits > 1).sum()))
    return {**design.beside(), "again": again, "covariate_squares": (design.z**2).sum(0), **stacked}


def check_told_apart(total: Arrays, names: Sequence[str]) -> None:
    """Whether covariates can be told from scanners, by the sums at the grid.

    Raises
    ------
    WireError
        If not; see `check_confounded`.
    """
    check_confounded({**total, "within_covariates": total["zz"][0]}, names)


def check_sums(sums: Arrays, low: float, high: float, largest_covariate: float) -> None:
    """Whether scans with values between ``low`` and ``high``, or 0, can have these sums, at the grid or at each
    feature's own lambda; no covariate is further from 0 than the largest.

    Raises
    ------
    WireError
        If not.
    """
    n, degrees, most = float(sums["scans"]), float(sums["degrees"]), 1 + SUMS_ROUNDING
    if n < 0 or not 0 <= degrees <= n * most or (sums["xx"] < 0).any():
        raise WireError("counts or squares are below 0, or there are more degrees of freedom than scans")
    if "again" in sums and not 0 <= float(sums["again"]) <= n / 2 * most:
        raise WireError("more people than there are have two scans")
    reach = (max(high, 0.0) - min(low, 0.0)) / 2
    if (sums["xx"] > n * reach**2 * most + SUMS_ROUNDING).any():
        raise WireError(f"squares are not of values between {low:g} and {high:g}")
    if (np.abs(sums["covariates"]) > n * largest_covariate * most).any():
        raise WireError("no scans have such covariates")
    if (np.abs(sums.get("covariate_squares", np.zeros(1))) > n * largest_covariate**2 * most).any():
        raise WireError("no scans have such covariates")
    if (np.abs(sums.get("determinant", np.zeros(1))) > 2 * n * np.log1p(RATIOS[-1] * n) * most + SUMS_ROUNDING).any():
        raise WireError("no scans have such determinants")
    if "again" in sums:  # at the grid
        zz, zx, xx = sums["zz"], sums["zx"], sums["xx"][:, None]
    else:
        zz, zx, xx = np.moveaxis(sums["zz"], -1, 0), sums["zx"].T[..., None], sums["xx"][:, None, None]
    own = np.diagonal(zz, axis1=1, axis2=2)[..., None]
    if (own > n * largest_covariate**2 * most).any() or (zx**2 > own * xx * most + SUMS_ROUNDING).any():
        raise WireError("products and squares contradict each other")
    slack = SUMS_ROUNDING * np.trace(zz, axis1=1, axis2=2)
    if zz.shape[1] and (
        (np.abs(zz - np.swapaxes(zz, 1, 2)).max((1, 2)) > slack).any() or (np.linalg.eigvalsh(zz)[:, 0] < -slack).any()
    ):
        raise WireError("products of covariates contradict each other")


def best_ratios(total: Arrays) -> np.ndarray:
    """The lambda (p,) at which the restricted likelihood of each feature is greatest; 0 where nobody has two scans, so
    that it is as great everywhere.

    Raises
    ------
    WireError
        If the covariates cannot be told from each other.
    """
    zz, differs = _regular(total["zz"])
    zx = total["zx"]
    if total["again"] <= 0:
        return np.zeros(zx.shape[-1])
    free = max(float(total["degrees"]) - float(differs.sum()), 0.0)
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
    return {**design.beside(), **found}


def shared_of(total: Arrays) -> Shared:
    """What follows from the total of `ratio_sums`; where scanners and covariates say all of every scan, nobody differs.

    Raises
    ------
    WireError
        If the covariates cannot be told from each other.
    """
    n = float(total["scans"])
    zz, differs = _regular(np.moveaxis(total["zz"], -1, 0))
    free = float(total["degrees"]) - float(differs.sum())
    slopes = np.linalg.solve(zz, total["zx"].T[..., None])[..., 0].T
    residual = np.maximum(total["xx"] - (slopes * total["zx"]).sum(0), 0.0)
    residual[(residual <= SUMS_ROUNDING**2 * total["xx"]) | (free < 1)] = 0.0
    mean = (total["level"] - (slopes * total["level_covariates"]).sum(0)) / n
    return Shared(slopes, mean, residual / max(free, 1.0), total["covariates"] / n)


def _regular(zz: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Z'P Z (m, q, q), with 1 for what covariates in which nobody differs lack; and bool (q,), which do differ.

    Raises
    ------
    WireError
        If one covariate follows from the others.
    """
    differs = np.min(np.diagonal(zz, axis1=1, axis2=2), axis=0) > LEAST_RESIDUAL
    found = np.where(differs[:, None] & differs, zz, np.eye(zz.shape[1]))
    scale = np.sqrt(np.diagonal(found, axis1=1, axis2=2))
    if zz.shape[1] and np.linalg.eigvalsh(found / (scale[:, :, None] * scale[:, None, :]))[:, 0].min() < SINGULAR:
        raise WireError("of the covariates one follows from the others: leave one out")
    return found, differs


def levels_of(rows: Rows, ratios: np.ndarray, shared: Shared) -> dict[str, np.ndarray]:
    """alpha (p,) of every scanner of a site."""
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
        usual = np.array([mine.usual() for mine in by_scanner.values()]).reshape(
            len(self.scanners), rows.covariates.shape[1]
        )
        self.z = np.where(np.isfinite(rows.covariates), rows.covariates, self._d @ usual)
        self.scans = self._d.sum(0)
        _, self._owner, self.visits = np.unique(rows.people, return_inverse=True, return_counts=True)

    def beside(self) -> Arrays:
        """``scans`` and ``degrees`` (), ``covariates`` (q,)."""
        n = float(self.scans.sum())
        degrees = np.asarray(n - len(self.scanners))
        return {"scans": np.asarray(n), "degrees": degrees, "covariates": self.z.sum(0)}

    def at(self, ratio: float, x: np.ndarray) -> Arrays:
        """The sums at one lambda: ``levels`` of scanners are those of x alone, ``covariate_levels`` those of z."""
        d, wd = self._d, self._weighted(self._d, ratio)
        inner = d.T @ wd
        levels, of_covariates = (np.linalg.solve(inner, wd.T @ values) for values in (x, self.z))
        away, z = x - d @ levels, self.z - d @ of_covariates
        weighted, wz = self._weighted(away, ratio), self._weighted(z, ratio)
        determinant = np.log1p(ratio * self.visits).sum() + np.linalg.slogdet(inner)[1]
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
        total = np.zeros((len(self.visits), values.shape[1]))
        np.add.at(total, self._owner, values)
        found: np.ndarray = values - (ratio / (1 + ratio * self.visits))[self._owner, None] * total[self._owner]
        return found
