"""A round of a summed phase: the sites' sums are added up, and the model absorbs the total.

By people nothing is weighted, so that the total is that of all people in one place. Otherwise a site of n people whose
share of the weights is w has its sums multiplied by w N / n, N the people of all sites that are in the total: by site
every w is alike, and a model learns as much from each site, however many its people. A share above
`federation.largest_share` is cut, as it is in a round of training. n is what the site has told, and what it counts in
its sums is held against that (see `claims`).

Where the study asks for privacy, every site's sums have noise in them, some of which cancels in the total. Only then
is the total made one that people can have (see `normfed_common.learning.bounded`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

from normfed_common.foundation import arrays as named
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import RunError, WireError
from normfed_common.learning.learner import named_sums
from normfed_common.learning.phase import Phase
from normfed_common.privacy.distributed import NoiseShare
from normfed_common.privacy.spending import Kind, spending
from normfed_common.study.federation import SumsBy
from normfed_common.wire import messages as wire
from normfed_common.wire import offers
from normfed_common.wire.answers import Answer
from normfed_common.wire.offers import Offer
from normfed_common.wire.requests import Sums
from normfed_server.arms.in_training import ArmInTraining, listed
from normfed_server.sites import claims
from normfed_server.steps import shares

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
    totals: dict[Layout, Total] = {}
    noise = noise_of(job)
    for site, sums in job.context.asker.heard(messages, partial(_claimed, job, name, noise), missed=missed):
        total = totals.setdefault(_layout(sums), Total(job.sums_by, job.study.federation.largest_share))
        total.add(site, sums, job.people(site))
    ranked = sorted(totals.values(), key=lambda total: -len(total.people))
    if not ranked:
        raise RunError(f"{job.arm.name}: no site sent sums of {name}. {listed(missed)}. Fix that, and resume.")
    if len(ranked) > 1 and len(ranked[0].people) == len(ranked[1].people):
        raise RunError(
            f"{of} have other names or shapes at {', '.join(ranked[0].people)} than at {', '.join(ranked[1].people)}, "
            "and the server cannot know who is right. Fix that, and resume."
        )
    for other in ranked[1:]:
        missed |= dict.fromkeys(other.people, "its sums have other names or shapes than those of most sites")
    converged = absorb(job, name, repaired(job, name, ranked[0].arrays(), in_total(noise, ranked[0].factors())))
    job.progress.sums |= named_sums(name, job.model.sums(name))
    job.missed(job.refusals() | missed, "not in the sums")
    return converged


class Total:
    """Sums of one layout, weighted as the study says. Only where a bound on shares asks for it are all held together.

    Attributes
    ----------
    people
        Site to its training people, of the sites that are in it.
    """

    def __init__(self, by: SumsBy, largest_share: float) -> None:
        self.by, self.largest_share = by, largest_share
        self.people: dict[str, int] = {}
        self._held: dict[str, Arrays] = {}
        self._total: Arrays = {}

    def add(self, site: str, sums: Arrays, people: int) -> None:
        """Take a site's sums."""
        self.people[site] = people
        if self.by == "by-people" and self.largest_share < 1:
            self._held[site] = sums
            return
        mine = sums if self.by == "by-people" else _times(sums, 1 / people)
        self._total = named.add([self._total, mine] if self._total else [mine])

    def arrays(self) -> Arrays:
        """The total, as if of all people: the weights of its sites sum to their number."""
        if self.by == "by-site":
            return _times(self._total, sum(self.people.values()) / len(self.people))
        if not self._held:
            return self._total
        return named.add(_times(self._held[site], factor) for site, factor in self.factors().items())

    def factors(self) -> dict[str, float]:
        """By what each site's sums are multiplied in the total."""
        if self.by == "by-site":
            return by_site(self.people)
        everybody = sum(self.people.values())
        if self.largest_share == 1:
            return dict.fromkeys(self.people, 1.0)
        shared = shares.of(shares.limited(self.people, self.largest_share))
        return {site: w * everybody / self.people[site] for site, w in shared.items()}


def by_site(people: Mapping[str, int]) -> dict[str, float]:
    """By what sites' sums are multiplied so that all weigh the same, and together as all their people."""
    everybody = sum(people.values())
    return {site: everybody / len(people) / of for site, of in people.items()}


def _times(sums: Arrays, factor: float) -> Arrays:
    return {name: array * factor for name, array in sums.items()}


def _claimed(job: ArmInTraining, phase: str, noise: float | None, site: str, answer: Answer, arrays: Arrays) -> Arrays:
    job.note(site, answer.notes)
    return claims.sums(arrays, job.model, phase, job.people(site), noise)


def noise_of(job: ArmInTraining) -> float | None:
    """In every entry of the contributions of a site that adds all noise; None where the study asks for no privacy."""
    spent = spending(job.study, job.model.phases())
    return None if spent is None or spent.sums is None else spent.sums.noise_multiplier


def share_of(job: ArmInTraining, kind: Kind) -> NoiseShare | None:
    """What each site adds of the noise of a secure sum; None where each adds all of it, or none."""
    spent = spending(job.study, job.model.phases())
    release = None if spent is None else spent.by_kind().get(kind)
    return None if release is None or release.sites == 1 else NoiseShare.of(release)


def in_total(noise: float | None, factors: Mapping[str, float]) -> float | None:
    """The same in the total of sites whose sums are multiplied by these factors."""
    return None if noise is None else noise * math.hypot(*factors.values())


def repaired(job: ArmInTraining, phase: str, total: Arrays, noise: float | None) -> Arrays:
    """The total, with whatever noise made impossible made possible; ``noise`` is that in the total."""
    bounded = None if noise is None else job.model.bounded(phase)
    return total if noise is None or bounded is None else bounded.repaired(total, noise)


def absorb(job: ArmInTraining, phase: str, total: Arrays) -> bool:
    """Make of the total what every site will make of it, before it is kept.

    Raises
    ------
    RunError
        If a site could not.
    """
    try:
        return job.model.absorb(phase, total)
    except (WireError, ArithmeticError, LookupError, ValueError) as error:
        raise RunError(
            f"{job.arm.name}: of the sums of {phase} of all sites no model can be made ({error}), though each "
            "site's alone are possible. Look at what the sites measure, excuse one, and begin a new run."
        ) from error


def _layout(arrays: Arrays) -> Layout:
    """Names, shapes and types: what can be added up has the same."""
    return tuple((name, array.shape, str(array.dtype)) for name, array in sorted(arrays.items()))
