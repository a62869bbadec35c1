"""The people to learn from, and their scans."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Literal, Protocol, overload

import numpy as np

Sex = Literal["F", "M"]
UNNUMBERED = -1  # the index of a person who is scored


@dataclass(frozen=True)
class Person:
    """The person whose scan it is, as far as a model may know: never a name.

    Parameters
    ----------
    index
        In the cohort that is learnt from, 0 and up: all scans of one person have the same. `UNNUMBERED` of whoever is
        scored, training people too.
    age
        Years; None where the dataset does not say.
    sex
        None where the dataset does not say, or says neither F nor M.
    scanner
        Of which scanner the scans are: a name for use at the site alone, which no sum or message holds. The site's
        name, or ``site/scanner`` where the dataset says which of its scanners; empty where nobody knows.
    """

    index: int
    age: float | None = None
    sex: Sex | None = None
    scanner: str = ""


@dataclass(frozen=True)
class Scan:
    """One preprocessed visit of a person, on the common grid.

    Parameters
    ----------
    images
        float32 of shape (C, X, Y, Z), normalised; axial slices are contiguous in memory. 0 where a modality is absent.
    mask
        bool of shape (X, Y, Z): the brain.
    normal_index
        int32, sorted flat indices (C order) of the voxels that count as normal.
    present
        bool of shape (C,): which modalities the visit has.
    person
        Whose scan it is.
    """

    images: np.ndarray
    mask: np.ndarray
    normal_index: np.ndarray
    present: np.ndarray
    person: Person

    def is_normal(self, flat_index: np.ndarray) -> np.ndarray:
        """Which of these voxels count as normal, bool of the shape of ``flat_index``."""
        if not len(self.normal_index):
            return np.zeros(flat_index.shape, bool)
        place = np.searchsorted(self.normal_index, flat_index.astype(self.normal_index.dtype, copy=False))
        place[place == len(self.normal_index)] = 0
        return self.normal_index[place] == flat_index


class Cohort(Protocol):
    """People to learn from. A scan is opened when asked for, so that memory does not grow with the cohort."""

    def __len__(self) -> int:
        """How many scans."""
        ...

    def people(self) -> Sequence[Sequence[int]]:
        """Each person's scans by number, in the order of the visits."""
        ...

    def scan(self, index: int) -> Scan:
        """Open a scan."""
        ...


class _Changed(ABC):
    """See `Cohort`: another one, each of whose scans is changed when it is opened."""

    def __init__(self, cohort: Cohort) -> None:
        self._cohort = cohort

    def __len__(self) -> int:
        return len(self._cohort)

    def people(self) -> Sequence[Sequence[int]]:
        """Each person's scans."""
        return self._cohort.people()

    def scan(self, index: int) -> Scan:
        """Open a scan."""
        return self._changed(self._cohort.scan(index))

    @abstractmethod
    def _changed(self, scan: Scan) -> Scan: ...


class Untold(_Changed):
    """See `Cohort`: another one, of whose people no age or sex is told: a hospital rounds a person's by others'."""

    def _changed(self, scan: Scan) -> Scan:
        return replace(scan, person=Person(scan.person.index, scanner=scan.person.scanner))


class Unlabelled(_Changed):
    """See `Cohort`: another one, of which nobody says what is normal: all of the brain counts."""

    def _changed(self, scan: Scan) -> Scan:
        return replace(scan, normal_index=np.flatnonzero(scan.mask).astype(np.int32))


class Subcohort:
    """See `Cohort`: some people of another one, as if there were nobody else; they keep their indices.

    Parameters
    ----------
    whole
        The other one.
    numbers
        Places of the people in ``whole.people()``.

    Attributes
    ----------
    in_whole
        The number that each scan has in the other one.
    """

    def __init__(self, whole: Cohort, numbers: Sequence[int]) -> None:
        self.whole, self._numbers = whole, numbers
        visits = [whole.people()[number] for number in numbers]
        self.in_whole = tuple(index for person in visits for index in person)
        ends = accumulate(map(len, visits))
        self._people = [range(end - len(person), end) for end, person in zip(ends, visits, strict=True)]

    def of(self, whole: Cohort) -> Subcohort:
        """The same people in a version of the other cohort in which scans are made of no scan but their own."""
        return Subcohort(whole, self._numbers)

    def __len__(self) -> int:
        return len(self.in_whole)

    def people(self) -> Sequence[Sequence[int]]:
        """Each person's scans."""
        return self._people

    def scan(self, index: int) -> Scan:
        """Open a scan."""
        return self.whole.scan(self.in_whole[index])


class Alone(Subcohort):
    """See `Subcohort`: one person, who is number 0, and of whom nobody is told an age or a sex, as in `Untold`.

    Parameters
    ----------
    number
        Place of the person in ``whole.people()``.
    """

    def __init__(self, whole: Cohort, number: int) -> None:
        super().__init__(Untold(whole), [number])

    def of(self, whole: Cohort) -> Alone:
        """The same person in a version of the other cohort; see `Subcohort.of`."""
        return Alone(whole, *self._numbers)

    def scan(self, index: int) -> Scan:
        """Open a scan."""
        scan = super().scan(index)
        return replace(scan, person=replace(scan.person, index=0))


class Visits(Sequence[Scan]):
    """A person's scans in the order of the visits, each opened when it is looked at.

    Parameters
    ----------
    opening
        One function per visit.
    """

    def __init__(self, opening: Sequence[Callable[[], Scan]]) -> None:
        self._opening = tuple(opening)

    def __len__(self) -> int:
        return len(self._opening)

    @overload
    def __getitem__(self, index: int) -> Scan: ...
    @overload
    def __getitem__(self, index: slice) -> Visits: ...
    def __getitem__(self, index: int | slice) -> Scan | Visits:
        if isinstance(index, slice):
            return Visits(self._opening[index])
        return self._opening[index]()
