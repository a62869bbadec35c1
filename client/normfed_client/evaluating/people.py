"""Of whom a site's figures are: those tested and those held out, as far as they are enough to be told of."""

from __future__ import annotations

from functools import cached_property

from normfed_client.hospital.site import Case, Site, people_of
from normfed_client.imaging.labels import NO_LESION
from normfed_common.foundation.errors import SiteCode, SiteError


class EvaluatedPeople:
    """Scans by what their people are for in the evaluation of one model.

    Raises
    ------
    SiteError
        If those tested and those held out are too few.
    """

    def __init__(self, site: Site, arm: str) -> None:
        self.site, self.arm = site, arm
        if not self.held_out:
            self.check_testing()

    def check_testing(self) -> None:
        """Refuse what is about the people tested alone where they are nobody or too few.

        Raises
        ------
        SiteError
            If so.
        """
        people = len(people_of(self.site.test))
        if not people and self.site.custody is None:
            raise SiteError(SiteCode.NO_TEST_SUBJECTS)
        if people < self.site.minimum:
            raise SiteError(SiteCode.COHORT_TOO_SMALL, f"{people} people to test on")

    @property
    def number(self) -> int:
        """How many people an answer is about: those tested, or where nobody tests those held out."""
        return len(people_of(self.test or self.held_out))

    @cached_property
    def test(self) -> list[Case]:
        """Scans of people with lesions; nobody's where they are fewer than the minimum."""
        return self._enough(self.site.test)

    @cached_property
    def normal(self) -> list[Case]:
        """Scans of held-out normal people, however few."""
        return self.site.held_out

    @cached_property
    def held_out(self) -> list[Case]:
        """Scans of held-out normal people; nobody's where they are fewer than the minimum."""
        return self._enough(self.normal)

    @cached_property
    def groups(self) -> dict[str, int]:
        """The number of each person's group: of those with the same modalities at their visits."""
        groups = [self.site.groups(cases) for cases in (self.test, self.held_out)]
        numbers = {visits: number for number, visits in enumerate(sorted({*groups[0], *groups[1]}))}
        return {person: numbers[v] for found in groups for v, people in found.items() for person in people}

    @cached_property
    def ill(self) -> list[Case]:
        """Scans that have a lesion; nobody's where they are fewer people than may be told of."""
        scans = [case for case in self.test if case.kind != NO_LESION]
        enough = len(people_of(scans)) >= self.site.told_together
        return scans if enough and self.site.try_release("figures", scans, f"{self.arm} people with lesions") else []

    def may_tell(self, kind: str) -> bool:
        """Whether a kind of lesion may be reported apart, after all that was reported before."""
        scans = [case for case in self.test if case.kind == kind]
        return self.site.try_release("figures", scans, f"{self.arm} figures of a kind of lesion")

    def _enough(self, cases: list[Case]) -> list[Case]:
        return cases if len(people_of(cases)) >= self.site.minimum else []
