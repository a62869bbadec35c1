"""A site's answer to the request for statistics of its cohort, which is one for sums like any other."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from normfed_client.answering.job import Job
from normfed_client.describing.rows import Rows, rows_of
from normfed_client.describing.telling import Cells, everything, told
from normfed_client.hospital.blocks import Member
from normfed_client.hospital.releases import Kind
from normfed_client.hospital.site import people_of
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.learning.bounded import PEOPLE
from normfed_common.privacy.noise import SecretNoise
from normfed_common.privacy.releases import noised_total
from normfed_common.statistics.learner import CohortStatistics
from normfed_common.study.roles import Role
from normfed_common.wire.answers import Answer, Summed
from normfed_common.wire.requests import Sums

KINDS: dict[Role, Kind] = {"train": "learning", "held_out": "figures", "test": "figures"}


def statistics(job: Job[Sums]) -> tuple[Answer, Arrays]:
    """The tables of everybody who takes part, over no other people than those who may be trained on and tested.

    Raises
    ------
    SiteError
        If they are too few, or the hospital may not say anything of them.
    """
    begin, site = time.perf_counter(), job.site
    people, learner = job.people, job.learner()
    if not people:
        raise SiteError(SiteCode.COHORT_TOO_SMALL, "nobody to count in any role of enough people")
    for role, kind in KINDS.items():
        cases = [case for had, visits in people for case in visits if had == role]
        if cases:
            job.release(kind, cases)
    assert isinstance(learner, CohortStatistics)
    mechanism = job.mechanism(learner.phases())
    if mechanism is not None:
        bounded = learner.bounded(job.payload.phase)

        def contribution(number: int) -> Arrays:
            return bounded.scaled(rows_of(site, *people[number]))

        noise = SecretNoise(job.noise_key("statistics"))
        makers = [partial(contribution, number) for number in range(len(people))]
        found = noised_total(bounded, makers, noise, job.noise_share or mechanism.noise_multiplier)
    else:
        found = _told(job, learner, [rows_of(site, role, visits) for role, visits in people])
    header = Answer(site=site.config.name, subjects=len(people), seconds=time.perf_counter() - begin, payload=Summed())
    return header, found


def _told(job: Job[Sums], learner: CohortStatistics, rows: Sequence[Rows]) -> Arrays:
    """The tables without noise, as far as they may be told."""
    site, tables = job.site, learner.tables
    weights = {table.name: np.stack([row[table.name] for row in rows]) for table in tables}
    beside: Arrays = {PEOPLE: np.asarray(float(len(rows)))}
    if site.custody is None:
        return everything(tables, weights) | beside
    names = people_of([case for _, visits in job.people for case in visits])
    members = site.custody.members(names)
    arrays: Arrays = {}

    def choose(earlier: Mapping[str, Sequence[frozenset[Member]]]) -> dict[str, Cells]:
        found, cells = told(tables, weights, members, site.minimum, earlier)
        arrays.update(found)
        return cells

    site.custody.tell(choose)
    return arrays | beside
