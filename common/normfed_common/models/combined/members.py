"""A member of an ensemble: a model of its own, which takes part wherever a scan has what it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from normfed_common.foundation.errors import ScanError
from normfed_common.learning.cohort import UNNUMBERED, Cohort, Scan
from normfed_common.learning.score import Score
from normfed_common.models.base import NormativeModel


@dataclass(frozen=True)
class Member:
    """One model of an ensemble.

    Parameters
    ----------
    needs
        Modalities that it needs and others do without: of scans that lack one it neither learns nor scores them.
    """

    name: str
    model: NormativeModel
    needs: tuple[str, ...]

    def can_score(self, scan: Scan) -> bool:
        """Whether the scan has what it needs."""
        modalities = self.model.setting.modalities
        return all(scan.present[modalities.index(name)] for name in self.needs)

    def score(self, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
        """Its score of the last visit, in the light of those earlier ones that it can use."""
        if self._always_there:
            return self.model.score(visits, rng)
        return self.model.score([visit for visit in visits if self.can_score(visit)], rng)

    def learns_from(self, cohort: Cohort) -> Cohort:
        """The scans of a cohort that have what it needs.

        Raises
        ------
        ScanError
            If there is none.
        """
        if self._always_there:
            return cohort
        found = Having(cohort, self)
        if not len(found):
            raise ScanError(
                f"the model's {self.name} ({type(self.model).__name__}) needs {' and '.join(self.needs)}, which no "
                "scan to learn from has. Leave the site out, or take a member that copes."
            )
        return found

    @property
    def _always_there(self) -> bool:
        return not set(self.needs) & set(self.model.setting.may_lack)


class Having:
    """See `Cohort`: those scans of a cohort that a member can use; people keep their numbers."""

    def __init__(self, cohort: Cohort, member: Member) -> None:
        self._cohort = cohort
        self._index = [index for index in range(len(cohort)) if member.can_score(cohort.scan(index))]

    def __len__(self) -> int:
        return len(self._index)

    def people(self) -> Sequence[Sequence[int]]:
        """Each person's scans, of those who have any."""
        number = {index: place for place, index in enumerate(self._index)}
        found = ([number[index] for index in visits if index in number] for visits in self._cohort.people())
        return [visits for visits in found if visits]

    def scan(self, index: int) -> Scan:
        """Open a scan."""
        return self._cohort.scan(self._index[index])


def unnumbered(cohort: Cohort, index: int) -> Scan:
    """A scan as it is scored: nobody's among the people trained on."""
    scan = cohort.scan(index)
    return replace(scan, person=replace(scan.person, index=UNNUMBERED))
