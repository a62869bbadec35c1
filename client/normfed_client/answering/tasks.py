"""What a site does when asked; every task gives an answer's header and its arrays."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np

from normfed_client.answering.job import Job
from normfed_client.evaluating.evaluation import Evaluation
from normfed_client.hospital import machine
from normfed_client.hospital.folder import of_environment as hospital_of_environment
from normfed_client.hospital.releases import Kind
from normfed_client.hospital.site import Site, people_of
from normfed_client.imaging.cohort import PreparedCohort
from normfed_client.training.gradients import GradientRule, Plain
from normfed_client.training.loop import Settings, mean_loss
from normfed_client.training.loop import train as train_epochs
from normfed_client.training.made_before import made_before
from normfed_client.training.objectives import Round, objective_of
from normfed_client.training.per_patient import PerPatient, shared_gradients
from normfed_client.training.private_sums import private_sums
from normfed_common.algorithms.private_training import check_buffers, check_training
from normfed_common.algorithms.sharing import needs_every_part, personal_arrays
from normfed_common.algorithms.table import configure
from normfed_common.foundation import seeds
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.damage import say
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.learning.learner import NETWORK, Learner
from normfed_common.learning.phase import phase_of_round
from normfed_common.metrics.summary import reportable_groups
from normfed_common.models.base import NormativeModel
from normfed_common.privacy.noise import SecretNoise
from normfed_common.privacy.releases import OF_PEOPLE
from normfed_common.privacy.spending import spending
from normfed_common.study.federation import Compression
from normfed_common.study.roles import Role
from normfed_common.wire import offers
from normfed_common.wire.answers import (
    Answer,
    CanaryBack,
    Counted,
    Described,
    Figures,
    FineTuned,
    ScoredPeople,
    Summed,
    Trained,
)
from normfed_common.wire.bounds import BELOW_MINIMUM
from normfed_common.wire.compression import compress_update, expand_model
from normfed_common.wire.evaluation import CommonEdges, ScoreRange, measured_arrays, summary_arrays
from normfed_common.wire.offers import Offer
from normfed_common.wire.requests import (
    Canary,
    Count,
    Describe,
    FineTune,
    Measure,
    ScorePeople,
    Sums,
    TrainRound,
)

KINDS: dict[Role, Kind] = {"train": "learning", "held_out": "figures", "test": "figures"}


def describe(job: Job[Describe]) -> tuple[Answer, Arrays]:
    """How many people of each role after preprocessing, never exactly below the minimum; and kinds of lesion.

    A deployed site also says what its machine is.
    """
    site = job.site
    counts: dict[str, int] = {}
    for role, kind in KINDS.items():
        scans = getattr(site, role)
        people = len(people_of(scans))
        enough = people >= site.minimum
        if enough and site.custody is not None:
            job.release(kind, scans)
        hidden = people > 0 or site.custody is not None  # that there is nobody is a hospital's to tell
        counts[role] = people if enough or not hidden else BELOW_MINIMUM
    tested = site.test
    kinds = reportable_groups(
        [s.kind for s in tested], [s.visit.participant.subject for s in tested], site.told_together
    )
    hospital = hospital_of_environment()
    found = machine.describe(site, hospital.config.power_w) if hospital else None
    return Answer(site=site.config.name, payload=Described(counts=counts, kinds=kinds[1:], machine=found)), {}


def train(job: Job[TrainRound]) -> tuple[Answer, Arrays]:
    """One round of the strategy: load, train, give back what is shared."""
    site, request, payload = job.site, job.request, job.payload
    begin = time.perf_counter()
    row, parameters = configure(request.strategy)
    cohort, compression = _training_cohort(job), payload.compression
    model = job.model()
    personal = personal_arrays(model, request.strategy)
    settings, rule = _settings(job, model), _rule(job, model, personal)
    work = Round(
        model=model,
        cohort=cohort,
        settings=replace(settings, checkpoints=None if job.noise_share else job.checkpoints, rule=rule),
        offer=_expanded(offers.decode(job.arrays), compression),
        personal=personal,
        parameters=parameters,
        store=job.store,
        since=payload.since,
    )
    received_loss = None
    if row.needs_received_loss:
        work.start(work.received)
        received_loss = mean_loss(model, cohort, work.settings)
    outcome = objective_of(request.strategy)(work)
    base = work.offer.models[outcome.cluster]
    if site.study.privacy.epsilon is not None:
        untrained = job.model()
        untrained.load(base)
        check_buffers(model, outcome.arrays, untrained.share())
    rng = seeds.generator(job.seed, "compression", site.config.name, payload.round)
    header = Answer(
        site=site.config.name,
        subjects=site.training_people,
        seconds=time.perf_counter() - begin,
        notes=(*model.notes(len(cohort.people())), *work.store.notes),
        payload=Trained(
            loss=outcome.progress.loss,
            received_loss=received_loss,
            steps=outcome.progress.steps,
            cluster=outcome.cluster,
        ),
    )
    if isinstance(rule, PerPatient) and rule.share is not None:
        return header, shared_gradients(rule, dict(work.named_parameters()))
    return header, compress_update(outcome.arrays, base, compression, rng)


def canary(job: Job[Canary]) -> tuple[Answer, Arrays]:
    """One batch of the round to come, of which nothing is kept: does everything work that a round needs?"""
    begin = time.perf_counter()
    site, request = job.site, job.request
    objective_of(request.strategy)  # of the rounds to come: is it here?
    model = job.model()
    received = offers.decode(job.arrays).model
    model.load(received)
    cohort = _training_cohort(job)
    personal = personal_arrays(model, request.strategy)
    settings = replace(_settings(job, model), most_steps=1, rule=_rule(job, model, personal))
    # What one batch teaches is about the few people in it: the weights go back as they came, in the update's place.
    leaving = model.arrays_of(settings.phase) - personal
    update = {name: array for name, array in model.share().items() if name in leaving}
    progress = train_epochs(model, cohort, settings)
    seconds = time.perf_counter() - begin
    header = Answer(site=site.config.name, seconds=seconds, payload=CanaryBack(steps=progress.steps))
    rng = seeds.generator(job.seed, "compression", site.config.name, 0)
    return header, compress_update(update, received, job.payload.compression, rng)


def fine_tune(job: Job[FineTune]) -> tuple[Answer, Arrays]:
    """Train the last global model on, for this site alone; nothing but the loss leaves. Where people are protected, not
    even whether it can be trained: where it cannot, it stays as it is."""
    site, request = job.site, job.request
    begin = time.perf_counter()
    _, parameters = configure(request.strategy)
    cohort = _training_cohort(job)
    model, store = job.model(), job.store
    personal = personal_arrays(model, request.strategy)
    before = {**offers.decode(job.arrays).model, **store.parts(personal, request.round)}
    model.load(before)
    settings = _settings(job, model)
    rate = parameters.learning_rate or settings.learning_rate
    settings = replace(settings, epochs=parameters.epochs, learning_rate=rate, checkpoints=job.checkpoints)
    protected = site.study.privacy.epsilon is not None
    loss = None
    try:
        loss = train_epochs(model, cohort, settings).loss
    except OF_PEOPLE as error:
        if not protected:
            raise
        say(f"the model was not fine-tuned ({error})")
        model.load(before)
    store.save(request.round, model.share(), since=request.round)
    seconds, told = time.perf_counter() - begin, FineTuned(loss=None if protected else loss)
    return Answer(site=site.config.name, subjects=site.training_people, seconds=seconds, payload=told), {}


def _training_cohort(job: Job[Any]) -> PreparedCohort:
    """Whom to learn from; that something learnt of them leaves is on record."""
    cohort = job.site.training_cohort()
    job.release("learning", job.site.train)
    return cohort


def _settings(job: Job[Any], model: Learner) -> Settings:
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


def _rule(job: Job[Any], model: NormativeModel, personal: frozenset[str]) -> GradientRule:
    """How gradients are made of which something leaves; worked out here from the study, whatever the server says of it.

    Raises
    ------
    StudyError
        If people cannot be protected in this training.
    """
    study = job.site.study
    spent = spending(study.privacy, study.federation, model.phases())
    if spent is None:
        return Plain()
    assert spent.round is not None  # as the model has the phase
    check_training(model, job.request.model["name"], personal, study.privacy, job.request.strategy)
    privacy = study.privacy
    key = job.noise_key("training")
    samples, unit = privacy.samples_per_patient, privacy.unit
    return PerPatient(key, spent.round, privacy.clip_norm, samples, unit, job.noise_share)


def _check_rounds(site: Site, number: int) -> None:
    """What a model takes by itself, in all its phases, is bounded as what the study says is."""
    if site.custody is not None and number > site.custody.rules.most_rounds:
        detail = f"most_rounds: round {number}, site.yaml allows {site.custody.rules.most_rounds}"
        raise SiteError(SiteCode.TOO_MUCH_ASKED, detail)


def _expanded(offer: Offer[np.ndarray], compression: Compression) -> Offer[np.ndarray]:
    """Networks come compressed; sums, and what an algorithm sends beside the models, do not."""
    if compression == "none":
        return offer
    return replace(offer, models=tuple(_expanded_model(model, compression) for model in offer.models))


def _expanded_model(model: Arrays, compression: Compression) -> Arrays:
    network = {name: array for name, array in model.items() if name.startswith(NETWORK)}
    return model | expand_model(network, compression)


def _with_personal_parts(job: Job[ScorePeople], arrays: Arrays) -> Arrays:
    """The arrays to score with: the server's, and over them the site's own."""
    request = job.request
    row, _ = configure(request.strategy)
    every_part = needs_every_part(job.model(), request.strategy)
    if not (row.personal or every_part):
        return arrays
    kept = {n: a for n, a in job.store.latest().items() if n.startswith(NETWORK)}
    if every_part and not kept:
        raise SiteError(SiteCode.PERSONAL_PART_MISSING, f"arm {request.arm}")
    return {**arrays, **kept}


def sums(job: Job[Sums]) -> tuple[Answer, Arrays]:
    """The sums of one phase over the site's training people."""
    site = job.site
    begin = time.perf_counter()
    cohort = _training_cohort(job)
    model = job.model()
    phase = _summed_phase(job, model)
    received = offers.decode(job.arrays).model
    model.load(received)
    again = (job.payload.iteration,) if job.payload.iteration else ()
    names = ("sums", site.config.name, phase, *again)
    spent = spending(site.study.privacy, site.study.federation, model.phases())
    notes: tuple[str, ...] = ()
    if spent is not None:
        assert spent.sums is not None  # as the model has the phase
        noise, seed = SecretNoise(job.noise_key("sums")), seeds.derive(job.seed, *names)
        total = private_sums(model, phase, cohort, noise, seed, job.noise_share or spent.sums.noise_multiplier)
    else:
        places = model.places(phase)
        if places is not None:
            model.prepare(phase, cohort)
            cohort = site.cohort_of_places(model.age_and_sex, places)
        rng = seeds.generator(job.seed, *names)

        def made() -> Arrays:
            return {name: np.asarray(value, np.float64) for name, value in model.statistics(phase, cohort, rng).items()}

        total, notes = site.coarsened(model, phase, made_before(site, job.request.model, phase, received, made))
    header = Answer(
        site=site.config.name,
        subjects=site.training_people,
        seconds=time.perf_counter() - begin,
        notes=notes,
        payload=Summed(),
    )
    return header, total


