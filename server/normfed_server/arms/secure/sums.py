"""A round of a summed phase whose sums are masked: the model absorbs the total, which is all that the server sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import RunError, WireError
from normfed_common.learning.learner import named_sums
from normfed_common.learning.phase import Phase
from normfed_common.secure import parts
from normfed_common.secure.fixed_point import WidePoint
from normfed_common.secure.parts import Layout
from normfed_common.wire import messages as wire
from normfed_common.wire import offers
from normfed_common.wire.answers import Answer, Summed
from normfed_common.wire.offers import Offer
from normfed_common.wire.requests import Sums
from normfed_common.wire.secure import SecureStep
from normfed_server.arms.in_training import ArmInTraining
from normfed_server.arms.secure.exchange import SecureSum, Total
from normfed_server.arms.secure.gathering import OfSums
from normfed_server.arms.sums import absorb, by_site, in_total, noise_of, repaired, share_of
from normfed_server.sites import claims


def add_up_masked(job: ArmInTraining, phase: Phase, path: Path) -> bool:
    """One round; see `normfed_server.arms.sums.add_up`.

    Parameters
    ----------
    path
        Of the progress of a secure sum.

    Returns
    -------
    Whether another round would change nothing that matters.

    Raises
    ------
    RunError
        If too few sites took part, or nothing can be made of the total.
    """
    name, turn = phase.name, job.progress.turn
    gathering = OfSums(job)
    step = SecureStep(of="train.sums", phase=name, turn=turn)
    what = f"{job.arm.name}: the sums of {name}"
    found = SecureSum(job, step, path, parts.SUMS_BITS, gathering, what)
    found.begin({site: job.people(site) for site in job.arm.train})
    if not found.survivors:
        nodes = {site: job.context.roster.nodes[site] for site in found.sharers}
        header, offer = job.request(Sums(phase=name, iteration=turn)), Offer((job.progress.whole()[0],))
        messages = wire.requests(nodes, header, offers.encode(offer))
        found.gather({site: found.masked(site, message) for site, message in messages.items()}, _check, lambda _: True)
    total = found.total()
    for site, answer in sorted(total.answers.items()):
        job.note(site, answer.notes)
    converged = absorb(job, name, _believed(job, name, total))
    job.progress.sums |= named_sums(name, job.model.sums(name))
    gone = set(job.arm.train) - set(total.people) - set(gathering.missed)
    job.missed(
        job.refusals() | gathering.missed | dict.fromkeys(gone, "dropped out of the secure sum"), "not in the sums"
    )
    return converged


def _check(site: str, answer: Answer, layout: Layout) -> None:
    """See `SecureSum.gather`; what the sums are of, only the total says."""
    answer.told(Summed)
    if parts.PEOPLE not in {name for name, _, _ in layout}:
        raise WireError("it has no number of people")


def _believed(job: ArmInTraining, phase: str, total: Total) -> Arrays:
    """The total as if of all people, once it is known to be possible for them.

    Raises
    ------
    RunError
        If it is not: whose sums are to blame nobody can know.
    """
    config, share = job.study.privacy.secure_aggregation, share_of(job, "sums")
    point = WidePoint(parts.SUMS_BITS, config.largest_sum if config else 1.0, total.sites)
    shape = job.model.bounded(phase) if share is not None else None
    grid = parts.NO_GRID if share is None or shape is None else share.grid(shape.shapes())
    sums = parts.total_sums(total.arrays, point, grid)
    if job.sums_by == "by-site":
        sums = {name: np.asarray(array * (total.everybody / len(total.people))) for name, array in sums.items()}
    factors = by_site(total.people) if job.sums_by == "by-site" else dict.fromkeys(total.people, 1.0)
    noise = in_total(noise_of(job) if share is None else share.scale, factors)
    try:
        return repaired(job, phase, claims.sums(sums, job.model, phase, total.everybody, noise), noise)
    except WireError as error:
        raise RunError(
            f"{job.arm.name}: the sums of {phase} of {', '.join(total.people)} together are not possible ({error}), "
            "and a secure sum does not say whose part is to blame. Look at what the sites measure, excuse one, and "
            "begin a new run."
        ) from error
