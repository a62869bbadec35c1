"""ComBat of scans: what each scanner does to intensities, place by place, is taken off; age and sex are kept.

Learnt in sums: of ages first, where age is kept, so that a site refuses whose scanners' ages nobody else has; then
those of a method (`methods`), of features at coarse places (see `features`), each modality by itself. What a scanner's
own effect is (`effects`) is worked out at the site from its own healthy people, in training as in scoring, and never
leaves.

A scanner of which nobody was learnt from, at a site that only tests or among the patients of another, is not corrected:
its mean is unknown, and to take the average scanner's for it would take away whatever its people have. A study that
says ``data.adapt_unseen`` lets such a site work out its effects from the people whom it has.

With ``longitudinal`` what is a person's own is learnt from all visits, and told of a scan by that scan alone: maps are
made of one, and are the same whatever other visits there are. Of people with one visit that is longitudinal ComBat.

A site that trains alone with one scanner has nothing to harmonize, and its scans stay as they are.

Nobody's part is bounded for differential privacy. What a scanner's effect is depends on all of its people, and so does
every scan that it corrects; and noise at every place that hides one of ten people is as large as what scanners do.

ComBat: Johnson et al. 2007 (Biostatistics 8:118); by sums: Chen et al. 2022 (NeuroImage 248:118822); CovBat: Chen et
al. 2022 (doi 10.1002/hbm.25688); longitudinal: Beer et al. 2020 (NeuroImage 220:117129).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from normfed_common.foundation.arrays import Arrays, check_shapes
from normfed_common.foundation.errors import HarmonizationError, ScanError, WireError
from normfed_common.learning.cohort import Cohort, Person, Scan
from normfed_common.learning.phase import Phase
from normfed_common.learning.setting import Places, Setting
from normfed_common.study.base import Frozen
from normfed_common.transforms.base import Listed
from normfed_common.transforms.combat.config import CombatConfig
from normfed_common.transforms.combat.features import TISSUES, Grid
from normfed_common.transforms.combat.longitudinal import LongitudinalCombat
from normfed_common.transforms.combat.matrices import Combat
from normfed_common.transforms.combat.methods import MOMENTS, NO_REFERENCE, ONCE, method_of
from normfed_common.transforms.combat.people import MIDDLE, ages_of, covariates_of, rows_of
from normfed_common.transforms.combat.rows import Rows
from normfed_common.transforms.combat.scanners import (
    SCANNERS,
    check_scanners,
    counted_scanners,
    is_one_scanner,
    scanner_of,
)
from normfed_common.transforms.combat.usable import DECADES, check_ages, check_people, check_sites, decades_of
from normfed_common.transforms.each_modality import EachModality
from normfed_common.wording.spelling import meant, sentences
from normfed_common.wording.terminal_text import some

AGES = "ages"
ALONE = "All scans are of one scanner, so that ComBat has nothing to harmonize: they stay as they are."


class CombatTransform(EachModality):
    """See the module."""

    Config: ClassVar[type[Frozen]] = CombatConfig
    config: CombatConfig
    cited: ClassVar[tuple[str, ...]] = ("johnson2007", "chen2022distributed", "chen2022covariance", "beer2020")
    keeps_to_site = True

    def __init__(self, config: CombatConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        self.age_and_sex = bool(config.covariates)
        self.methods = tuple(method_of(config, setting.told_together) for _ in setting.modalities)
        layouts = [self.methods[0].layout(phase) for phase in self.methods[0].phases]
        beside = tuple(sorted({SCANNERS, *(name for layout in layouts for name in layout.beside)}))
        pairs = tuple(name for layout in layouts for name in layout.pairs)
        self.grid = Grid(config.features, config.places_mm, config.smoothing_mm, setting, beside, pairs)
        self.everybody = np.zeros(DECADES)  # by age
        self.learnt: tuple[Combat | LongitudinalCombat | None, ...] = (None,) * len(setting.modalities)
        self.scanners: tuple[str, ...] = ()
        self.alone = False

    @classmethod
    def needs(cls, config: CombatConfig, modalities: tuple[str, ...]) -> tuple[str, ...]:
        """None; all, where people's visits are counted, which differ by modality else."""
        return modalities if config.longitudinal else ()

    @classmethod
    def of_one_site(cls, config: CombatConfig) -> str:
        """Those of the reference."""
        return f"those of the scanner that `reference` names ({config.reference})" if config.reference else ""

    @classmethod
    def check_people(cls, config: CombatConfig, sites: Mapping[str, Sequence[Listed]], everybody: bool) -> None:
        """Whether scanners can be told from people, of each modality; where there is one scanner there is nothing to
        tell.

        Raises
        ------
        HarmonizationError
            If not, if nobody has two scans though the study wants ComBat longitudinal, or of everybody no scanner is
            the reference: a federation without the reference's site does without (see `Plain`).
        """
        names = config.covariates
        scans = [scan for of in sites.values() for scan in of]
        scanners = sorted({scan.person.scanner for scan in scans})
        if everybody and config.reference not in (None, *scanners):
            raise HarmonizationError(
                sentences(
                    f"ComBat's reference: nobody who trains is of the scanner {config.reference}.",
                    meant(str(config.reference), scanners),
                    f"Scanners are {some(scanners)}.",
                )
            )
        for modality in sorted({modality for scan in scans for modality in scan.modalities}):
            rows = [rows_of([one.person for one in of if modality in one.modalities], names) for of in sites.values()]
            if len({scanner for mine in rows for scanner in mine.by_scanner()}) < 2:
                continue
            check_sites(rows, names, config.minimum_people, lambda age: MIDDLE + 10 * age)
            if config.longitudinal and all(len(np.unique(mine.people)) == len(mine.people) for mine in rows):
                raise HarmonizationError(
                    "Nobody who trains has two scans, and longitudinal ComBat takes people who were scanned again. "
                    "Leave longitudinal out, or add their visits as sessions."
                )

    def phases(self) -> tuple[Phase, ...]:
        """Those of the method, after that of ages where age is kept."""
        own = tuple(Phase(name, "summed") for name in self.methods[0].phases)
        return (Phase(AGES, "summed"), *own) if "age" in self.config.covariates else own

    def notes(self, people: int) -> tuple[str, ...]:
        """Whether there is nothing to harmonize, no reference, or nobody with two scans."""
        if self.alone:
            return (ALONE,)
        return tuple(dict.fromkeys(note for method in self.methods for note in method.notes()))

    def may_note(self) -> tuple[str, ...]:
        """All of them."""
        return ALONE, NO_REFERENCE, ONCE

    def places(self, phase: str) -> Places | None:
        """None of the ages; those of the features."""
        return None if phase == AGES else self.grid.places

    def told_apart(self, phase: str, scans: Sequence[Person]) -> Sequence[Sequence[int]]:
        """Those of the reference; or of whoever was scanned as often at the same scanners."""
        return [] if phase == AGES else self.methods[0].told_apart(rows_of(scans, ()))

    def statistics(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Arrays:
        """Scans by decades of age, (13,); or the method's sums of each modality C: their axis of features as (T, X, Y,
        Z), T tissues at places, and of the moments ``scanners`` (), how many there are.

        Raises
        ------
        SiteError
            If the site's scanners cannot be told from its people.
        """
        people = self._people(cohort)
        if phase == AGES:
            ages = ages_of(people, self.config.covariates)
            return {"decades": decades_of(ages, people.people, self.setting.told_together)}
        rows, counts = self._usable(people, cohort, counted=True), self.grid.counts
        each = [method.sums(phase, mine, counts) for method, mine in zip(self.methods, rows, strict=True)]
        found = self.methods[0].layout(phase).together(each, (TISSUES[self.config.features], *self.grid.places.shape))
        return found | (counted_scanners(people) if phase == MOMENTS else {})

    def counted(self, phase: str) -> Mapping[str, float]:
        """A scan counts once."""
        if phase == AGES:
            return {"decades": 1}
        return {"scans": 1, SCANNERS: 1} if phase == MOMENTS else {"scans": 1}

    def check(self, phase: str, sums: Arrays) -> None:
        """By the method; all hold for means over cubes of places as well."""
        if phase == AGES:
            check_shapes(sums, {"decades": (DECADES,)})
            if (sums["decades"] < 0).any():
                raise WireError("counts are below 0")
            return
        low, high = self.setting.value_range
        each = self._apart(phase, sums)
        if sums["scans"].max() <= 0:
            raise WireError("the sums cover no people")
        if phase == MOMENTS:
            check_scanners(sums)
        for method, mine in zip(self.methods, each, strict=True):
            method.check(phase, mine, low, high)

    def absorb(self, phase: str, total: Arrays) -> bool:
        """What the method makes of it; what a site had of its own is learnt anew."""
        super().absorb(phase, total)
        if phase == AGES:
            self.everybody = total["decades"]
            return False
        self._forget()
        if phase == MOMENTS:
            self.alone = is_one_scanner(total)
        for method, mine in zip(self.methods, self._apart(phase, total), strict=True):
            method.absorb(phase, mine)
        return False

    def personalise(self, cohort: Cohort, rng: np.random.Generator) -> None:
        """The effects of the site's scanners.

        Raises
        ------
        SiteError
            If they cannot be told from its people.
        """
        self._forget()
        if self.alone:
            return
        people, counts = self._people(cohort), self.grid.counts
        rows = self._usable(people, cohort, counted=False)
        self.scanners = tuple(people.by_scanner())
        self.learnt = tuple(method.at(mine, counts) for method, mine in zip(self.methods, rows, strict=True))

    def transform(self, scan: Scan) -> Scan:
        """As an average scanner, or the reference, would have made it.

        Raises
        ------
        ScanError
            If the scan lacks what is needed.
        """
        needed = self.needs(self.config, self.setting.modalities)
        lacking = [name for name, has in zip(needed, scan.present, strict=False) if not has]
        if lacking:
            raise ScanError(f"the scan has no {' and no '.join(lacking)}, which longitudinal ComBat needs")
        scanner = scanner_of(scan.person.scanner, self.scanners)
        images, (low, high) = scan.images.copy(), self.setting.value_range
        for channel in np.flatnonzero(scan.present):
            learnt = self.learnt[channel]
            if learnt is None or scanner not in learnt.effects:
                continue
            counts, before = self.grid.counts, self.grid.of(scan, int(channel), normal=False)
            change = np.zeros(self.grid.size)
            own = covariates_of(scan.person, self.config.covariates)
            after = learnt.harmonized(Rows.of(before[None, counts], [scanner], own[None]))
            change[counts] = after[0] - before[counts]
            changed = np.clip(images[channel] + self.grid.field(change), low, high)
            images[channel] = np.where(scan.mask, changed, 0)
        return replace(scan, images=images)

    def _forget(self) -> None:
        self.learnt, self.scanners = (None,) * len(self.methods), ()

    def _usable(self, people: Rows, cohort: Cohort, counted: bool) -> list[Rows]:
        """The rows of each modality; refused where scanners cannot be told from people (see `check_ages`).

        A refusal is told, and what it is about the server chooses. So at a hospital no scanner has fewer people than
        the hospital's own minimum, whatever the study says, and that is looked at first.
        """
        present = np.array([cohort.scan(index).present for index in range(len(cohort))])
        least = max(self.config.minimum_people, self.setting.told_together)
        for has in present.T:
            check_people(people.where(has), least, self.config.covariates)
        if "age" in self.config.covariates:
            ages = ages_of(people, self.config.covariates)
            check_ages(people, ages, self.everybody, self.setting.told_together, counted)
        values = np.zeros((len(self.setting.modalities), len(cohort), self.grid.size))
        for index in range(len(cohort)):
            for channel in np.flatnonzero(present[index]):
                values[channel, index] = self.grid.of(cohort.scan(index), int(channel), normal=True)
        return [replace(people, values=found).where(has) for found, has in zip(values, present.T, strict=True)]

    def _people(self, cohort: Cohort) -> Rows:
        """Whose scans they are; without features."""
        people = [cohort.scan(index).person for index in range(len(cohort))]
        return rows_of(people, self.config.covariates)

    def _apart(self, phase: str, sums: Arrays) -> list[Arrays]:
        tissues = TISSUES[self.config.features]
        return self.methods[0].layout(phase).apart(sums, len(self.setting.modalities), tissues)
