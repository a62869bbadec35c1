"""What a site does when asked; every task gives an answer's header and its arrays."""

from __future__ import annotations

import time

import numpy as np

from normfed_client.evaluation import Evaluation
from normfed_client.site import Site
from normfed_client.training.loop import train_round
from normfed_common import seeds
from normfed_common.arrays import Arrays
from normfed_common.errors import SiteCode, SiteError
from normfed_common.wire.evaluation import measured_arrays, summary_arrays
from normfed_common.wire.messages import BELOW_MINIMUM, Answer, Request

ALONE = "The site has one person to train on: pairs have no second member, so the siamese term is off."


def describe(site: Site) -> tuple[Answer, Arrays]:
    """How many people of each role after preprocessing, never exactly below the minimum; and kinds of lesion."""
    minimum = site.study.federation.minimum_cohort
    counts = {}
    for role in ("train", "held_out", "test"):
        people = len({scan.visit.participant.subject for scan in getattr(site, role)})
        counts[role] = people if people == 0 or people >= minimum else BELOW_MINIMUM
    return Answer(site=site.config.name, counts=counts, labels=tuple(sorted({s.kind for s in site.test}))), {}


def train(site: Site, request: Request, arrays: Arrays) -> tuple[Answer, Arrays]:
    """One round: load, train, give back."""
    begin = time.perf_counter()
    cohort = site.training_cohort()
    model = site.model(request.model)
    model.load(arrays)
    federation = site.study.federation
    progress = train_round(
        model,
        cohort,
        seed=site.study.seed,
        site=site.config.name,
        round=request.round,
        epochs=federation.local_epochs,
        learning_rate=federation.learning_rate,
    )
    header = Answer(
        site=site.config.name,
        subjects=len(cohort),
        loss=progress.loss,
        seconds=time.perf_counter() - begin,
        notes=(ALONE,) if len(cohort) == 1 else (),
    )
    return header, model.share()


def sums(site: Site, request: Request, arrays: Arrays) -> tuple[Answer, Arrays]:
    """The sums of one stage over the site's training people."""
    begin = time.perf_counter()
    cohort = site.training_cohort()
    model = site.model(request.model)
    model.load(arrays)
    rng = seeds.generator(site.study.seed, "sums", site.config.name, request.stage)
    total = {
        name: np.asarray(value, np.float64) for name, value in model.statistics(request.stage, cohort, rng).items()
    }
    return Answer(site=site.config.name, subjects=len(cohort), seconds=time.perf_counter() - begin), total


def score(site: Site, request: Request, arrays: Arrays) -> tuple[Answer, Arrays]:
    """Evaluation, first step; with detail "ranking" the only one."""
    begin = time.perf_counter()
    evaluation = Evaluation(site, request.arm)
    model = site.model(request.model)
    model.load(arrays)
    if request.detail == "ranking":
        summary = evaluation.rank(model)
        found = summary_arrays(summary)
        labels = summary.groups
    else:
        found = {"range": np.array(evaluation.score(model))}
        labels = ()
    seconds = time.perf_counter() - begin
    return Answer(site=site.config.name, subjects=len(site.test), seconds=seconds, labels=labels), found


def count(site: Site, request: Request, arrays: Arrays) -> tuple[Answer, Arrays]:
    """Evaluation, second step: coarse counts over the range of all sites."""
    evaluation = Evaluation(site, request.arm)
    return Answer(site=site.config.name, subjects=len(site.test)), evaluation.count(request.low, request.high)


def measure(site: Site, request: Request, arrays: Arrays) -> tuple[Answer, Arrays]:
    """Evaluation, third step: figures over people, counts between the common edges."""
    if request.threshold is None or not {"edges", "held_out_people"} <= set(arrays):
        raise SiteError(SiteCode.BAD_REQUEST, "measurement without edges or threshold")
    begin = time.perf_counter()
    evaluation = Evaluation(site, request.arm)
    measured = evaluation.measure(arrays["edges"], request.threshold, arrays["held_out_people"], request.maps)
    header = Answer(
        site=site.config.name,
        subjects=len(site.test),
        seconds=time.perf_counter() - begin,
        labels=measured.summary.groups,
        counts={"test": len(site.test)},
    )
    return header, measured_arrays(measured)