def _summed_phase(job: Job[Sums], model: Learner) -> str:
    """The name of the phase, if the model has it and it may take another round."""
    rounds = job.site.study.federation.rounds
    turns = {phase.name: phase.turns(rounds) for phase in model.phases() if phase.kind == "summed"}
    if job.payload.iteration >= turns.get(job.payload.phase, 0):
        raise SiteError(SiteCode.BAD_REQUEST, f"the model has no sums {job.payload.phase!r}, or not so often")
    _check_rounds(job.site, job.payload.iteration + 1)
    return job.payload.phase


def score(job: Job[ScorePeople]) -> tuple[Answer, Arrays]:
    """Evaluation, first step; with detail "ranking" the only one."""
    site, request = job.site, job.request
    begin = time.perf_counter()
    evaluation = _evaluation(job)
    arrays = _with_personal_parts(job, offers.decode(job.arrays).model)
    groups: tuple[str, ...] = ()
    if job.payload.detail == "ranking":
        summary = evaluation.rank(request.model, arrays)
        found, groups = summary_arrays(summary), summary.groups
    else:
        found = ScoreRange(*evaluation.score(request.model, arrays)).arrays()
    seconds, told = time.perf_counter() - begin, ScoredPeople(groups=groups)
    return Answer(site=site.config.name, subjects=evaluation.people, seconds=seconds, payload=told), found


def count(job: Job[Count]) -> tuple[Answer, Arrays]:
    """Evaluation, second step: coarse counts over the range of all sites."""
    evaluation = _evaluation(job)
    counts = evaluation.count(job.payload.low, job.payload.high)
    return Answer(site=job.site.config.name, subjects=evaluation.people, payload=Counted()), counts


def measure(job: Job[Measure]) -> tuple[Answer, Arrays]:
    """Evaluation, third step: figures over people, counts between the common edges."""
    common = CommonEdges.decode(job.arrays)
    begin = time.perf_counter()
    evaluation = _evaluation(job)
    measured = evaluation.measure(common, job.payload.threshold, job.payload.maps)
    evaluation.close()
    header = Answer(
        site=job.site.config.name,
        subjects=evaluation.people,
        seconds=time.perf_counter() - begin,
        payload=Figures(groups=measured.summary.groups),
    )
    return header, measured_arrays(measured)


def _evaluation(job: Job[Any]) -> Evaluation:
    """The evaluation of a model; that figures of the people tested and held out leave is on record."""
    evaluation = Evaluation(job.site, job.request.arm, job.seed)
    job.release("figures", job.site.test)
    if evaluation.held_out:
        job.release("figures", evaluation.held_out)
    return evaluation
