"""ComBat of one modality, in phases of sums: as it is, with CovBat, or longitudinal.

What a method makes of the sums of all sites, a site completes by its own rows to a `Combat` or `LongitudinalCombat`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import ClassVar

import numpy as np

from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.transforms.combat import covariance, mixed, sums
from normfed_common.transforms.combat.config import CombatConfig
from normfed_common.transforms.combat.covariance import Components
from normfed_common.transforms.combat.layout import Layout
from normfed_common.transforms.combat.longitudinal import LongitudinalCombat
from normfed_common.transforms.combat.matrices import Combat
from normfed_common.transforms.combat.people import OLDEST
from normfed_common.transforms.combat.rows import Rows
from normfed_common.transforms.combat.sums import REFERENCE, Shared

MOMENTS, COVARIANCE, VISITS = "moments", "covariance", "visits"
EXPLAINED = 0.95  # share of the variance in the components that CovBat harmonizes, as published


class Method(ABC):
    """ComBat of one modality: its sums, what follows from their total, and what a site completes by its own rows.

    Parameters
    ----------
    told_together
        The fewest people that a site tells anything of; 1 in a simulation.

    Attributes
    ----------
    phases
        In order; `MOMENTS` is the last, or the last before `COVARIANCE`.
    robust
        See `Effect.of`.
    shared
        What all sites know; None before `MOMENTS`, and where nobody has the modality.
    """

    phases: ClassVar[tuple[str, ...]] = (MOMENTS,)

    def __init__(self, config: CombatConfig, told_together: int) -> None:
        self.config, self.told_together = config, told_together
        self.robust = told_together if config.robust else 0
        self.shared: Shared | None = None

    @abstractmethod
    def layout(self, phase: str) -> Layout:
        """The layout of the sums of a phase; ``scans`` () is among them in every phase."""

    @abstractmethod
    def sums(self, phase: str, rows: Rows, counts: np.ndarray) -> Arrays:
        """The sums of a site's rows in a phase; ``counts``, bool (p,), are the features in the template's brain."""

    @abstractmethod
    def told_apart(self, rows: Rows) -> list[list[int]]:
        """Groups of a site's rows, by number, of which its sums tell something by themselves."""

    @abstractmethod
    def check(self, phase: str, found: Arrays, low: float, high: float) -> None:
        """Whether scans with values between ``low`` and ``high`` can have these sums.

        Raises
        ------
        WireError
            If not.
        """

    @abstractmethod
    def absorb(self, phase: str, total: Arrays) -> None:
        """Take the sums over all sites.

        Raises
        ------
        WireError
            If nothing can be made of them.
        """

    @abstractmethod
    def at(self, rows: Rows, counts: np.ndarray) -> Combat | LongitudinalCombat | None:
        """What a site has learnt for its own scanners, of the features that count; None where there is nothing to."""

    def notes(self) -> tuple[str, ...]:
        """What everybody should know of what was learnt."""
        return ()


class Plain(Method):
    """ComBat (`sums`, `effects`), with a reference or without.

    Where nobody who is learnt from is of the reference, as in a federation without its site, an average scanner stands
    for it, and the reference is a scanner like any.
    """

    def __init__(self, config: CombatConfig, told_together: int) -> None:
        super().__init__(config, told_together)
        self.reference = config.reference

    def layout(self, phase: str) -> Layout:
        """Of `sums_of`."""
        q = len(self.config.covariates)
        beside = {"scans": (), "covariates": (q,), "covariate_squares": (q,), "within_covariates": (q, q)}
        over = {"values": (), "within_products": (q,), "within_squares": ()}
        if self.config.reference is not None:
            beside |= {REFERENCE + name: shape for name, shape in beside.items()}
            over |= {REFERENCE + name: shape for name, shape in over.items()}
        return Layout(beside, over)

    def sums(self, phase: str, rows: Rows, counts: np.ndarray) -> Arrays:
        """See `sums_of`."""
        return sums.sums_of(rows, self.config.reference)

    def told_apart(self, rows: Rows) -> list[list[int]]:
        """That of the reference."""
        if self.config.reference is None:
            return []
        return [np.flatnonzero(rows.scanners == self.config.reference).tolist()]

    def check(self, phase: str, found: Arrays, low: float, high: float) -> None:
        """See `check_sums`."""
        covariates, reference = len(self.config.covariates), self.config.reference is not None
        sums.check_sums(found, covariates, reference, low, high, OLDEST)

    def absorb(self, phase: str, total: Arrays) -> None:
        """Slopes, mean and variance of every feature."""
        there = self.config.reference is not None and bool(total[f"{REFERENCE}scans"] > 0)
        self.reference = self.config.reference if there else None
        self.shared = Shared.of(total, self.config.covariates, there) if total["scans"] > 0 else None

    def at(self, rows: Rows, counts: np.ndarray) -> Combat | None:
        """The effects of the site's scanners."""
        if self.shared is None:
            return None
        learnt = Combat(self.shared.where(counts), {}, self.config.prior)
        return learnt.with_site(_counting(rows, counts), self.reference, self.robust)

    def notes(self) -> tuple[str, ...]:
        """Whether the reference is nobody's."""
        lacking = self.shared is not None and self.config.reference is not None and self.reference is None
        return (NO_REFERENCE,) if lacking else ()


