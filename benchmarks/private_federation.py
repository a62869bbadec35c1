"""Models that learn with differential privacy in one process, as a federation would: for the benchmarks of privacy."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from folds import Fold
from transfer import Entry, Federation

from normfed_client.training.loop import Settings
from normfed_client.training.per_patient import PerPatient
from normfed_common.foundation import seeds
from normfed_common.foundation.arrays import Arrays
from normfed_common.learning.bounded import Bounded, Wrapped
from normfed_common.learning.cohort import Alone, Cohort, Subcohort
from normfed_common.learning.phase import Phase
from normfed_common.models.base import NormativeModel
from normfed_common.privacy.distributed import NoiseShare
from normfed_common.privacy.noise import SecretNoise
from normfed_common.privacy.releases import released, shortened
from normfed_common.privacy.spending import spending
from normfed_common.study.config import StudyConfig
from normfed_common.study.privacy import PrivacyConfig
from normfed_server.arms.sums import Total

Kept = dict[tuple[str, ...], Arrays]


class Remembering(Wrapped):
    """Contributions that are worked out once per person and what their model has learnt before."""

    def __init__(self, inner: Bounded, kept: Kept, key: tuple[str, ...], visits: Sequence[str]) -> None:
        super().__init__(inner)
        self._kept, self._key, self._visits = kept, key, visits

    def contribution(self, person: Cohort, rng: np.random.Generator) -> Arrays:
        """As it was when the person was first seen."""
        assert isinstance(person, Subcohort)
        key = (*self._key, *(self._visits[number] for number in person.in_whole))
        if key not in self._kept:
            self._kept[key] = self.inner.contribution(person, rng)
        return self._kept[key]


class PrivateFederation(Federation):
    """A federation whose sums and gradients leave with noise.

    Parameters
    ----------
    privacy
        Of the study; one without an epsilon bounds contributions to sums, and adds no noise.
    people
        That every site stands for; as many as there are when 0.
    noise_from
        The share of the sites that must be in a sum, all but one of which add its noise together; each site adds all of
        it when 0.
    kept
        Contributions to first sums, by site, phase and visits.
    start
        The first weights of the network; its own draw when absent.

    Attributes
    ----------
    told
        The first sums that left each site.
    """

    def __init__(
        self,
        study: StudyConfig,
        entry: Entry,
        fold: Fold,
        seed: int,
        privacy: PrivacyConfig,
        kept: Kept,
        people: int = 0,
        noise_from: float = 0.0,
        start: Arrays | None = None,
    ) -> None:
        super().__init__(study, entry, fold, seed, {})
        self._start = start or {}
        self.setting = replace(self.setting, private=True)
        self.told: dict[str, Arrays] = {}
        self._people, self._kept = people, kept
        private = study.model_copy(update={"privacy": privacy, "federation": self.federation})
        self._privacy, self._spent = privacy, spending(private, self.new().phases())
        sums = None if self._spent is None else self._spent.sums
        self.multiplier = 0.0 if sums is None else sums.noise_multiplier
        self.noise_sites = math.ceil(noise_from * len(self.cohorts)) - 1 if noise_from else 1

    def new(self) -> NormativeModel:
        """The model as every process of a run makes it, with the weights that it starts from."""
        model = super().new()
        model.load(self._start)
        return model

    def contributions(self, site: str, cohort: Cohort) -> list[Arrays]:
        """What each person would add to the first sums of a site."""
        bounded, draws = self.new().bounded(self.new().phases()[0].name), self._draws(site)
        if bounded is None:
            return []
        people = range(len(cohort.people()))
        return [shortened(bounded.contribution(Alone(cohort, number), draws(number))) for number in people]

    def _sum(self, server: NormativeModel, phase: Phase, turn: int, first: bool) -> bool:
        received, total = server.share(), Total(self.federation.sums, self.federation.largest_share)
        noises: dict[str, float] = {}
        for site, cohort in sorted(self.cohorts.items()):
            bounded = self._at(received).bounded(phase.name)
            assert bounded is not None
            if first:  # later sums depend on noisy ones
                visits = [visit.name for visit, _ in cohort.visits]
                bounded = Remembering(bounded, self._kept, (site, phase.name), visits)
            there = len(cohort.people())
            noises[site] = self.multiplier * (there / self._people if self._people else 1)
            noise: float | NoiseShare = noises[site]
            if self.noise_sites > 1 and self.multiplier:
                noise = NoiseShare(noises[site], self.noise_sites)
                noises[site] = noise.scale
            sums = released(bounded, cohort, self._draws(site), SecretNoise(secrets.token_bytes(32)), noise)
            self.told.setdefault(site, sums)
            self._bytes = max(self._bytes, sum(array.nbytes for array in sums.values()))
            total.add(site, sums, there)
        bounded = server.bounded(phase.name)
        assert bounded is not None
        of_all = math.hypot(*(noises[site] * factor for site, factor in total.factors().items()))
        return server.absorb(phase.name, bounded.repaired(total.arrays(), of_all))

    def _draws(self, site: str) -> Callable[[int], np.random.Generator]:
        return lambda person: seeds.generator(self.seed, "sums", site, "person", person)

    def _settings(self, phase: Phase, site: str) -> Settings:
        of, privacy = super()._settings(phase, site), self._privacy
        if self._spent is None or self._spent.round is None:
            return of
        there = len(self.cohorts[site].people())
        noise = self._spent.round.noise_multiplier * (there / self._people if self._people else 1)
        release = replace(self._spent.round, noise_multiplier=noise)
        key = secrets.token_bytes(32)
        rule = PerPatient(key, release, privacy.clip_norm, privacy.samples_per_patient, privacy.unit)
        return replace(of, rule=rule)
