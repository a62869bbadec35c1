"""Is what leaves of a round, or of sums, masked where the study says that sums are secure?"""

from __future__ import annotations

from typing import Any

from normfed_client.answering.guards.base import Guard
from normfed_client.answering.job import Job
from normfed_client.answering.participating import asked_for, checked, participation, refusing, step_of
from normfed_client.hospital.secure_sums import Kept
from normfed_common.algorithms.secure import check_distributed_noise
from normfed_common.foundation import digests
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode, SiteError, StudyError
from normfed_common.secure import parts
from normfed_common.secure.fixed_point import FixedPoint, RangeError, WidePoint
from normfed_common.secure.participation import Participation, of_received
from normfed_common.secure.parts import OnGrid
from normfed_common.wire import offers
from normfed_common.wire.answers import Answer, Trained
from normfed_common.wire.requests import Sums, TrainRound


class Masked(Guard):
    """Refuses what is asked in the clear, and masks what the guards before have left of an answer: noise is in it.

    In a simulation what is asked in the clear is answered so: the models that one site trains alone are no sums.
    """

    def inbound(self, job: Job[Any]) -> None:
        """See `Guard`; before the hours of training it is certain that the answer can be masked."""
        payload = job.payload
        if not isinstance(payload, TrainRound | Sums):
            return
        if payload.secure is None:
            if job.site.study.privacy.secure_aggregation is not None and job.site.custody is not None:
                raise SiteError(SiteCode.SECURE_SUM_REFUSED, f"{job.request.task}: asked for in the clear")
            return
        asked_for(job)
        _check_noise(job)
        if isinstance(payload, TrainRound) and payload.compression != "none":
            raise SiteError(SiteCode.BAD_REQUEST, "a masked update cannot be compressed")
        if job.kept is not None:
            return
        step, store = step_of(job), job.secure_sums
        received = of_received(job.arrays, frozenset() if job.of_cohorts else job.outline.personal)
        with store.alone(), refusing(job):
            kept = checked(job, store.read(step))
            held = participation(job, kept).open(payload.secure.boxes)
            if kept.held and (kept.held != held or kept.received != received):
                detail = f"{step.name}: other shares, or another model, than this attempt began with"
                raise SiteError(SiteCode.SECURE_SUM_REFUSED, detail)
            store.write(step, kept.model_copy(update={"held": held, "received": received}))

    def outbound(self, job: Job[Any], answer: Answer, arrays: Arrays) -> tuple[Answer, Arrays]:
        """See `Guard`."""
        payload = job.payload
        if not isinstance(payload, TrainRound | Sums) or payload.secure is None:
            return answer, arrays
        step, store = step_of(job), job.secure_sums
        with store.alone(), refusing(job):
            kept = checked(job, store.read(step))
            participant = participation(job, kept)
            part = _part(job, answer, arrays, kept, participant)
            content = digests.of_arrays("", part)
            if kept.part not in ("", content):
                # Masked alike, the difference of two answers would be in the clear.
                raise SiteError(SiteCode.SECURE_SUM_REFUSED, f"{step.name}: another answer than the first")
            store.write(step, kept.model_copy(update={"part": content}))
        whole = isinstance(payload, TrainRound) and job.noise_share is None
        bits = parts.ROUND_BITS if whole else parts.SUMS_BITS
        vector = parts.flat(part, bits)
        participant.mask(vector, kept.held.keys(), kept.received)
        if isinstance(answer.payload, Trained):
            answer = answer.model_copy(update={"payload": answer.payload.model_copy(update={"loss": None})})
        return answer, parts.shaped(vector, parts.layout(part))


def _part(job: Job[Any], answer: Answer, arrays: Arrays, kept: Kept, participant: Participation) -> Arrays:
    """The answer as integers.

    Raises
    ------
    SiteError
        If a number is beyond the range, or the people are others than the site signed for.
    """
    config, sites, people = asked_for(job), len(kept.adverts), kept.advert.people
    if answer.subjects != people:
        detail = f"{answer.subjects} people are in the answer; the site signed for {people}"
        raise SiteError(SiteCode.SECURE_SUM_REFUSED, detail)
    try:
        if isinstance(answer.payload, Trained) and job.noise_share is not None:
            return parts.of_gradients(arrays, people, job.noise_share.grid(arrays))
        if isinstance(answer.payload, Trained):
            point = FixedPoint(parts.ROUND_BITS, config.largest_change, sites)
            base, loss = offers.decode(job.arrays).model, answer.payload.loss
            return parts.of_update(arrays, base, people, participant.most_people, loss, point)
        if job.site.study.federation.sums == "by-site" and not job.of_cohorts:
            arrays = {name: array / people for name, array in arrays.items()}
        return parts.of_sums(arrays, people, WidePoint(parts.SUMS_BITS, config.largest_sum, sites), _grid(job))
    except RangeError as error:
        which = "largest_change" if isinstance(answer.payload, Trained) else "largest_sum"
        raise SiteError(SiteCode.OUT_OF_RANGE, f"{which}: {error}") from error


def _check_noise(job: Job[Any]) -> None:
    """Refuse a part that distributed noise does not hide anybody in, whatever let the study through.

    Raises
    ------
    SiteError
        If so.
    """
    if job.of_cohorts:  # sums over people of rows of one length
        return
    try:
        check_distributed_noise(job.site.study, job.request.model, job.request.strategy)
    except StudyError as error:
        raise SiteError(SiteCode.STUDY_REFUSED, str(error)) from error


def _grid(job: Job[Sums]) -> OnGrid:
    """Which of the sums have distributed noise, and on what grid."""
    share = job.noise_share
    if share is None:
        return parts.NO_GRID
    model = job.learner()
    model.load(offers.decode(job.arrays).model)
    bounded = model.bounded(job.payload.phase)
    assert bounded is not None  # as the sums were made of it
    return share.grid(bounded.shapes())
