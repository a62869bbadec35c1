"""The last step of strategies that fine-tune: every site trains the model it would be served on, for itself."""

from __future__ import annotations

from flwr.app import Message

from normfed_common.wire import messages as wire
from normfed_common.wire import offers
from normfed_common.wire.offers import Offer
from normfed_common.wire.requests import FineTune
from normfed_server.arms.in_training import ArmInTraining
from normfed_server.sites.closing import Outcome


def fine_tune(job: ArmInTraining) -> None:
    """Ask every site whose updates were used; nothing is made of the answers: each site keeps its model."""
    roster, progress = job.context.roster, job.progress
    messages: dict[str, Message] = {}
    trained = {site: roster.sites[site].train for site in progress.used.keys() & roster.sites.keys()}
    number = progress.round + 1
    present = job.gather(number, lambda: trained)
    missed = job.absences({site: Outcome.ABSENT for site in progress.used if site not in present})
    for site in sorted(progress.used.keys() & present):
        node = {site: roster.nodes[site]}
        header, offer = job.request(FineTune(round=number)), Offer((progress.model_of(site),))
        messages |= wire.requests(node, header, offers.encode(offer))
    for _ in job.context.asker.heard(messages, lambda *_: None, missed=missed):
        pass
    job.missed(missed, "not trained on")
