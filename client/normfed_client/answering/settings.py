"""How a site trains when it is asked to: the phase, the settings and the rule of gradients; and how often at most."""

from __future__ import annotations

from typing import Any

from normfed_client.answering.job import Job
from normfed_client.hospital.site import Site
from normfed_client.training.gradients import GradientRule, Plain
from normfed_client.training.loop import Settings
from normfed_client.training.per_patient import PerPatient
from normfed_common.algorithms.private_training import check_training
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.learning.learner import Learner
from normfed_common.learning.phase import phase_of_round
from normfed_common.models.base import NormativeModel
from normfed_common.wire.requests import FineTune, Sums


def settings_of(job: Job[Any], model: Learner) -> Settings:
    """What a round, the canary before the first or the fine-tuning after the last trains.

    Raises
    ------
    SiteError
        If the model has no such round, or the hospital allows fewer.
    """
    site, request = job.site, job.request
    federation, phases = site.study.federation, model.phases()
    # The canary comes before the first round, fine-tuning after the last.
    number = request.round - 1 if isinstance(request.payload, FineTune) else max(request.round, 1)
    phase = phase_of_round(phases, federation.rounds, number)
    if phase is None or number < 1:
        raise SiteError(SiteCode.BAD_REQUEST, f"the model has no round {request.round}")
    _check_rounds(site, number)
    return Settings(
        phase=phase,
        seed=job.seed,
        site=site.config.name,
        round=request.round,
        epochs=federation.local_epochs,
        learning_rate=federation.learning_rate,
        optimiser=federation.optimiser,
        most_epochs=None if site.custody is None else site.custody.rules.most_epochs,
    )


def rule_of(job: Job[Any], model: NormativeModel, personal: frozenset[str]) -> GradientRule:
    """How gradients are made of which something leaves; worked out here from the study, whatever the server says of it.

    Raises
    ------
    StudyError
        If people cannot be protected in this training.
    """
    privacy, mechanism = job.site.study.privacy, job.mechanism(model.phases())
    if mechanism is None:
        return Plain()
    check_training(model, job.request.model["name"], personal, privacy, job.request.strategy)
    key = job.noise_key("training")
    samples, unit = privacy.samples_per_patient, privacy.unit
    return PerPatient(key, mechanism, privacy.clip_norm, samples, unit, job.noise_share)


def summed_phase(job: Job[Sums], model: Learner) -> str:
    """The name of the phase, if the model has it and it may take another round."""
    rounds = job.site.study.federation.rounds
    turns = {phase.name: phase.turns(rounds) for phase in model.phases() if phase.kind == "summed"}
    if job.payload.iteration >= turns.get(job.payload.phase, 0):
        raise SiteError(SiteCode.BAD_REQUEST, f"the model has no sums {job.payload.phase!r}, or not so often")
    _check_rounds(job.site, job.payload.iteration + 1)
    return job.payload.phase


def _check_rounds(site: Site, number: int) -> None:
    """What a model takes by itself, in all its phases, is bounded as what the study says is."""
    if site.custody is not None and number > site.custody.rules.most_rounds:
        detail = f"most_rounds: round {number}, site.yaml allows {site.custody.rules.most_rounds}"
        raise SiteError(SiteCode.TOO_MUCH_ASKED, detail)
