"""What a site does when asked; every task gives an answer's header and its arrays."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np

from normfed_client.answering.cohorts import KINDS, statistics
from normfed_client.answering.job import Job
from normfed_client.answering.settings import rule_of, settings_of, summed_phase
from normfed_client.evaluating.evaluation import Evaluation
from normfed_client.hospital import machine
from normfed_client.hospital.folder import of_environment as hospital_of_environment
from normfed_client.hospital.places import coarsened, cohort_of_places
from normfed_client.hospital.site import people_of
from normfed_client.imaging.cohort import PreparedCohort, person_of
from normfed_client.training.loop import mean_loss
from normfed_client.training.loop import train as train_epochs
from normfed_client.training.made_before import made_before
from normfed_client.training.objectives import Round, objective_of
from normfed_client.training.per_patient import PerPatient, shared_gradients
from normfed_client.training.private_sums import private_sums
from normfed_common.algorithms.private_training import check_buffers
from normfed_common.algorithms.sharing import needs_every_part, personal_arrays
from normfed_common.algorithms.table import configure
from normfed_common.foundation import seeds
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.damage import say
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.learning.learner import NETWORK
from normfed_common.metrics.summary import reportable_groups
from normfed_common.models.base import NormativeModel
from normfed_common.privacy.noise import SecretNoise
from normfed_common.privacy.releases import OF_PEOPLE
from normfed_common.study.federation import Compression
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
    settings, rule = settings_of(job, model), rule_of(job, model, personal)
    _release_apart(job, model, settings.phase.name)
    work = Round(
        model=model,
        cohort=cohort,
        settings=replace(settings, checkpoints=None if job.noise_share else job.checkpoints, rule=rule),
        offer=_expanded(offers.decode(job.arrays), compression),
        personal=personal,
        parameters=parameters,
        store=job.store,
        since=payload.since,
        openable=None if site.study.privacy.epsilon is None else site.training_cohort(openable=True),
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
    settings = replace(settings_of(job, model), most_steps=1, rule=rule_of(job, model, personal))
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
    cohort = _training_cohort(job, openable=True)
    model, store = job.model(), job.store
    personal = personal_arrays(model, request.strategy)
    before = {**offers.decode(job.arrays).model, **store.parts(personal, request.round)}
    model.load(before)
    settings = settings_of(job, model)
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


def _training_cohort(job: Job[Any], openable: bool = False) -> PreparedCohort:
    """Whom to learn from; that something learnt of them leaves is on record."""
    cohort = job.site.training_cohort(openable)
    job.release("learning", job.site.train)
    return cohort


def _release_apart(job: Job[Any], model: NormativeModel, phase: str) -> None:
    """What is told of some of the people by themselves is a release of its own: two sums over almost the same people
    of a scanner must not both leave, however many others are in either. Of too few the model itself tells nothing."""
    cases, site = job.site.train, job.site
    if site.custody is None or site.study.privacy.epsilon is not None:  # nothing to protect, or noise does
        return
    numbers = {name: number for number, name in enumerate(people_of(cases))}
    scans = [person_of(case.visit, numbers[case.visit.participant.subject]) for case in cases]
    for group in model.told_apart(phase, scans):
        apart = [cases[number] for number in group]
        if len(people_of(apart)) >= site.minimum:
            job.release("learning", apart)


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
    """The sums of one phase over the site's training people; or the statistics of its cohort."""
    if job.of_cohorts:
        summed_phase(job, job.learner())
        return statistics(job)
    site = job.site
    begin = time.perf_counter()
    cohort = _training_cohort(job)
    model = job.model()
    phase = summed_phase(job, model)
    _release_apart(job, model, phase)
    received = offers.decode(job.arrays).model
    model.load(received)
    again = (job.payload.iteration,) if job.payload.iteration else ()
    names = ("sums", site.config.name, phase, *again)
    mechanism = job.mechanism(model.phases())
    notes: tuple[str, ...] = ()
    if mechanism is not None:
        noise, seed = SecretNoise(job.noise_key("sums")), seeds.derive(job.seed, *names)
        total = private_sums(model, phase, cohort, noise, seed, job.noise_share or mechanism.noise_multiplier)
    else:
        places = model.places(phase)
        if places is not None:
            model.prepare(phase, cohort)
            cohort = cohort_of_places(site, model.age_and_sex, places)
        rng = seeds.generator(job.seed, *names)

        def made() -> Arrays:
            return {name: np.asarray(value, np.float64) for name, value in model.statistics(phase, cohort, rng).items()}

        total, notes = coarsened(site, model, phase, made_before(site, job.request.model, phase, received, made))
    notes = (*model.notes(len(cohort.people())), *notes)
    header = Answer(
        site=site.config.name,
        subjects=site.training_people,
        seconds=time.perf_counter() - begin,
        notes=notes,
        payload=Summed(),
    )
    return header, total


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
    return Answer(site=site.config.name, subjects=evaluation.people.number, seconds=seconds, payload=told), found


def count(job: Job[Count]) -> tuple[Answer, Arrays]:
    """Evaluation, second step: coarse counts over the range of all sites."""
    evaluation = _evaluation(job)
    counts = evaluation.count(job.payload.low, job.payload.high)
    if not evaluation.people.test:
        evaluation.close()  # nothing is measured here
    return Answer(site=job.site.config.name, subjects=evaluation.people.number, payload=Counted()), counts


def measure(job: Job[Measure]) -> tuple[Answer, Arrays]:
    """Evaluation, third step: figures over people, counts between the common edges."""
    common = CommonEdges.decode(job.arrays)
    begin = time.perf_counter()
    evaluation = _evaluation(job)
    measured = evaluation.measure(common, job.payload.threshold, job.payload.maps)
    evaluation.close()
    header = Answer(
        site=job.site.config.name,
        subjects=evaluation.people.number,
        seconds=time.perf_counter() - begin,
        payload=Figures(groups=measured.summary.groups),
    )
    return header, measured_arrays(measured)


def _evaluation(job: Job[Any]) -> Evaluation:
    """The evaluation of a model; that figures of the people tested, and held out, leave is on record.

    Raises
    ------
    SiteError
        If what is asked is about people tested, and these are nobody or too few.
    """
    ranking = isinstance(job.payload, ScorePeople) and job.payload.detail == "ranking"
    evaluation = Evaluation(job.site, job.request.arm, job.seed)
    if ranking or isinstance(job.payload, Measure):
        evaluation.people.check_testing()
    if evaluation.people.test:
        job.release("figures", evaluation.people.test)
    if evaluation.people.held_out and not ranking:
        job.release("figures", evaluation.people.held_out)
    return evaluation