class CovBat(Plain):
    """ComBat, and then principal components of what it leaves (`covariance`)."""

    phases = (MOMENTS, COVARIANCE)

    def __init__(self, config: CombatConfig, told_together: int) -> None:
        super().__init__(config, told_together)
        self.components: Components | None = None

    def layout(self, phase: str) -> Layout:
        """Of `covariance_sums`, after those of ComBat."""
        if phase == MOMENTS:
            return super().layout(phase)
        return Layout({"scans": ()}, {"residuals": ()}, ("products", "within"))

    def sums(self, phase: str, rows: Rows, counts: np.ndarray) -> Arrays:
        """Of what ComBat leaves of the site's own rows; 0 where the template has no brain.

        Raises
        ------
        SiteError
            At a hospital with no more people than features that count, scanners and covariates: then whose residuals
            they are could be told from the space that the products span.
        """
        if phase == MOMENTS:
            return super().sums(phase, rows, counts)
        people = len(np.unique(rows.people))
        free = people - len(rows.by_scanner()) - len(self.config.covariates)  # of residuals, the dimensions
        if self.told_together > 1 and people and free < counts.sum():
            raise SiteError(
                SiteCode.SCANNER_TOO_SMALL,
                f"{people} people train here, and how {counts.sum()} regions go together says who they are: take "
                "larger regions (places_mm), so that they are fewer than the people, or leave covbat out",
            )
        left, learnt = np.zeros_like(rows.values), super().at(rows, counts)
        if learnt is not None:
            left[:, counts] = learnt.residuals(_counting(rows, counts)).values
        return covariance.covariance_sums(replace(rows, values=left))

    def check(self, phase: str, found: Arrays, low: float, high: float) -> None:
        """By ComBat, or `check_covariance`."""
        if phase == MOMENTS:
            super().check(phase, found, low, high)
        else:
            covariance.check_covariance(found)

    def absorb(self, phase: str, total: Arrays) -> None:
        """What ComBat makes of it, or components."""
        if phase == MOMENTS:
            super().absorb(phase, total)
            self.components = None
        elif self.shared is not None and total["scans"] > 0:
            self.components = Components.of(total, EXPLAINED)

    def at(self, rows: Rows, counts: np.ndarray) -> Combat | None:
        """The effects of the site's scanners, of features and of scores."""
        found = super().at(rows, counts)
        if found is None or self.components is None:
            return found
        components = self.components.where(counts)
        return replace(found, components=components).with_site(_counting(rows, counts), None, self.robust)


class Longitudinal(Method):
    """ComBat with an intercept of every person's own (`mixed`)."""

    phases = (VISITS, MOMENTS)

    def __init__(self, config: CombatConfig, told_together: int) -> None:
        super().__init__(config, told_together)
        self.ratios: np.ndarray | None = None
        self.repeated = False

    def layout(self, phase: str) -> Layout:
        """Of `grid_sums`, and of `ratio_sums`."""
        q, grid = len(self.config.covariates), len(mixed.RATIOS)
        beside = {"scans": (), "degrees": (), "covariates": (q,)}
        if phase == VISITS:
            beside |= {"again": (), "covariate_squares": (q,), "determinant": (grid,), "zz": (grid, q, q)}
            return Layout(beside, {"zx": (grid, q), "xx": (grid,)})
        return Layout(beside, {"zz": (q, q), "zx": (q,), "xx": (), "level": (), "level_covariates": (q,)})

    def sums(self, phase: str, rows: Rows, counts: np.ndarray) -> Arrays:
        """Of those of whom enough have as many visits at the same scanners.

        Raises
        ------
        SiteError
            If of nobody.
        """
        kept = mixed.told_alike(rows, self.told_together)
        if len(rows.values) and not len(kept.values):
            raise SiteError(
                SiteCode.SCANNER_TOO_SMALL,
                f"no {self.told_together} people were scanned equally often at the same scanners, and the sums of "
                "longitudinal ComBat tell of every such group by itself: leave longitudinal out",
            )
        if phase == VISITS:
            return mixed.grid_sums(kept)
        return mixed.ratio_sums(kept, np.zeros(rows.values.shape[1]) if self.ratios is None else self.ratios)

    def told_apart(self, rows: Rows) -> list[list[int]]:
        """See `mixed.groups_alike`."""
        return mixed.groups_alike(rows, self.told_together)

    def check(self, phase: str, found: Arrays, low: float, high: float) -> None:
        """See `mixed.check_sums`."""
        mixed.check_sums(found, low, high, OLDEST)

    def absorb(self, phase: str, total: Arrays) -> None:
        """The ratio of variances of every feature, and then slopes, mean and variance."""
        if phase == VISITS:
            self.shared, self.ratios, self.repeated = None, None, bool(total["again"] > 0)
            if total["scans"] > 0:
                mixed.check_told_apart(total, self.config.covariates)
                self.ratios = mixed.best_ratios(total)
        elif self.ratios is not None and total["scans"] > 0:
            self.shared = mixed.shared_of(total)

    def at(self, rows: Rows, counts: np.ndarray) -> LongitudinalCombat | None:
        """The levels and effects of the site's scanners."""
        if self.shared is None or self.ratios is None:
            return None
        learnt = LongitudinalCombat(self.shared.where(counts), {}, self.ratios[counts], {}, self.config.prior)
        return learnt.with_site(_counting(rows, counts), self.robust)

    def notes(self) -> tuple[str, ...]:
        """Whether nobody has two scans."""
        return (ONCE,) if self.shared is not None and not self.repeated else ()


NO_REFERENCE = (
    "Nobody who was learnt from is of the scanner that ComBat's `reference` names, so that an average scanner stands "
    "for it."
)
ONCE = "Nobody who was learnt from has two scans, so that longitudinal ComBat is ComBat without an intercept of people."


def method_of(config: CombatConfig, told_together: int) -> Method:
    """The one that a study asks for."""
    kind = CovBat if config.covbat else Longitudinal if config.longitudinal else Plain
    return kind(config, told_together)


def _counting(rows: Rows, counts: np.ndarray) -> Rows:
    """The rows with the features that count alone."""
    return replace(rows, values=rows.values[:, counts])
