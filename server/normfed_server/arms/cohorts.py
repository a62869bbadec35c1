"""Ask the sites for statistics of their cohorts: sums like a model's, kept by site where they come in the clear."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from normfed_common.algorithms.arms import POOLED
from normfed_common.foundation import arrays as named
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import RunError, SiteCode, WireError
from normfed_common.learning.bounded import PEOPLE
from normfed_common.learning.setting import Setting
from normfed_common.statistics.learner import CohortStatistics
from normfed_common.statistics.names import ARM, ENTRY, PHASE
from normfed_common.study.roles import ROLES
from normfed_common.wire import messages as wire
from normfed_common.wire import offers
from normfed_common.wire.answers import Answer, Summed
from normfed_common.wire.messages import error_code
from normfed_common.wire.offers import Offer
from normfed_common.wire.requests import Sums
from normfed_server.arms.context import RunContext
from normfed_server.arms.in_training import ArmInTraining, listed
from normfed_server.arms.plan import Arm
from normfed_server.arms.secure.planning import is_masked
from normfed_server.arms.secure.progress import FILE
from normfed_server.arms.secure.sums import add_up_masked
from normfed_server.arms.sums import noise_of, repaired, share_of
from normfed_server.sites import claims
from normfed_server.sites.asking import describe
from normfed_server.sites.secure import check_enough
from normfed_server.steps.progress import Progress

# The site's own business: others are counted without it, in a simulation too.
REFUSALS = (
    SiteCode.COHORT_TOO_SMALL,
    SiteCode.TOO_CLOSE_TO_EARLIER,
    SiteCode.NO_STATISTICS,
    SiteCode.COHORT_NOT_LOOKED_AT,
)


@dataclass(frozen=True)
class Cohorts:
    """What the sites told.

    Parameters
    ----------
    sites
        Site to its tables (see `normfed_common.statistics.learner`); nobody's where sums are secure.
    merged
        Of all sites together.
    missed
        Site to why it is not in them.
    too_few
        Of these, the sites with fewer people than their minimum.
    noise
        Standard deviation, in people, of the noise in a bin of one site's tables and of the merged ones; 0 for none.
    """

    sites: dict[str, Arrays]
    merged: Arrays
    missed: dict[str, str]
    noise: tuple[float, float] = (0.0, 0.0)
    too_few: frozenset[str] = frozenset()


def gathered(context: RunContext, folder: Path, deployed: bool) -> Cohorts:
    """Statistics of every site that has anybody to tell of.

    Parameters
    ----------
    folder
        Of the arm, for the progress of a secure sum.
    deployed
        Whether sites are hospitals.

    Raises
    ------
    RunError
        If no site told any, or too few for a secure sum.
    StudyError
        If so few sites were asked.
    """
    described = {name: site for name, site in context.roster.sites.items() if name != POOLED}
    some = {n: any(getattr(site, role) > 0 for role in ROLES) for n, site in described.items()}
    asked = tuple(sorted(name for name, there in some.items() if there))
    without = {name: "has too few people to tell of" for name, there in some.items() if not there}
    learner = CohortStatistics(context.study, Setting.of(context.study))
    job = ArmInTraining(Arm(ARM, ENTRY, asked, {}), learner, context, Progress([{}]))
    if context.study.privacy.secure_aggregation is not None:
        check_enough(context.study, asked, deployed)
    if is_masked(context.study, job.arm):
        folder.mkdir(parents=True, exist_ok=True)
        add_up_masked(job, learner.phases()[0], folder / FILE)
        share = share_of(job, "sums")
        one = noise_of(job) or 0.0
        sites = len(asked) - len(job.progress.missed)
        scale = (one if share is None else share.scale) * learner.bounded(PHASE).unit
        missed = without | job.progress.missed
        return Cohorts({}, learner.sums(PHASE), missed, (scale, scale * sites**0.5), frozenset(without))
    return _in_the_clear(job, learner, without)


def _in_the_clear(job: ArmInTraining, learner: CohortStatistics, without: dict[str, str]) -> Cohorts:
    nodes = {site: job.context.roster.nodes[site] for site in job.arm.train}
    messages = wire.requests(nodes, job.request(Sums(phase=PHASE)), offers.encode(Offer(({},))))
    missed, totals, noise = dict(without), dict[str, Arrays](), noise_of(job)
    too_few = set(without)
    for site, reply in job.context.asker.answers(messages, REFUSALS, missed):
        if reply.has_error():
            missed[site] = describe(error_code(reply))
            too_few |= {site} if error_code(reply) is SiteCode.COHORT_TOO_SMALL else set()
            continue
        try:
            totals[site] = _claimed(job, learner, noise, site, *claims.read(reply))
        except WireError as error:
            missed[site] = f"its answer cannot be used: {error}"
    if not totals:
        raise RunError(f"No site told statistics of its cohort. {listed(missed)}. Fix that, and ask again.")
    merged = repaired(job, PHASE, named.add(totals.values()), noise)
    sites = {site: repaired(job, PHASE, total, noise) for site, total in totals.items()}
    scale = (noise or 0.0) * learner.bounded(PHASE).unit
    return Cohorts(sites, merged, missed, (scale, scale * len(sites) ** 0.5), frozenset(too_few))


def _claimed(
    job: ArmInTraining, learner: CohortStatistics, noise: float | None, site: str, answer: Answer, arrays: Arrays
) -> Arrays:
    """A site's tables, once they are known to be possible.

    Raises
    ------
    WireError
        If they are not, or are of more people than the site has.
    """
    answer.told(Summed)
    if answer.site != site:
        raise WireError("the answer says it is another site's")
    found = claims.sums(arrays, learner, PHASE, job.people(site), noise)
    if float(found[PEOPLE]) > job.people(site):
        raise WireError(f"it counts {float(found[PEOPLE]):g} people; it has {job.people(site)}")
    return found
