"""Federations of a whole learner in memory: the real objective and server step, phase after phase, without messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from stepping import step_of

from normfed_client.hospital.personal import PersonalStore
from normfed_client.training.loop import Settings, trained_parameters
from normfed_client.training.objectives import Round, plain
from normfed_common.algorithms.parameters import Nothing
from normfed_common.algorithms.sharing import personal_arrays
from normfed_common.foundation import arrays as named
from normfed_common.foundation import seeds
from normfed_common.foundation.arrays import Arrays
from normfed_common.learning.cohort import Cohort
from normfed_common.learning.learner import NETWORK, Learner
from normfed_common.learning.phase import Phase
from normfed_common.models.base import NormativeModel
from normfed_common.wire.offers import Offer
from normfed_server.steps.base import Update
from normfed_server.steps.progress import Progress

ROUNDS, SEED, RATE = 2, 1, 1e-2
New = Callable[[], NormativeModel]


def settings(phase: Phase, site: str, number: int) -> Settings:
    """Of one round at one site."""
    return Settings(phase, SEED, site, number, epochs=1, learning_rate=RATE)


class Federation:
    """Sites that learn a model together by FedAvg.

    Parameters
    ----------
    new
        Makes the model, as every process of a run does.
    sites
        In the order in which they work; updates are added in the order of their names, as a server does.
    """

    def __init__(self, new: New, sites: Mapping[str, Cohort], folder: Path) -> None:
        self.new, self.sites = new, sites
        self.server = new()
        self.personal = personal_arrays(self.server, {"name": "fedavg"})
        self.stores = {site: PersonalStore(folder / site) for site in sites}
        number = 0
        for phase in self.server.phases():
            for _ in range(phase.turns(ROUNDS)):
                if phase.kind == "averaged":
                    number += 1
                    self._average(phase, number)
                elif self._sum(phase):
                    break

    def model_at(self, site: str) -> NormativeModel:
        """What the site scores with, but for what it personalises."""
        model = self.new()
        model.load(self.server.share() | self.stores[site].latest())
        return model

    def _average(self, phase: Phase, number: int) -> None:
        received = self.server.share()
        progress = Progress([{name: array for name, array in received.items() if name.startswith(NETWORK)}])
        updates = {site: self._trained(site, phase, number, received) for site in self.sites}
        step = step_of("fedavg")
        people = {site: len(cohort.people()) for site, cohort in self.sites.items()}
        step.begin(progress, people)
        for site in sorted(updates):
            step.add(Update(site, people[site], {**progress.models[0], **updates[site]}))
        step.end(progress)
        self.server.load(progress.models[0])

    def _trained(self, site: str, phase: Phase, number: int, received: Arrays) -> Arrays:
        store, offer = self.stores[site], Offer((received,))
        job = Round(
            self.new(),
            self.sites[site],
            settings(phase, site, number),
            offer,
            self.personal,
            Nothing(),
            store,
            number - 1,
        )
        return plain(job).arrays

    def _sum(self, phase: Phase) -> bool:
        answers = {}
        for site in self.sites:
            rng = seeds.generator(SEED, "sums", site, phase.name)
            answers[site] = sums_of(self.model_at(site), phase.name, self.sites[site], rng)
        return self.server.absorb(phase.name, named.add(answers[site] for site in sorted(answers)))


def sums_of(learner: Learner, phase: str, cohort: Cohort, rng: np.random.Generator) -> Arrays:
    """A cohort's sums, as they go over the wire."""
    return {name: np.asarray(array, np.float64) for name, array in learner.statistics(phase, cohort, rng).items()}


def learnt_alone(model: Learner, cohort: Cohort, site: str) -> None:
    """The same without any federation: a loop over batches with Adam, and the sums of the one cohort."""
    number = 0
    for phase in model.phases():
        for _ in range(phase.turns(ROUNDS)):
            if phase.kind == "averaged":
                number += 1
                _epoch(model, phase, cohort, site, number)
            elif model.absorb(
                phase.name, model.statistics(phase.name, cohort, seeds.generator(SEED, "sums", site, phase.name))
            ):
                break


def _epoch(model: Learner, phase: Phase, cohort: Cohort, site: str, number: int) -> None:
    network = model.network
    assert network is not None
    network.train()
    optimiser = torch.optim.Adam([p for _, p in trained_parameters(model, phase)], lr=RATE, fused=True)
    order = seeds.generator(SEED, "training", site, number, 0)
    for step, batch in enumerate(model.batches(phase.name, cohort, order)):
        network.zero_grad()
        draws = seeds.torch_generator(SEED, "step", site, number, step, 0)
        model.loss(phase.name, batch.to(model.setting.device), draws).mean().backward()
        optimiser.step()
