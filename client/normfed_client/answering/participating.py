"""A site's part in the secure sum that a request belongs to: with which sites, under which terms, in whose name, and
beside which sums of earlier runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from normfed_client.answering.job import Job
from normfed_client.hospital.secure_sums import Kept
from normfed_client.hospital.signed_lists import SignedLists
from normfed_common.deployment.node_identity import NodeIdentity
from normfed_common.foundation import digests
from normfed_common.foundation.errors import SiteCode, SiteError, WireError
from normfed_common.secure.adverts import Identity, Unsigned
from normfed_common.secure.participation import Participation, Terms
from normfed_common.study.privacy import SecureAggregationConfig
from normfed_common.wire.secure import SecureStep


def asked_for(job: Job[Any]) -> SecureAggregationConfig:
    """What the study says of its secure sums.

    Raises
    ------
    SiteError
        If it has none.
    """
    found = job.site.study.privacy.secure_aggregation
    if found is None:
        raise SiteError(SiteCode.BAD_REQUEST, "the study has no secure aggregation")
    return found


def step_of(job: Job[Any]) -> SecureStep:
    """The sum that a request belongs to.

    Raises
    ------
    SiteError
        If it belongs to none.
    """
    step = job.request.step
    if step is None:
        raise SiteError(SiteCode.BAD_REQUEST, "a request that belongs to no secure sum")
    return step


def identity_of(job: Job[Any]) -> Identity:
    """In whose name the site signs: its node's. In a simulation one machine plays everybody, and nobody signs."""
    custody = job.config.custody
    if custody is None:
        return Unsigned()
    if custody.node_key is None:
        raise SiteError(SiteCode.INTERNAL, "the site has no key to sign with")
    return NodeIdentity.read(custody.node_key, custody.rules.peers)


def checked(job: Job[Any], kept: Kept | None) -> Kept:
    """What is kept of the step.

    Raises
    ------
    SiteError
        If the step did not begin here, or something else is asked under its name.
    """
    step = step_of(job)
    if kept is None:
        raise SiteError(SiteCode.SECURE_SUM_REFUSED, f"{step.name}: no keys were asked for")
    if kept.context != job.request.context(step):
        raise SiteError(SiteCode.SECURE_SUM_REFUSED, f"{step.name}: the study, the model or the strategy is another")
    return kept


def participation(job: Job[Any], kept: Kept) -> Participation:
    """The site's part, once all keys are known.

    Raises
    ------
    SiteError
        If the sum is over for this site.
    WireError
        If the keys are not the sites' own, or too few.
    """
    if kept.secrets is None or not kept.adverts:
        detail = f"{step_of(job).name}: the sum is over for this site, or its keys were not shared"
        raise SiteError(SiteCode.SECURE_SUM_REFUSED, detail)
    config = asked_for(job)
    terms = Terms(minimum_sites=config.minimum_sites, colluding=config.colluding_sites)
    return Participation.begin(kept.context, kept.advert, kept.secrets, kept.adverts, terms, identity_of(job))


# Sections of a study that a site's part does not depend on, or hardly: two studies that differ in nothing else ask for
# the same part. How it trains is among them: strategies that differ at the server alone, or one more round, or nearly
# the same rate of learning, would else give the same part under another name. The model is that asked about, and the
# seed counts where anything is drawn.
_NOT_OF_PARTS = {
    *("name", "description", "privacy", "comparisons", "evaluation", "postprocessing", "domain_shift"),
    *("initial_model", "strategy", "federation", "model", "seed"),
}


def what_is_summed(job: Job[Any]) -> str:
    """A digest of what a site's part is made of, in whatever run and under whatever strategy; of sums the seed does not
    count either."""
    step, asked = step_of(job), job.request
    drawn = [] if step.of == "train.sums" else [job.site.study.seed, asked.repeat]
    study = job.site.study.model_dump(mode="json", exclude=_NOT_OF_PARTS)
    return digests.of_json([step.name, study, asked.model, drawn])


def signed_lists(job: Job[Any]) -> SignedLists | None:
    """What the hospital remembers of the lists that it signed; None where it need not, for noise hides each person in
    every sum and every difference of sums, or one machine plays everybody."""
    custody, privacy = job.config.custody, job.site.study.privacy
    noisy = privacy.epsilon is not None and privacy.unit == "patient"
    return None if custody is None or noisy else SignedLists(custody.record)


@contextmanager
def refusing(job: Job[Any]) -> Iterator[None]:
    """What the other sites, or the server, got wrong is no reason to go on: the server learns that, and nothing else.

    Raises
    ------
    SiteError
        In the place of `WireError`.
    """
    try:
        yield
    except WireError as error:
        raise SiteError(SiteCode.SECURE_SUM_REFUSED, f"{step_of(job).name}: {error}") from error
