"""A cohort whose scans are changed when they are opened."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from normfed_common.learning.cohort import Cohort, Scan, Visits
from normfed_common.transforms.base import ScanTransform


def transformed(scan: Scan, transforms: Sequence[ScanTransform]) -> Scan:
    """A scan after all transforms, in order."""
    for transform in transforms:
        scan = transform.transform(scan)
    return scan


class TransformedCohort:
    """See `Cohort`.

    Parameters
    ----------
    transforms
        Learnt; applied in order.
    """

    def __init__(self, cohort: Cohort, transforms: Sequence[ScanTransform]) -> None:
        self.cohort, self.transforms = cohort, tuple(transforms)

    def __len__(self) -> int:
        return len(self.cohort)

    def people(self) -> Sequence[Sequence[int]]:
        """As they were."""
        return self.cohort.people()

    def scan(self, index: int) -> Scan:
        """Open a scan and change it."""
        return transformed(self.cohort.scan(index), self.transforms)


def transformed_visits(visits: Sequence[Scan], transforms: Sequence[ScanTransform]) -> Visits:
    """A person's visits, each changed when it is looked at."""
    return Visits([partial(_opened, visits, number, transforms) for number in range(len(visits))])


def _opened(visits: Sequence[Scan], number: int, transforms: Sequence[ScanTransform]) -> Scan:
    return transformed(visits[number], transforms)
