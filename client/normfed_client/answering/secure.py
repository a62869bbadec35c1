"""What a site does in a secure sum beside training and adding up: keys, shares, one signature, one answer.

Whatever is asked twice is answered the same; whatever else is asked a second time is refused (see `SecureSums`).
"""

from __future__ import annotations

import time

from normfed_client.answering.job import Job
from normfed_client.answering.participating import (
    asked_for,
    checked,
    identity_of,
    participation,
    refusing,
    signed_lists,
    what_is_summed,
)
from normfed_client.hospital.secure_sums import Kept
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import SiteCode, SiteError
from normfed_common.learning.phase import averaged_rounds
from normfed_common.secure.participation import Secrets
from normfed_common.wire.answers import Answer
from normfed_common.wire.secure import (
    KeysMade,
    MakeKeys,
    SecretsShared,
    SecureStep,
    ShareSecrets,
    SignSurvivors,
    SurvivorsSigned,
    Unmask,
    Unmasked,
)


def keys(job: Job[MakeKeys]) -> tuple[Answer, Arrays]:
    """Keys for a step that the study has, and how many people the site's part will be about."""
    asked_for(job)
    _check(job, job.payload.step)
    begin, step, store = time.perf_counter(), job.payload.step, job.secure_sums
    site = job.site.config.name
    if len(job.people) < job.site.minimum:  # refused now, not when others wait for it
        raise SiteError(SiteCode.COHORT_TOO_SMALL, f"{len(job.people)} people")
    with store.alone():
        if store.signed_elsewhere(step):
            raise _refused(step, "a list of survivors is signed in another attempt")
        if job.site.study.privacy.noise_sites > 1 and store.sent_elsewhere(step):
            raise _refused(step, "this site's part was sent in another attempt, and distributed noise covers one sum")
        kept = store.read(step)
        if kept is None:
            secrets, context = Secrets.new(), job.request.context(step)
            advert = secrets.advert(context, site, len(job.people), identity_of(job))
            kept = Kept(context=context, advert=advert, secrets=secrets)
            store.write(step, kept)
            store.forget_secrets(step)
        advert = checked(job, kept).advert
    return Answer(site=site, seconds=time.perf_counter() - begin, payload=KeysMade(advert=advert)), {}


def shares(job: Job[ShareSecrets]) -> tuple[Answer, Arrays]:
    """Shares of the secrets, for the sites whose keys came, once these are found to be their own, and to be in no sum
    that must not be: the hours of training come after."""
    begin, step, store = time.perf_counter(), job.payload.step, job.secure_sums
    sites = [advert.site for advert in job.payload.adverts]
    if (lists := signed_lists(job)) is not None:
        lists.check(what_is_summed(job), sites, asked_for(job).minimum_sites)
    with store.alone(), refusing(job):
        kept = checked(job, store.read(step))
        if kept.adverts not in ((), job.payload.adverts):
            raise _refused(step, "other keys than those that this site shared its secrets with")
        kept = kept.model_copy(update={"adverts": job.payload.adverts})
        boxes = participation(job, kept).shares()
        store.write(step, kept)
    told = SecretsShared(boxes=boxes)
    return Answer(site=job.site.config.name, seconds=time.perf_counter() - begin, payload=told), {}


def survivors(job: Job[SignSurvivors]) -> tuple[Answer, Arrays]:
    """Sign one list of who is in the sum, and no other for the same step."""
    begin, step, store = time.perf_counter(), job.payload.step, job.secure_sums
    with store.alone(), refusing(job):
        kept = checked(job, store.read(step))
        if not kept.signature:
            if not kept.part:
                raise _refused(step, "this site's part was not sent")
            if store.signed_elsewhere(step):
                raise _refused(step, "a list of survivors is signed in another attempt")
            part = participation(job, kept)
            agreed = part.transcript(kept.held.keys(), job.payload.survivors, kept.received)
            if (lists := signed_lists(job)) is not None:
                least = asked_for(job).minimum_sites
                lists.sign(what_is_summed(job), agreed.survivors, least, job.request.run)
            signature = part.identity.sign(agreed.statement())
            kept = kept.model_copy(update={"survivors": agreed.survivors, "signature": signature})
            store.write(step, kept)
        if kept.survivors != tuple(sorted(job.payload.survivors)):
            raise _refused(step, "another list of survivors is signed")
    told = SurvivorsSigned(signature=kept.signature)
    return Answer(site=job.site.config.name, seconds=time.perf_counter() - begin, payload=told), {}


def unmask(job: Job[Unmask]) -> tuple[Answer, Arrays]:
    """One share per site, once enough sites signed the same list; then the secrets are thrown away."""
    begin, step, store = time.perf_counter(), job.payload.step, job.secure_sums
    with store.alone(), refusing(job):
        kept = checked(job, store.read(step))
        if not kept.signature:
            raise _refused(step, "no list of survivors is signed")
        if not kept.revealed:
            part = participation(job, kept)
            agreed = part.transcript(kept.held.keys(), kept.survivors, kept.received)
            revealed = part.reveal(agreed, job.payload.signatures, kept.held)
            kept = kept.model_copy(update={"revealed": revealed}).without_secrets()
            store.write(step, kept)
    told = Unmasked(shares=kept.revealed)
    return Answer(site=job.site.config.name, seconds=time.perf_counter() - begin, payload=told), {}


def _refused(step: SecureStep, why: str) -> SiteError:
    return SiteError(SiteCode.SECURE_SUM_REFUSED, f"{step.name}: {why}")


def _check(job: Job[MakeKeys], step: SecureStep) -> None:
    """Whether the model has such a round, or such sums so often."""
    phases, rounds = job.phases, job.site.study.federation.rounds
    if step.of == "train.round":
        there = not step.phase and 1 <= step.turn <= averaged_rounds(phases, rounds)
    else:
        there = any(p.kind == "summed" and p.name == step.phase and step.turn < p.turns(rounds) for p in phases)
    if not there:
        raise SiteError(SiteCode.BAD_REQUEST, f"the model has no {step.name}")
