"""ComBat of scans: what each scanner does to intensities, place by place, is taken off; age and sex are kept.

Learnt in sums: of ages first, where age is kept, so that a site refuses whose scanners' ages nobody else has; then
those of `sums`, of features at coarse places (see `features`), each modality by itself. What a scanner's own effect is
(`effects`) is worked out at the site from its own healthy people, in training as in scoring, and never leaves.

A scanner of which nobody was learnt from, at a site that only tests or among the patients of another, is not corrected:
its mean is unknown, and to take the average scanner's for it would take away whatever its people have. A study that
says ``data.adapt_unseen`` lets such a site work out its effects from the people whom it has.

A site that trains alone with one scanner has nothing to harmonize, and its scans stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np
from pydantic import Field

from normfed_common.foundation.arrays import Arrays, check_shapes
from normfed_common.foundation.errors import WireError
from normfed_common.learning.cohort import Cohort, Person, Scan
from normfed_common.learning.covariates import Regressors
from normfed_common.learning.phase import Phase
from normfed_common.learning.setting import SUMS_ROUNDING, Places, Setting
from normfed_common.study.base import Frozen
from normfed_common.transforms.combat.effects import Effect, Prior
from normfed_common.transforms.combat.features import TISSUES, Grid, Kind
from normfed_common.transforms.combat.rows import Rows
from normfed_common.transforms.combat.sums import REFERENCE, Shared, check_sums, shapes_of, sums_of
from normfed_common.transforms.combat.usable import DECADES, LEAST_PEOPLE, check_ages, check_people, decades_of
from normfed_common.transforms.each_modality import EachModality

MIDDLE = 50.0  # years
OLDEST = (10 * DECADES - MIDDLE) / 10  # as a covariate, the largest that there is
AGES, MOMENTS = "ages", "moments"
OF_PLACES = ("values", "within_products", "within_squares")  # the sums whose last axis is the features
ALONE = "All scans are of one scanner, so that ComBat has nothing to harmonize: they stay as they are."


class CombatConfig(Frozen):
    """ComBat by sums: what a scanner adds and by what it multiplies, by empirical Bayes over places."""

    features: Kind = Field(
        "places", description="one a place, or one per tissue class of the template at a place (regions)"
    )
    places_mm: float = Field(8.0, ge=2, le=64, description="edge of a place")
    smoothing_mm: float = Field(4.0, ge=0, le=64, description="standard deviation of the smoothing over places")
    covariates: Regressors = Field(
        ("age", "sex"), description="what is kept: differences that these explain are not the scanner's"
    )
    minimum_people: int = Field(
        LEAST_PEOPLE, ge=1, le=1000, description="of every scanner; a site with fewer at one refuses"
    )
    prior: Prior = Field("parametric", description="how a scanner's features are drawn to each other; none: not at all")
    robust: bool = Field(
        False, description="a scanner's own effect by medians, which few scans with lesions hardly move"
    )
    reference: str | None = Field(
        None,
        min_length=1,
        max_length=150,
        description="the scanner that all others become like: its site's name, or site/scanner; the server then sees "
        "that scanner's means",
    )


class CombatTransform(EachModality):
    """See the module."""

    Config: ClassVar[type[Frozen]] = CombatConfig
    config: CombatConfig
    source: ClassVar[str] = "ComBat: Johnson 2007, Biostatistics 8:118; by sums: Chen 2022, NeuroImage 257:118822"
    keeps_to_site = True

    def __init__(self, config: CombatConfig, setting: Setting) -> None:
        super().__init__(config, setting)
        self.age_and_sex = bool(config.covariates)
        beside = [name for name in self._shapes((1, 1, 1)) if name.removeprefix(REFERENCE) not in OF_PLACES]
        self.grid = Grid(config.features, config.places_mm, config.smoothing_mm, setting, tuple(beside))
        self.everybody = np.zeros(DECADES)  # by age
        self.shared: tuple[Shared | None, ...] = (None,) * len(setting.modalities)
        self._here: tuple[Shared | None, ...] = self.shared  # where the template has brain
        self.effects: dict[str, tuple[Effect | None, ...]] = {}
        self.alone = False

    @classmethod
    def of_one_site(cls, config: CombatConfig) -> str:
        """Those of the reference."""
        return f"those of the scanner that `reference` names ({config.reference})" if config.reference else ""

    def phases(self) -> tuple[Phase, ...]:
        """The sums, after those of ages where age is kept."""
        moments = Phase(MOMENTS, "summed")
        return (Phase(AGES, "summed"), moments) if "age" in self.config.covariates else (moments,)

    def notes(self, people: int) -> tuple[str, ...]:
        """Whether there is nothing to harmonize."""
        return (ALONE,) if self.alone else ()

    def places(self, phase: str) -> Places | None:
        """None of the ages; those of the features."""
        return None if phase == AGES else self.grid.places

    def scanner_alone(self, phase: str) -> str | None:
        """The reference."""
        return None if phase == AGES else self.config.reference

    def statistics(self, phase: str, cohort: Cohort, rng: np.random.Generator) -> Arrays:
        """Scans by decades of age, (13,); or `sums_of` of each modality C: their axis of features as (T, X, Y, Z), T
        tissues at places, and ``scanners`` (), how many there are.

        Raises
        ------
        SiteError
            If the site's scanners cannot be told from its people.
        """
        people = self._people(cohort)
        if phase == AGES:
            return {"decades": decades_of(self._ages(people), people.people, self.setting.told_together)}
        rows = self._usable(people, cohort, self.setting.told_together)
        found = {name: np.zeros(shape) for name, shape in self._shapes(self.grid.places.shape).items()}
        found["scanners"] += len(people.by_scanner())
        for channel, mine in enumerate(rows):
            sums = sums_of(mine, self.config.reference)
            for name in found.keys() & sums.keys():
                found[name][channel] = sums[name].reshape(found[name].shape[1:])
        return found

    def counted(self, phase: str) -> Mapping[str, float]:
        """A scan counts once."""
        return {"decades": 1} if phase == AGES else {"scans": 1, "scanners": 1}

    def check(self, phase: str, sums: Arrays) -> None:
        """See `check_sums`; all hold for means over cubes of places as well."""
        if phase == AGES:
            check_shapes(sums, {"decades": (DECADES,)})
            if (sums["decades"] < 0).any():
                raise WireError("counts are below 0")
            return
        values = sums.get("values", np.zeros(()))
        if values.ndim != 5:
            raise WireError(f"values has shape {values.shape}, not one entry a modality, tissue and place")
        check_shapes(sums, self._shapes(values.shape[-3:]))
        if sums["scans"].max() <= 0 or sums["scanners"] <= 0:
            raise WireError("the sums cover no people")
        if sums["scanners"] > sums["scans"].sum() * (1 + SUMS_ROUNDING):
            raise WireError("there are more scanners than scans")
        low, high = self.setting.value_range
        covariates, reference = len(self.config.covariates), self.config.reference is not None
        for channel in range(len(self.setting.modalities)):
            check_sums(self._of(sums, channel), covariates, reference, low, high, OLDEST)

    def absorb(self, phase: str, total: Arrays) -> bool:
        """Slopes, mean and variance of every feature; what a site had of its own is learnt anew."""
        super().absorb(phase, total)
        if phase == AGES:
            self.everybody = total["decades"]
            return False
        self.effects = {}
        self.alone = float(total["scanners"]) < 1.5  # sites' sums may be weighted, of several they are 2 at least
        self.shared = tuple(self._shared(total, channel) for channel in range(len(self.setting.modalities)))
        return False

    def personalise(self, cohort: Cohort, rng: np.random.Generator) -> None:
        """The effects of the site's scanners.

        Raises
        ------
        SiteError
            If they cannot be told from its people.
        """
        self.effects = {}
        if self.alone:
            return
        people, counts = self._people(cohort), self.grid.counts
        rows = self._usable(people, cohort, None)
        self._here = tuple(None if one is None else one.where(counts) for one in self.shared)
        for scanner in people.by_scanner():
            self.effects[scanner] = tuple(
                None if shared is None else self._effect(scanner, mine, shared)
                for mine, shared in zip(rows, self._here, strict=True)
            )

    def transform(self, scan: Scan) -> Scan:
        """As an average scanner, or the reference, would have made it."""
        effects = self.effects.get(scan.person.scanner)
        if effects is None and not scan.person.scanner and len(self.effects) == 1:
            (effects,) = self.effects.values()  # a file by itself, at a site with one scanner
        images, (low, high) = scan.images.copy(), self.setting.value_range
        for channel in np.flatnonzero(scan.present):
            effect, shared = (None, None) if effects is None else (effects[channel], self._here[channel])
            if effect is None or shared is None:
                continue
            counts, before = self.grid.counts, self.grid.of(scan, int(channel), normal=False)
            change = np.zeros(self.grid.size)
            after = effect.applied(before[None, counts], self._covariates(scan.person)[None], shared)
            change[counts] = after[0] - before[counts]
            changed = np.clip(images[channel] + self.grid.field(change), low, high)
            images[channel] = np.where(scan.mask, changed, 0)
        return replace(scan, images=images)

    def _shared(self, total: Arrays, channel: int) -> Shared | None:
        """Of one modality; None where there is nothing to harmonize."""
        if self.alone or total["scans"][channel] <= 0:
            return None
        return Shared.of(self._of(total, channel), self.config.covariates, self.config.reference is not None)

    def _effect(self, scanner: str, rows: Rows, shared: Shared) -> Effect | None:
        """Of one modality; None where nobody of the scanner has it."""
        mine = rows.where(rows.scanners == scanner)
        if scanner == self.config.reference:
            return Effect.none(shared)
        if not len(mine.values):
            return None
        features = replace(mine, values=mine.values[:, self.grid.counts])
        return Effect.of(features, shared, self.config.prior, self.config.robust)

    def _usable(self, people: Rows, cohort: Cohort, counted: int | None) -> list[Rows]:
        """The rows of each modality; refused where scanners cannot be told from people (see `check_ages`).

        A refusal is told, and what it is about the server chooses. So at a hospital no scanner has fewer people than
        the hospital's own minimum, whatever the study says, and that is looked at first.
        """
        present = np.array([cohort.scan(index).present for index in range(len(cohort))])
        least = max(self.config.minimum_people, self.setting.told_together)
        for has in present.T:
            check_people(people.where(has), least, self.config.covariates)
        if "age" in self.config.covariates:
            check_ages(people, self._ages(people), self.everybody, counted)
        values = np.zeros((len(self.setting.modalities), len(cohort), self.grid.size))
        for index in range(len(cohort)):
            for channel in np.flatnonzero(present[index]):
                values[channel, index] = self.grid.of(cohort.scan(index), int(channel), normal=True)
        return [replace(people, values=found).where(has) for found, has in zip(values, present.T, strict=True)]

    def _people(self, cohort: Cohort) -> Rows:
        """Whose scans they are; without features."""
        people = [cohort.scan(index).person for index in range(len(cohort))]
        return Rows.of(
            np.zeros((len(people), 0)),
            [person.scanner for person in people],
            np.array([self._covariates(person) for person in people]).reshape(len(people), -1),
            [person.index for person in people],
        )

    def _ages(self, people: Rows) -> np.ndarray:
        found: np.ndarray = MIDDLE + 10 * people.covariates[:, self.config.covariates.index("age")]
        return found

    def _covariates(self, person: Person) -> np.ndarray:
        """(q,), NaN where unknown: decades after the age of 50, so that no sum is large; and 1 for men."""
        told = {
            "age": None if person.age is None else (person.age - MIDDLE) / 10,
            "sex": None if person.sex is None else float(person.sex == "M"),
        }
        return np.array([np.nan if told[name] is None else told[name] for name in self.config.covariates], np.float64)

    def _shapes(self, places: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """Of the sums of `MOMENTS`, by name; over a grid of places. Without covariates there are none of theirs."""
        channels, tissues = len(self.setting.modalities), TISSUES[self.config.features]
        each: dict[str, tuple[int, ...]] = {
            name: (channels, *shape[:-1], tissues, *places) if name in OF_PLACES else (channels, *shape)
            for name, shape in shapes_of(len(self.config.covariates), 1).items()
            if 0 not in shape
        }
        if self.config.reference is not None:
            each |= {REFERENCE + name: shape for name, shape in each.items()}
        return {"scanners": (), **each}

    def _of(self, sums: Arrays, channel: int) -> Arrays:
        """Those of a modality, as `sums_of` makes them."""
        features = int(np.prod(sums["values"].shape[1:]))
        found: Arrays = {}
        for prefix in ("", REFERENCE) if self.config.reference is not None else ("",):
            for name, shape in shapes_of(len(self.config.covariates), features).items():
                own = sums[prefix + name][channel] if prefix + name in sums else np.zeros(shape)
                found[prefix + name] = own.reshape(shape)
        return found
