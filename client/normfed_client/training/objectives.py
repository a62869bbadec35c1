"""What a site minimises in a round: one function a kind of objective, all over the one training loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from normfed_client.hospital.personal import PersonalStore
from normfed_client.training.corrections import Controlled, Proximal, tensors
from normfed_client.training.gradients import Plain
from normfed_client.training.loop import Settings, TrainingFigures, mean_loss, train, trained_parameters
from normfed_common.algorithms.table import configure, part
from normfed_common.foundation import arrays as named
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.damage import say
from normfed_common.foundation.registry import Registry
from normfed_common.learning.cohort import Cohort
from normfed_common.learning.learner import Learner
from normfed_common.privacy.releases import OF_PEOPLE
from normfed_common.wire.offers import Offer

CONTROL = "control/"  # before the names of SCAFFOLD's control variate, which a site keeps


@dataclass(frozen=True)
class Round:
    """One round at one site.

    Parameters
    ----------
    model
        Made anew; not loaded yet.
    offer
        What the server sent, expanded.
    personal
        Names of the model's arrays that stay at the site.
    parameters
        The algorithm's.
    since
        The last round whose update the server used.
    openable
        Of the cohort those whose scans can be opened, for what is trained plainly beside what protects people; all when
        absent.
    """

    model: Learner
    cohort: Cohort
    settings: Settings
    offer: Offer[np.ndarray]
    personal: frozenset[str]
    parameters: Any
    store: PersonalStore
    since: int
    openable: Cohort | None = None

    @property
    def received(self) -> Arrays:
        """The one model that was offered.

        Raises
        ------
        WireError
            If several were.
        """
        return self.offer.model

    def start(self, arrays: Arrays) -> None:
        """Load the received model, with the site's own parts where it has them."""
        self.model.load({**arrays, **self.store.parts(self.personal, self.settings.round, self.since)})

    def end(self, beside: Arrays | None = None) -> Arrays:
        """Keep what is personal, and ``beside`` with it; returns what leaves: what the phase trained."""
        found = self.model.share()
        kept = {name: found[name] for name in self.personal} | (beside or {})
        if kept:
            self.store.save(self.settings.round, kept, self.since)
        leaving = self.model.arrays_of(self.settings.phase) - self.personal
        return {name: array for name, array in found.items() if name in leaving}

    def named_parameters(self) -> list[tuple[str, torch.nn.Parameter]]:
        """The parameters that the phase trains, under the names that they are shared by."""
        return trained_parameters(self.model, self.settings.phase)


@dataclass(frozen=True)
class Outcome:
    """What a round gives: the arrays that leave, how training went, and which of the offered models was trained."""

    arrays: Arrays
    progress: TrainingFigures
    cluster: int = 0


def plain(job: Round) -> Outcome:
    """The model's own loss."""
    job.start(job.received)
    progress = train(job.model, job.cohort, job.settings)
    return Outcome(job.end(), progress)


def proximal(job: Round) -> Outcome:
    """The model's loss and (mu/2) ||w - w_global||^2 (FedProx)."""
    job.start(job.received)
    parameters = job.named_parameters()
    anchor = [parameter.detach().clone() for _, parameter in parameters]
    progress = train(job.model, job.cohort, job.settings, Proximal(job.parameters.mu, anchor))
    return Outcome(job.end(), progress)


