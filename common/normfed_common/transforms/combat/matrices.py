"""ComBat of feature matrices at hand, such as volumes, regional means or latents: of sites in a simulation, say.

It is learnt from every site's sums and its own rows, as in a federation, and is what it would be with all rows in one
place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from normfed_common.foundation import arrays as named
from normfed_common.foundation.errors import DatasetError, SiteError, WireError
from normfed_common.transforms.combat.effects import Effect, Prior
from normfed_common.transforms.combat.rows import Rows
from normfed_common.transforms.combat.sums import Shared, sums_of
from normfed_common.transforms.combat.usable import check_ages, check_people, decades_of

LEAST_PEOPLE = 10  # of a scanner; see the module `effects`


@dataclass(frozen=True)
class Combat:
    """What was learnt.

    Parameters
    ----------
    shared
        What all sites know.
    effects
        Scanner to what is its own.
    """

    shared: Shared
    effects: Mapping[str, Effect]
    prior: Prior = "parametric"

    @classmethod
    def learn(
        cls,
        sites: Sequence[Rows],
        covariates: Sequence[str] = (),
        prior: Prior = "parametric",
        reference: str | None = None,
        minimum_people: int = LEAST_PEOPLE,
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

        Raises
        ------
        DatasetError
            If there is one scanner in all, or scanners cannot be told from people.
        """
        scanners = {scanner for rows in sites for scanner in rows.by_scanner()}
        if len(scanners) < 2:
            raise DatasetError(
                f"All scans are of one scanner ({', '.join(scanners) or 'there are none'}): there is nothing to "
                "harmonize. Say in the column scanner, or site, of participants.tsv which scans are of which."
            )
        try:
            for rows in sites:
                check_people(rows, minimum_people, covariates)
            if "age" in covariates:
                column = list(covariates).index("age")
                everybody = sum(decades_of(rows.covariates[:, column]) for rows in sites)
                for rows in sites:
                    check_ages(rows, rows.covariates[:, column], np.asarray(everybody))
            total = named.add([sums_of(rows, reference) for rows in sites])
            shared = Shared.of(total, covariates, reference is not None)
        except SiteError as error:
            raise DatasetError(f"ComBat cannot harmonize these scans: {error.detail}.") from error
        except WireError as error:
            raise DatasetError(f"ComBat cannot harmonize these scans: {error}.") from error
        empty = cls(shared, {}, prior)
        effects = {s: effect for rows in sites for s, effect in empty.with_site(rows, reference).effects.items()}
        return cls(shared, effects, prior)

    def with_site(self, rows: Rows, reference: str | None = None, robust: bool = False) -> Combat:
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
        return Combat(self.shared, {**self.effects, **new}, self.prior)

    def harmonized(self, rows: Rows) -> np.ndarray:
        """The values (n, p) as an average scanner, or the reference, would have them; those of a scanner that is not
        known stay as they are."""
        found = rows.values.copy()
        for scanner in rows.by_scanner():
            if scanner in self.effects:
                mine = rows.scanners == scanner
                effect = self.effects[scanner]
                found[mine] = effect.applied(rows.values[mine], rows.covariates[mine], self.shared)
        return found
