"""A round of a summed phase: the sites' sums are added up, and the model absorbs the total."""

from __future__ import annotations

from functools import partial

from normfed_common.foundation import arrays as named
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import RunError, WireError
from normfed_common.learning.learner import named_sums
from normfed_common.learning.phase import Phase
from normfed_common.wire import messages as wire
from normfed_common.wire import offers
from normfed_common.wire.answers import Answer
from normfed_common.wire.offers import Offer
from normfed_common.wire.requests import Sums
from normfed_server.arms.in_training import ArmInTraining, listed
from normfed_server.sites import claims

Layout = tuple[tuple[str, tuple[int, ...], str], ...]


def add_up(job: ArmInTraining, phase: Phase) -> bool:
    """One round; the sites whose sums are laid out otherwise than most sites' are set aside.

    Returns
    -------
    Whether another round would change nothing that matters.

    Raises
    ------
    RunError
        If nobody sent any, as many sites have one layout as another, or nothing can be made of the total.
    """
    name, of = phase.name, f"{job.arm.name}: the sums of {phase.name}"
    nodes = {site: job.context.roster.nodes[site] for site in job.arm.train}
    header, offer = job.request(Sums(phase=name, iteration=job.progress.turn)), Offer((job.progress.whole()[0],))
    messages = wire.requests(nodes, header, offers.encode(offer))
    missed: dict[str, str] = {}
    totals: dict[Layout, tuple[list[str], Arrays]] = {}
    for site, sums in job.context.asker.heard(messages, partial(_claimed, job, name), missed=missed):
        sites, total = totals.setdefault(_layout(sums), ([], {}))
        sites.append(site)
        totals[_layout(sums)] = sites, named.add([total, sums] if total else [sums])
    ranked = sorted(totals.values(), key=lambda entry: -len(entry[0]))
    if not ranked:
        raise RunError(f"{job.arm.name}: no site sent sums of {name}. {listed(missed)}. Fix that, and resume.")
    if len(ranked) > 1 and len(ranked[0][0]) == len(ranked[1][0]):
        raise RunError(
            f"{of} have other names or shapes at {', '.join(ranked[0][0])} than at {', '.join(ranked[1][0])}, and the "
            "server cannot know who is right. Fix that, and resume."
        )
    for sites, _ in ranked[1:]:
        missed |= dict.fromkeys(sites, "its sums have other names or shapes than those of most sites")
    converged = _absorb(job, name, ranked[0][1])
    job.progress.sums |= named_sums(name, job.model.sums(name))
    job.missed(missed, "not in the sums")
    return converged


def _claimed(job: ArmInTraining, phase: str, site: str, answer: Answer, arrays: Arrays) -> Arrays:
    job.note(site, answer.notes)
    return claims.sums(arrays, job.model, phase, job.context.roster.sites[site].train)


def _absorb(job: ArmInTraining, phase: str, total: Arrays) -> bool:
    """Make of the total what every site will make of it, before it is kept.

    Raises
    ------
    RunError
        If a site could not.
    """
    try:
        return job.model.absorb(phase, total)
    except WireError as error:
        raise RunError(
            f"{job.arm.name}: of the sums of {phase} of all sites no model can be made ({error}), though each "
            "site's alone are possible. Look at what the sites measure, excuse one, and begin a new run."
        ) from error


def _layout(arrays: Arrays) -> Layout:
    """Names, shapes and types: what can be added up has the same."""
    return tuple((name, array.shape, str(array.dtype)) for name, array in sorted(arrays.items()))
