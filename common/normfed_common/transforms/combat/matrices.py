"""ComBat of feature matrices at hand, such as volumes, regional means or latents: of sites in a simulation, say.

It is learnt from every site's sums and its own rows, as in a federation, and is what it would be with all rows in one
place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from normfed_common.foundation import arrays as named
from normfed_common.foundation.errors import DatasetError, WireError
from normfed_common.transforms.combat.covariance import Components, covariance_sums
from normfed_common.transforms.combat.effects import Effect, Prior
from normfed_common.transforms.combat.rows import Rows
from normfed_common.transforms.combat.sums import Shared, sums_of
from normfed_common.transforms.combat.usable import LEAST_PEOPLE, check_sites


@dataclass(frozen=True)
class Combat:
    """What was learnt.

    Parameters
    ----------
    shared
        What all sites know.
    effects
        Scanner to what is its own.
    components
        CovBat's, where the covariance is made alike, too.
    of_scores
        Scanner to what is its own of the components' scores.
    """

    shared: Shared
    effects: Mapping[str, Effect]
    prior: Prior = "parametric"
    components: Components | None = None
    of_scores: Mapping[str, Effect] = field(default_factory=dict)

    @classmethod
    def learn(
        cls,
        sites: Sequence[Rows],
        covariates: Sequence[str] = (),
        prior: Prior = "parametric",
        reference: str | None = None,
        minimum_people: int = LEAST_PEOPLE,
        covariance: float | None = None,
    ) -> Combat:
        """From the rows of every site.

        Parameters
        ----------
        covariates
            Names of the columns that are kept; of one called ``age`` it is looked whether scanners share it.
        reference
            The scanner whose scans stay as they are, and which the others' become like.
        minimum_people
            Of every scanner.
        covariance
            The share of variance whose principal components are made alike, too (CovBat, published with .95); not with
            a reference.

        Raises
        ------
        DatasetError
            If there is one scanner in all, or scanners cannot be told from people.
        """
        check_sites(sites, covariates, minimum_people)
        if covariance is not None and reference is not None:
            raise DatasetError("CovBat has no reference: leave out `covariance`, or `reference`.")
        total = named.add([sums_of(rows, reference) for rows in sites])
        try:
            shared = Shared.of(total, covariates, reference is not None)
        except WireError as error:
            raise DatasetError(f"ComBat cannot harmonize these scans: {error}.") from error
        found = cls(shared, {}, prior)
        for rows in sites:
            found = found.with_site(rows, reference)
        if covariance is None:
            return found
        sums = [covariance_sums(found.residuals(rows)) for rows in sites]
        found = replace(found, components=Components.of(named.add(sums), covariance))
        for rows in sites:
            found = found.with_site(rows)
        return found

    def with_site(self, rows: Rows, reference: str | None = None, robust: int = 0) -> Combat:
        """With the scanners of a site that comes later: nobody else's effect changes.

        Parameters
        ----------
        robust
            See `Effect.of`: for people of whom it is not known who is healthy.
        """
        new = {
            scanner: Effect.none(self.shared)
            if scanner == reference
            else Effect.of(mine, self.shared, self.prior, robust)
            for scanner, mine in rows.by_scanner().items()
        }
        found = replace(self, effects={**self.effects, **new})
        if found.components is None:
            return found
        scores = {s: found.components.effect(mine) for s, mine in found.residuals(rows).by_scanner().items()}
        return replace(found, of_scores={**self.of_scores, **scores})

    def harmonized(self, rows: Rows) -> np.ndarray:
        """The values (n, p) as an average scanner, or the reference, would have them; those of a scanner that is not
        known stay as they are."""
        found = rows.values.copy()
        for scanner, effect in self.effects.items():
            mine = rows.scanners == scanner
            found[mine] = effect.applied(rows.values[mine], rows.covariates[mine], self.shared)
            if self.components is not None and scanner in self.of_scores and mine.any():
                away = self._away(rows.where(mine), found[mine])
                found[mine] += self.components.applied(away, self.of_scores[scanner]) - away.values
        return found

    def residuals(self, rows: Rows) -> Rows:
        """What mean and covariates leave of the rows after ComBat."""
        return self._away(rows, replace(self, components=None).harmonized(rows))

    def _away(self, rows: Rows, values: np.ndarray) -> Rows:
        known = rows.covariates.copy()
        for scanner, effect in self.effects.items():
            mine = rows.scanners == scanner
            known[mine] = rows.where(mine).filled(effect.usual)
        return replace(rows, values=values - self.shared.expected(known))
