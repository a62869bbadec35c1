"""What a site does when asked; every task gives an answer's header and its arrays."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from normfed_client.evaluating.evaluation import Evaluation
from normfed_client.hospital import machine
from normfed_client.hospital.folder import of_environment as hospital_of_environment
from normfed_client.hospital.personal import PersonalStore
from normfed_client.hospital.releases import Kind
from normfed_client.hospital.site import Scan, Site, people_of
from normfed_client.imaging.cohort import PreparedCohort
from normfed_client.training.checkpoints import TrainingCheckpoints
from normfed_client.training.loop import Settings, mean_loss
from normfed_client.training.loop import train as train_epochs
from normfed_client.training.objectives import OBJECTIVES, Round
from normfed_common.algorithms.sharing import personal_arrays
from normfed_common.algorithms.table import configure
from normfed_common.foundation import arrays as named
from normfed_common.foundation import seeds
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.foundation.files import inside
from normfed_common.metrics.summary import reportable_groups
from normfed_common.models.base import NETWORK
from normfed_common.study.federation import Compression
from normfed_common.study.roles import Role
from normfed_common.wire.compression import compress_update, expand_model
from normfed_common.wire.evaluation import measured_arrays, summary_arrays
from normfed_common.wire.messages import BELOW_MINIMUM, CONTROL, Answer, Request


@dataclass(frozen=True)
class Job:
    """One request at one site.

    Parameters
    ----------
    checkpoints
        Where training that was interrupted goes on from; absent where nobody would miss it.
    released
        Whether the people whom the answer is about are on record; nothing leaves a hospital else.
    afterwards
        What is done once the answer is safe.
    """

    site: Site
    request: Request
    arrays: Arrays
    checkpoints: TrainingCheckpoints | None = None
    released: list[Kind] = field(default_factory=list)
    afterwards: list[Callable[[], None]] = field(default_factory=list)

    def release(self, kind: Kind, scans: Sequence[Scan]) -> None:
        """The answer is about these people.

        Raises
        ------
        SiteError
            If a hospital must not release it.
        """
        self.site.release(kind, scans, f"{self.request.arm} {kind}")
        self.released.append(kind)


KINDS: dict[Role, Kind] = {"train": "learning", "held_out": "figures", "test": "figures"}


def describe(job: Job) -> tuple[Answer, Arrays]:
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
    return Answer(site=site.config.name, counts=counts, labels=kinds[1:], machine=found), {}


def train(job: Job) -> tuple[Answer, Arrays]:
    """One round of the strategy: load, train, give back what is shared."""
    site, request, arrays = job.site, job.request, job.arrays
    begin = time.perf_counter()
    row, parameters = configure(request.strategy)
    cohort, compression = _training_cohort(job), request.compression
    model = site.model(request.model)
    work = Round(
        model=model,
        cohort=cohort,
        settings=replace(_settings(site, request), checkpoints=job.checkpoints),
        received=_expanded(arrays, compression),
        personal=personal_arrays(model, request.strategy),
        parameters=parameters,
        store=_store(site, request.arm),
        since=request.since,
    )
    received_loss = None
    if row.server_step == "fair":
        work.start(work.received)
        received_loss = mean_loss(model, cohort, work.settings)
    outcome = OBJECTIVES[row.objective](work)
    base = named.unstacked(work.received)[outcome.cluster] if row.objective == "best of clusters" else work.received
    rng = seeds.generator(site.study.seed, "compression", site.config.name, request.round)
    header = Answer(
        site=site.config.name,
        subjects=site.training_people,
        loss=outcome.progress.loss,
        received_loss=received_loss,
        steps=outcome.progress.steps,
        cluster=outcome.cluster,
        seconds=time.perf_counter() - begin,
        notes=(*model.notes(len(cohort)), *work.store.notes),
    )
    return header, compress_update(outcome.arrays, base, compression, rng)


def canary(job: Job) -> tuple[Answer, Arrays]:
    """One batch of the round to come, of which nothing is kept: does everything work that a round needs?"""
    begin = time.perf_counter()
    site, request = job.site, job.request
    model = site.model(request.model)
    (received,) = named.unstacked(job.arrays)
    model.load(received)
    cohort = _training_cohort(job)
    personal = personal_arrays(model, request.strategy)
    # What one batch teaches is about the few people in it: the weights go back as they came, in the update's place.
    update = {name: array for name, array in model.share().items() if name not in personal}
    progress = train_epochs(model, cohort, replace(_settings(site, request), most_steps=1))
    header = Answer(site=site.config.name, steps=progress.steps, seconds=time.perf_counter() - begin)
    rng = seeds.generator(site.study.seed, "compression", site.config.name, 0)
    return header, compress_update(update, received, request.compression, rng)


def fine_tune(job: Job) -> tuple[Answer, Arrays]:
    """Train the last global model on, for this site alone; nothing but the loss leaves."""
    site, request, arrays = job.site, job.request, job.arrays
    begin = time.perf_counter()
    _, parameters = configure(request.strategy)
    cohort = _training_cohort(job)
    model = site.model(request.model)
    model.load(arrays)
    settings = _settings(site, request)
    rate = parameters.learning_rate or settings.learning_rate
    settings = replace(settings, epochs=parameters.epochs, learning_rate=rate, checkpoints=job.checkpoints)
    progress = train_epochs(model, cohort, settings)
    _store(site, request.arm).save(request.round, model.share(), since=request.round)
    seconds = time.perf_counter() - begin
    return Answer(site=site.config.name, subjects=site.training_people, loss=progress.loss, seconds=seconds), {}


def _training_cohort(job: Job) -> PreparedCohort:
    """Whom to learn from; that something learnt of them leaves is on record."""
    cohort = job.site.training_cohort()
    job.release("learning", job.site.train)
    return cohort


def _settings(site: Site, request: Request) -> Settings:
    federation = site.study.federation
    return Settings(
        seed=seeds.of_repeat(site.study.seed, request.repeat),
        site=site.config.name,
        round=request.round,
        epochs=federation.local_epochs,
        learning_rate=federation.learning_rate,
        optimiser=federation.optimiser,
    )


def _store(site: Site, arm: str) -> PersonalStore:
    return PersonalStore(inside(site.config.output, "personal", arm))


def _expanded(arrays: Arrays, compression: Compression) -> Arrays:
    """Models come compressed; what an algorithm sends beside them does not."""
    if compression == "none":
        return arrays
    control = {name: array for name, array in arrays.items() if name.startswith(CONTROL)}
    return expand_model({n: a for n, a in arrays.items() if n not in control}, compression) | control


def _with_personal_parts(site: Site, request: Request, arrays: Arrays) -> Arrays:
    """The arrays to score with: the server's, and over them the site's own."""
    row, _ = configure(request.strategy)
    if not row.personal:
        return arrays
    kept = {n: a for n, a in _store(site, request.arm).latest().items() if n.startswith(NETWORK)}
    if row.needs_every_part and not kept:
        raise SiteError(SiteCode.PERSONAL_PART_MISSING, f"arm {request.arm}")
    return {**arrays, **kept}


def sums(job: Job) -> tuple[Answer, Arrays]:
    """The sums of one stage over the site's training people."""
    site, request, arrays = job.site, job.request, job.arrays
    begin = time.perf_counter()
    cohort = _training_cohort(job)
    model = site.model(request.model)
    if request.stage not in model.stages:
        raise SiteError(SiteCode.BAD_REQUEST, f"the model has no sums {request.stage!r}")
    model.load(arrays)
    if model.places(request.stage) is not None:
        cohort = site.cohort_of_places()
    rng = seeds.generator(site.study.seed, "sums", site.config.name, request.stage)
    total = {
        name: np.asarray(value, np.float64) for name, value in model.statistics(request.stage, cohort, rng).items()
    }
    total, notes = site.coarsened(model, request.stage, total)
    seconds = time.perf_counter() - begin
    return Answer(site=site.config.name, subjects=site.training_people, seconds=seconds, notes=notes), total