def controlled(job: Round) -> Outcome:
    """SCAFFOLD. The site keeps c_i+ = c_i - c + (x - y) / (K rate); the server works it out of y by itself.

    What is personal has no variate: no other site's drift pulls at it.
    """
    model = job.received
    job.start(model)
    # Rounds whose update the server did not use left no trace in c, so they must leave none in c_i.
    own = job.store.load(min(job.settings.round, job.since + 1), job.since)
    parameters = job.named_parameters()
    shared = {name: parameter for name, parameter in parameters if name not in job.personal}
    control = {name: array for name, array in job.offer.beside.items() if name in shared}
    named.check_shapes(control, {name: tuple(parameter.shape) for name, parameter in shared.items()})
    own = {name: own.get(CONTROL + name, np.zeros_like(control[name])) for name in shared}
    drift = {name: torch.zeros_like(parameter) for name, parameter in parameters}
    drift |= {name: torch.from_numpy(control[name] - own[name]) for name in shared}
    correction = Controlled(job.settings.learning_rate, tensors(drift, parameters))
    progress = train(job.model, job.cohort, job.settings, correction)
    scale = np.float32(progress.steps * job.settings.learning_rate)
    trained = {name: parameter.detach().cpu().numpy() for name, parameter in shared.items()}
    after = {CONTROL + n: own[n] - control[n] + (model[n] - trained[n]) / scale for n in shared}
    return Outcome(job.end(after), progress)


def with_personal_model(job: Round) -> Outcome:
    """Ditto: the global model as in FedAvg; beside it a personal one, pulled towards the global one it received.

    Under a rule that protects people the personal one is trained plainly: no gradient of it reaches what leaves. Nor
    does whether it can be trained: where it cannot, it stays as it was.
    """
    job.start(job.received)
    anchor = [parameter.detach().clone() for _, parameter in job.named_parameters()]
    progress = train(job.model, job.cohort, job.settings)
    trained = job.end()
    before = job.store.load(job.settings.round, job.since) or job.received
    job.model.load(before)
    alone = replace(job.settings, rule=Plain())
    try:
        train(
            job.model,
            job.cohort if job.openable is None else job.openable,
            alone,
            Proximal(job.parameters.lambda_, anchor),
        )
    except OF_PEOPLE as error:
        if job.settings.rule.tells_loss:
            raise
        say(f"round {job.settings.round}: the personal model was not trained ({error})")
        job.model.load(before)
    job.store.save(job.settings.round, job.model.share(), job.since)
    return Outcome(trained, progress)


def alternating(job: Round) -> Outcome:
    """FedRep: first the personal parts with the shared ones fixed, then the shared ones with the personal fixed.

    The gradients of the shared ones depend on the personal ones: where a rule protects people it makes both, and the
    two halves are one training.
    """
    job.start(job.received)
    parameters = job.named_parameters()
    mine = [parameter for name, parameter in parameters if name in job.personal]
    shared = [parameter for name, parameter in parameters if name not in job.personal]
    halves = [(job.parameters.personal_epochs, mine)] if mine else []
    halves += [(job.settings.epochs, shared)] if shared else []
    rules = job.settings.rule.divided([epochs for epochs, _ in halves])
    *_, progress = [
        train(job.model, job.cohort, replace(job.settings, epochs=epochs, rule=rule), only=half)
        for (epochs, half), rule in zip(halves, rules, strict=True)
    ]
    return Outcome(job.end(), progress)


def best_of_clusters(job: Round) -> Outcome:
    """IFCA: train the one of the received models that has the lowest loss here."""
    models = job.offer.models
    losses = []
    for arrays in models:
        job.start(arrays)
        losses.append(mean_loss(job.model, job.cohort, job.settings))
    chosen = int(np.argmin(losses))
    outcome = plain(replace(job, offer=Offer((models[chosen],))))
    return replace(outcome, cluster=chosen)


Objective = Callable[[Round], Outcome]

OBJECTIVES: Registry[Objective] = Registry(
    "objective", "normfed.objectives", instance_of="collections.abc:Callable", joined_by="- "
)

OBJECTIVES.add("plain", plain)
OBJECTIVES.add("proximal", proximal)
OBJECTIVES.add("controlled", controlled)
OBJECTIVES.add("with a personal model", with_personal_model)
OBJECTIVES.add("alternating", alternating)
OBJECTIVES.add("best of clusters", best_of_clusters)


def objective_of(strategy: dict[str, Any]) -> Objective:
    """What a site does in a round of a resolved strategy entry.

    Raises
    ------
    StudyError, PluginError
        If it is not here.
    """
    return part(strategy, OBJECTIVES, configure(strategy)[0].objective)
