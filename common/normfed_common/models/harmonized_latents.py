"""ComBat of latents: what a scanner does to them is taken off before another one-class score sees them.

    feature     mean latent of a scan over its normal tissue, (d,)
    learnt      by the sums of ComBat (`transforms.combat.sums`): mean and variance over people within scanners
    a site      works out its scanners' effects from its own people; they stay there
    latent z    of a scan becomes z + (its harmonized feature - its feature)

So one vector per scan is moved, and how a scan's own latents differ from place to place is kept. Of a scan that is
scored the feature is the mean over its brain. Neither age nor sex is kept: a score of latents is told none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field, field_validator

from normfed_common.foundation.arrays import Arrays, check_shapes
from normfed_common.learning.phase import Phase
from normfed_common.learning.setting import Places, Setting
from normfed_common.scoring.base import Fields, LatentField, OneClassScore
from normfed_common.scoring.catalogue import NAME, OneClassEntry, build_head
from normfed_common.study.base import Frozen
from normfed_common.transforms.combat.effects import Prior
from normfed_common.transforms.combat.matrices import Combat
from normfed_common.transforms.combat.rows import Rows
from normfed_common.transforms.combat.scanners import (
    SCANNERS,
    check_scanners,
    counted_scanners,
    is_one_scanner,
    scanner_of,
)
from normfed_common.transforms.combat.sums import Shared, check_sums, shapes_of, sums_of
from normfed_common.transforms.combat.usable import LEAST_PEOPLE, check_people

PHASE = "scanners"


class HarmonizedConfig(Frozen):
    """ComBat of latents by sums, and the score behind it."""

    then: OneClassEntry = Field({NAME: "location"}, description="fit_on, the score of what ComBat leaves")
    minimum_people: int = Field(LEAST_PEOPLE, ge=1, le=1000, description="of every scanner; a site with fewer refuses")
    prior: Prior = Field("parametric", description="how effects of latents are drawn to each other; none: not at all")

    @field_validator("then")
    @classmethod
    def _once(cls, then: dict[str, Any]) -> dict[str, Any]:
        if then[NAME] == "combat":
            raise ValueError("combat stands before another score: name that one")
        return then


class HarmonizedHead(OneClassScore):
    """See the module."""

    Config: ClassVar[type[Frozen]] = HarmonizedConfig
    cited: ClassVar[tuple[str, ...]] = ("johnson2007", "chen2022distributed")
    keeps_to_site: bool = True

    def __init__(self, config: HarmonizedConfig, dimension: int, setting: Setting) -> None:
        self.config, self.dimension, self.setting = config, dimension, setting
        self.behind = build_head(config.then, dimension, setting)
        self.shared: Shared | None = None
        self.learnt: Combat | None = None

    def phases(self) -> tuple[Phase, ...]:
        """The sums of ComBat, and then those of the score behind it."""
        return (Phase(PHASE, "summed"), *self.behind.phases())

    def statistics(self, phase: str, fields: Iterable[LatentField], rng: np.random.Generator) -> Arrays:
        """`sums_of` mean latents, and ``scanners`` (); or what the score behind it sums of what ComBat leaves.

        Raises
        ------
        SiteError
            If a scanner has too few people.
        """
        if phase != PHASE:
            return self.behind.statistics(phase, self._harmonized(fields, self._of_site(fields)), rng)
        rows = self._rows(fields)
        found = {name: array for name, array in sums_of(rows).items() if name in self._shapes()}
        return found | counted_scanners(rows)

    def places(self, phase: str) -> Places | None:
        """None of the scanners."""
        return None if phase == PHASE else self.behind.places(phase)

    def counted(self, phase: str) -> Mapping[str, float]:
        """A scan counts once."""
        return {"scans": 1, SCANNERS: 1} if phase == PHASE else self.behind.counted(phase)

    def check(self, phase: str, sums: Arrays) -> None:
        """See `check_sums`."""
        if phase != PHASE:
            self.behind.check(phase, sums)
            return
        check_shapes(sums, {**self._shapes(), SCANNERS: ()})
        check_scanners(sums)
        check_sums(self._whole(sums), 0, False)

    def absorb(self, phase: str, total: Arrays) -> bool:
        """Mean and variance; nothing, of one scanner in all, whose latents stay as they are."""
        if phase != PHASE:
            return self.behind.absorb(phase, total)
        self.shared, self.learnt = None if is_one_scanner(total) else Shared.of(self._whole(total), ()), None
        return False

    def personalise(self, fields: Iterable[LatentField], subjects: int, rng: np.random.Generator) -> None:
        """The effects of the site's scanners, and what the score behind keeps."""
        self.learnt = self._of_site(fields)
        if self.behind.keeps_to_site:
            self.behind.personalise(self._harmonized(fields, self.learnt), subjects, rng)

    def score(self, field: LatentField, rng: np.random.Generator) -> np.ndarray:
        """Of what ComBat leaves; of a scanner that is not known, as it is."""
        return self.behind.score(_moved(field, self.learnt), rng)

    def _of_site(self, fields: Iterable[LatentField]) -> Combat | None:
        if self.shared is None:
            return None
        return Combat(self.shared, {}, self.config.prior).with_site(self._rows(fields))

    def _rows(self, fields: Iterable[LatentField]) -> Rows:
        means, scanners, people = [np.zeros((0, self.dimension))], [], []
        for field in fields:
            if len(field.latents):
                means.append(_mean(field)[None])
                scanners.append(field.scanner)
                people.append(field.person)
        rows = Rows.of(np.concatenate(means), scanners, None, people)
        check_people(rows, max(self.config.minimum_people, self.setting.told_together), ())
        return rows

    def _harmonized(self, fields: Iterable[LatentField], learnt: Combat | None) -> Fields:
        def moved() -> Iterator[LatentField]:
            return (_moved(field, learnt) for field in fields)

        return Fields(moved)

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: shape for name, shape in shapes_of(0, self.dimension).items() if 0 not in shape}

    def _whole(self, sums: Arrays) -> Arrays:
        """With those of covariates, of which there are none."""
        return {name: sums.get(name, np.zeros(shape)) for name, shape in shapes_of(0, self.dimension).items()}


def _mean(field: LatentField) -> np.ndarray:
    found: np.ndarray = field.latents.double().mean(0).numpy()
    return found


def _moved(field: LatentField, learnt: Combat | None) -> LatentField:
    if learnt is None or not len(field.latents):
        return field
    scanner = scanner_of(field.scanner, learnt.effects)
    before = _mean(field)
    after = learnt.harmonized(Rows.of(before[None], [scanner]))[0]
    return replace(field, latents=field.latents + torch.from_numpy(after - before).float())
