"""Is there privacy left for what is asked? It is spent here, before the work begins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from normfed_client.answering.guards.base import HospitalGuard
from normfed_client.answering.job import Job
from normfed_client.hospital.bookkeeping.budget import BudgetRules, beyond_study, of_people, refusal
from normfed_client.hospital.bookkeeping.entries import Entry, Kind, Release
from normfed_client.hospital.bookkeeping.ledger import Ledger
from normfed_client.hospital.folder import Hospital
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode, SiteError, UserError
from normfed_common.privacy.mechanisms import SampledGaussian
from normfed_common.privacy.spending import spending
from normfed_common.wire.answers import Answer
from normfed_common.wire.content import content_digest
from normfed_common.wire.counter import Counter
from normfed_common.wire.requests import Count, FineTune, Measure, ScorePeople, Sums, TrainRound

WITHOUT_NOISE = SampledGaussian(0.0)
LEARNING = (TrainRound, FineTune, Sums)
SCORING = (ScorePeople, Count, Measure)


class Budget(HospitalGuard):
    """Enters in the ledger what an answer will spend, and refuses what the budget has not got."""

    def inbound(self, job: Job[Any]) -> None:
        """See `Guard`. What was answered before has the same noise, and costs nothing.

        Raises
        ------
        SiteError
            Also if the ledger cannot be used, or is older than the server or the folders of the runs know.
        """
        rules = self.hospital.config
        rules.check_privacy(job.site.study.privacy)
        with _ledger(self.hospital, job.request.ledger) as ledger:
            if job.kept is not None:
                return
            releases = _releases(job)
            for release in releases:
                why = ledger.reserve(release, partial(_refusal, rules, job), partial(_again, job))
                if why:
                    raise SiteError(SiteCode.BUDGET_SPENT, why)
            if releases:
                self.hospital.mark_ledger(job.request.run)

    def outbound(self, job: Job[Any], answer: Answer, arrays: Arrays) -> tuple[Answer, Arrays]:
        """See `Guard`.

        Raises
        ------
        SiteError
            If the same noise has left over something else: the difference would be without.
        """
        if isinstance(job.payload, (*LEARNING, *SCORING)):
            content = content_digest("{}", job.rows_of(arrays))
            with _ledger(self.hospital) as ledger:
                first = ledger.settle(job.origin, content)
            unknown = not first and job.repeats
            if first != content and not unknown and _has_noise(job):
                raise SiteError(SiteCode.BUDGET_SPENT, f"{job.request.task} of {job.request.arm} {_SECOND}")
        return answer, arrays


def spent_by(job: Job[Any]) -> tuple[SampledGaussian, ...]:
    """What leaves of the people to learn from with the answer to a request; nothing for what is not about them.

    Under differential privacy figures of maps are about them where a site scores with what it learnt without noise.

    Raises
    ------
    SiteError
        If the model has no such training or sums.
    """
    payload, study = job.payload, job.site.study
    if isinstance(payload, SCORING) and study.privacy.epsilon is not None:
        return (WITHOUT_NOISE,) if job.outline.scores_with_people else ()
    if not isinstance(payload, LEARNING):
        return ()
    if isinstance(payload, FineTune) and study.privacy.epsilon is not None:
        return ()  # the model stays, and its loss is not told
    found = job.mechanism(job.phases)
    if isinstance(payload, TrainRound) and not of_people(study.privacy):  # of a person there are many samples
        return (WITHOUT_NOISE,)
    return (WITHOUT_NOISE,) if found is None else (found,)


def _refusal(rules: BudgetRules, job: Job[Any], entries: Sequence[Entry], new: Entry) -> str:
    """A model that the budget has not got to its end is not begun: what its first sums cost would be for nothing."""
    study, release, asked = job.site.study, new.release, new
    of = ("noise", release.run, release.arm)  # what stayed here began nothing
    begun = any((e.release.kind, e.release.run, e.release.arm) == of for e in entries)
    whole = spending(study, job.phases) if release.kind == "noise" and not begun else None
    if whole is not None:
        asked = replace(new, release=replace(release, spent=whole.releases(), what="all that the study asks"))
    return refusal(rules, entries, asked) or beyond_study(study.privacy, entries, new)


_SECOND = (
    "was answered before, and the answer is not kept any more. On a GPU, or with plug-ins, the same work may end in "
    "other digits, and anywhere without somebody whose scans could not be opened for a moment: two answers with the "
    "same noise would tell what is under it. Begin a new run, which has noise of its own where the study has another "
    "seed."
)


def _again(job: Job[Any], entry: Entry) -> str:
    """Why what is entered already must not be worked on once more."""
    if not entry.settled or not _noise_is_used_up(job):
        return ""
    return f"{entry.release.what} of {entry.release.arm} {_SECOND}"


def _noise_is_used_up(job: Job[Any]) -> bool:
    """Whether it is of no use to make an answer once more: it would be another one. Another attempt at a secure sum may
    come to the same."""
    return not job.repeats and job.request.step is None and _has_noise(job)


def _has_noise(job: Job[Any]) -> bool:
    return any(release.kind == "noise" for release in _releases(job))


def _releases(job: Job[Any]) -> list[Release]:
    request = job.request
    what = request.task + (f" {request.turn}" if request.turn else "")
    spent = spent_by(job)
    found: list[Release] = []
    if spent:
        kind: Kind = "without noise" if WITHOUT_NOISE in spent else "noise"
        found.append(Release(job.origin, kind, spent, request.run, request.arm, what))
    trains = isinstance(job.payload, TrainRound | FineTune)
    if trains and (isinstance(job.payload, FineTune) or job.outline.personal):
        found.append(Release(job.origin, "stays", (), request.run, request.arm, what))
    return found


@contextmanager
def _ledger(hospital: Hospital, counter: Counter | None = None) -> Iterator[Ledger]:
    """The ledger; whatever is wrong with it means that nothing is released."""
    try:
        yield hospital.ledger(counter)
    except UserError as error:
        raise SiteError(SiteCode.RECORD_UNUSABLE, str(error)) from error