def score(job: Job) -> tuple[Answer, Arrays]:
    """Evaluation, first step; with detail "ranking" the only one."""
    site, request = job.site, job.request
    begin = time.perf_counter()
    evaluation = _evaluation(job)
    arrays = _with_personal_parts(site, request, job.arrays)
    if request.detail == "ranking":
        summary = evaluation.rank(request.model, arrays)
        found = summary_arrays(summary)
        labels = summary.groups
    else:
        found = {"range": np.array(evaluation.score(request.model, arrays))}
        labels = ()
    seconds = time.perf_counter() - begin
    return Answer(site=site.config.name, subjects=evaluation.people, seconds=seconds, labels=labels), found


def count(job: Job) -> tuple[Answer, Arrays]:
    """Evaluation, second step: coarse counts over the range of all sites."""
    evaluation = _evaluation(job)
    counts = evaluation.count(job.request.low, job.request.high)
    return Answer(site=job.site.config.name, subjects=evaluation.people), counts


def measure(job: Job) -> tuple[Answer, Arrays]:
    """Evaluation, third step: figures over people, counts between the common edges."""
    site, request, arrays = job.site, job.request, job.arrays
    if request.threshold is None or set(arrays) != {"edges", "held_out_people"}:
        raise SiteError(SiteCode.BAD_REQUEST, "measurement without edges or threshold")
    begin = time.perf_counter()
    evaluation = _evaluation(job)
    measured = evaluation.measure(arrays["edges"], request.threshold, arrays["held_out_people"], request.maps)
    job.afterwards.append(evaluation.close)
    header = Answer(
        site=site.config.name,
        subjects=evaluation.people,
        seconds=time.perf_counter() - begin,
        labels=measured.summary.groups,
        counts={"test": evaluation.people},
    )
    return header, measured_arrays(measured)


def _evaluation(job: Job) -> Evaluation:
    """The evaluation of a model; that figures of the people tested and held out leave is on record."""
    evaluation = Evaluation(job.site, job.request.arm)
    job.release("figures", job.site.test)
    if evaluation.held_out:
        job.release("figures", evaluation.held_out)
    return evaluation
