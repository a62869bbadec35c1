"""Longitudinal ComBat: scans of the same people again and again, each with an intercept of their own (Beer 2020).

Slopes, mean and variance are those of a mixed model (`mixed`). The effects of scanners are those of ComBat, of x - u,
where u = lambda sum (x - alpha - beta' z) / (1 + lambda visits) is the person's.

Source: Beer 2020, NeuroImage 220:117129, doi 10.1016/j.neuroimage.2020.117129.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from normfed_common.foundation import arrays as named
from normfed_common.foundation.errors import DatasetError, WireError
from normfed_common.transforms.combat.effects import Effect, Prior
from normfed_common.transforms.combat.mixed import best_ratios, grid_sums, levels_of, ratio_sums, shared_of
from normfed_common.transforms.combat.rows import Rows
from normfed_common.transforms.combat.sums import Shared
from normfed_common.transforms.combat.usable import LEAST_PEOPLE, check_sites


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
    prior: Prior = "parametric"

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
            shared = shared_of(named.add([ratio_sums(rows, ratios) for rows in sites]))
        except WireError as error:
            raise DatasetError(f"Longitudinal ComBat cannot harmonize these scans: {error}.") from error
        found = cls(shared, {}, ratios, {}, prior)
        for rows in sites:
            found = found.with_site(rows)
        return found

    def with_site(self, rows: Rows, robust: int = 0) -> LongitudinalCombat:
        """With the scanners of a site that comes later: nobody else's effect changes.

        Parameters
        ----------
        robust
            See `Effect.of`.
        """
        found = replace(self, levels={**self.levels, **levels_of(rows, self.ratios, self.shared)})
        rest = replace(rows, values=rows.values - found.of_people(rows))
        new = {scanner: Effect.of(mine, self.shared, self.prior, robust) for scanner, mine in rest.by_scanner().items()}
        return replace(found, effects={**self.effects, **new})

    def of_people(self, rows: Rows) -> np.ndarray:
        """u (n, p): the intercept of the person of each row, from all of their rows."""
        z = rows.filled(self.shared.usual)
        away = rows.values - z @ self.shared.slopes - np.stack([self.levels[str(one)] for one in rows.scanners])
        _, owner, visits = np.unique(rows.people, return_inverse=True, return_counts=True)
        total = np.zeros((len(visits), away.shape[1]))
        np.add.at(total, owner, away)
        found: np.ndarray = (self.ratios * total / (1 + self.ratios * visits[:, None]))[owner]
        return found

    def harmonized(self, rows: Rows) -> np.ndarray:
        """The values (n, p) as an average scanner would have them, with what is a person's own as it can be told from
        these rows; those of a scanner that is not known stay as they are, and tell nothing."""
        found, known = rows.values.copy(), np.isin(rows.scanners, list(self.effects))
        if not known.any():
            return found
        own = np.zeros_like(found)
        own[known] = self.of_people(rows.where(known))
        for scanner, effect in self.effects.items():
            mine = rows.scanners == scanner
            rest = effect.applied((rows.values - own)[mine], rows.covariates[mine], self.shared)
            found[mine] = rest + own[mine]
        return found
