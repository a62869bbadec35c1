"""One round with one batch per site, before the first: finds in two minutes what would otherwise break after hours."""

from __future__ import annotations

import time

from flwr.app import Message

from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import RunError, SiteCode, WireError
from normfed_common.foundation.units import MEGABYTE
from normfed_common.wire import offers
from normfed_common.wire.answers import CanaryBack
from normfed_common.wire.compression import expand_update
from normfed_common.wire.messages import error_code, requests, size_of
from normfed_common.wire.offers import Offer
from normfed_common.wire.requests import Canary
from normfed_server.arms.context import RunContext
from normfed_server.arms.plan import Arm
from normfed_server.events.kinds import CanaryDone, CanarySent, Noted, Tried
from normfed_server.sites import claims
from normfed_server.sites.asking import describe


def try_one_batch(context: RunContext, arm: Arm, model: Arrays) -> dict[str, Tried]:
    """Send every training site the model, let it train one batch and send the update; nothing is kept of it.

    Raises
    ------
    RunError
        Naming every site where it does not work, and why.
    """
    nodes = {site: context.roster.nodes[site] for site in arm.train}
    context.events.say(CanarySent(arm=arm.name, sites=tuple(sorted(nodes))))
    header = arm.request(context.letterhead, Canary(compression=arm.compression))
    begin = time.perf_counter()
    found: dict[str, Tried] = {}
    faults: dict[str, str] = {}
    messages = requests(nodes, header, offers.encode(Offer((model,))))
    for site, reply in context.asker.answers(messages, tuple(SiteCode), faults):
        if reply.has_error():
            code = error_code(reply)
            if code.of_consent:  # the rounds ask again
                context.events.say(Noted(arm=arm.name, site=site, text=f"tried no batch: {describe(code)}"))
            else:
                faults[site] = describe(code)
            continue
        try:
            size = size_of(reply) if reply.has_content() else 0
            _check(site, reply, arm, model)
        except WireError as error:
            faults[site] = f"its answer cannot be used: {error}"
            continue
        found[site] = Tried(seconds=time.perf_counter() - begin, megabytes=size / MEGABYTE)
    faults = {site: why for site, why in faults.items() if site not in context.excused()}
    if faults:
        listed = "; ".join(f"{site}: {why}" for site, why in sorted(faults.items()))
        raise RunError(
            f"The canary did not come back from {len(faults)} of {len(nodes)} sites. {listed}. Fix that and resume, "
            f"or go on without a site: normfed server excuse {context.letterhead.run} SITE"
        )
    context.events.say(CanaryDone(arm=arm.name, sites=dict(sorted(found.items()))))
    return found


def _check(site: str, reply: Message, arm: Arm, model: Arrays) -> None:
    """Whether an answer holds what a round's would: a step, and arrays of the model."""
    answer, arrays = claims.read(reply, consume=True)
    if answer.site != site:
        raise WireError("the answer says it is another site's")
    update = expand_update(arrays, model, arm.compression)
    if not update or not answer.told(CanaryBack).steps:
        raise WireError("it holds no update")
    claims.check_arrays(update, {name: array for name, array in model.items() if name in update})
