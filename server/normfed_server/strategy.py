"""The one Flower Strategy: makes a round's requests from the study and the next model from the answers.

What differs between algorithms is a row of `normfed_common.algorithms.table`, not a subclass.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from normfed_common import arrays as named
from normfed_common.arrays import Arrays
from normfed_common.errors import WireError
from normfed_common.wire.compression import compress_model, expand_update
from normfed_common.wire.messages import Answer, decode_answer, request, size_of, to_record
from normfed_server.checkpoints import Progress
from normfed_server.letterhead import Letterhead
from normfed_server.plan import Arm
from normfed_server.steps.base import Step, Update


class RoundStrategy(Strategy):
    """One arm's rounds.

    Parameters
    ----------
    progress
        What the rounds change: the models, what the server step remembers, whose updates were used.
    personal
        Names of the arrays that stay at the sites: sent once, as first weights, to a site that has none yet.

    Attributes
    ----------
    asked
        Sites to ask in the next round, and their nodes.
    people
        All sites that train this arm, and their training people.
    refused
        Site to the reason why its answer to the last round was not used.
    notes
        What each site said of the method in the last round.
    seconds
        What each site took for the last round by its own clock.
    sent
        Bytes of arrays in the last round's requests.
    """

    def __init__(
        self, letterhead: Letterhead, arm: Arm, progress: Progress, personal: frozenset[str], step: Step
    ) -> None:
        self.letterhead, self.arm, self.progress, self.personal, self.step = letterhead, arm, progress, personal, step
        self.asked: dict[str, int] = {}
        self.people: dict[str, int] = {}
        self.refused: dict[str, str] = {}
        self.notes: dict[str, tuple[str, ...]] = {}
        self.seconds: dict[str, float] = {}
        self.sent = 0
        self._sizes = [named.norm(model) for model in progress.models]

    def summary(self) -> None:
        """Nothing to log: the study says it all."""

    def outgoing(self) -> ArrayRecord:
        """All models as they go out, ``0/name``, ``1/name``, ..."""
        models = [compress_model(model, self.arm.compression) for model in self.progress.models]
        return to_record(named.stacked(models))

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """A request to every site of ``asked``; sites that are sent the same arrays share one record."""
        self.step.begin(self.progress, self.people)
        beside = to_record(self.step.beside(self.progress))
        if len(self.progress.models) != len({name.partition("/")[0] for name in arrays}):
            arrays = self.outgoing()  # the step has just made clusters
        self._sizes = [named.norm(model) for model in self.progress.models]
        records: dict[tuple[int, bool], ArrayRecord] = {}
        messages = []
        for site, node in sorted(self.asked.items()):
            new = site not in self.progress.used
            which = -1 if self.step.offers_all else self.progress.clusters.get(site, 0)
            if (which, new) not in records:
                records[which, new] = self._record(arrays, beside, which, new)
            header = self.letterhead.request(
                self.arm,
                compression=self.arm.compression,
                round=server_round,
                since=self.progress.used.get(site, 0),
            )
            messages.append(request("train.round", node, header, records[which, new]))
        self.sent = sum(map(size_of, messages))
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The next global models, and the loss of every site under its name; adds updates as they come.

        A site whose answer breaks the protocol, has other shapes, is not finite or absurdly large is set aside:
        `refused` says why.
        """
        self.refused, self.notes, self.seconds = {}, {}, {}
        losses: dict[str, float] = {}
        for reply in replies:
            site = self._sender(reply)
            try:
                losses[site] = self._take(site, reply)
            except WireError as error:
                self.refused[site] = str(error)
        used = dict.fromkeys(losses, server_round)
        if len(used) < self.step.minimum:
            return None, MetricRecord(dict(sorted(losses.items())))
        self.step.end(self.progress)
        self.progress.used.update(used)
        return self.outgoing(), MetricRecord(dict(sorted(losses.items())))

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Models are evaluated once, after the last round, in three steps of their own: nothing here."""
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """See `configure_evaluate`."""
        return None

    def _record(self, arrays: ArrayRecord, beside: ArrayRecord, which: int, new: bool) -> ArrayRecord:
        """What a site is sent: the model it trains (-1: all of them), its personal part only at the first time."""
        chosen = {}
        for name, array in arrays.items():
            number, _, rest = name.partition("/")
            if which >= 0 and int(number) != which:
                continue
            if rest not in self.personal or new:
                chosen[name if which < 0 else rest] = array
        return ArrayRecord({**chosen, **dict(beside.items())})

    def _take(self, site: str, reply: Message) -> float:
        """Hand one answer to the step, and gives its loss; keeps nothing of it."""
        answer, arrays = decode_answer(reply, consume=True)
        self.step.add(self._checked(site, answer, arrays))
        self.notes[site], self.seconds[site] = answer.notes, answer.seconds
        return float("nan") if answer.loss is None else answer.loss

    def _sender(self, reply: Message) -> str:
        nodes = {node: site for site, node in self.asked.items()}
        return nodes[reply.metadata.src_node_id]

    def _checked(self, site: str, answer: Answer, arrays: Arrays) -> Update:
        """The update of a site.

        Raises
        ------
        WireError
            If it is not one.
        """
        if answer.site != site:
            raise WireError("the answer says it is another site's")
        cluster = answer.cluster if self.step.offers_all else self.progress.clusters.get(site, 0)
        if cluster >= len(self.progress.models):
            raise WireError(f"the answer is about model {cluster} of {len(self.progress.models)}")
        if answer.subjects < 1:
            raise WireError("the answer says that nobody was trained on")
        model = {n: a for n, a in self.progress.models[cluster].items() if n not in self.personal}
        found = expand_update(arrays, model, self.arm.compression)
        _check_shapes(found, model)
        limit = self.letterhead.study.federation.largest_update * (self._sizes[cluster] + 1)
        length = named.norm(found, model)
        if not np.isfinite(length) or length > limit:
            raise WireError(f"the update is absurdly large: its norm is {length:.3g}, at most {limit:.3g} is taken")
        kept = {name: self.progress.models[cluster][name] for name in self.personal}
        people = self.people[site]  # what it said of itself when it came: a weight is not a round's to claim
        return Update(site, people, found | kept, answer.received_loss, answer.steps, cluster)


def _check_shapes(arrays: Arrays, model: Arrays) -> None:
    if set(arrays) != set(model):
        strange = sorted(set(arrays) ^ set(model))
        raise WireError(f"it has other arrays than the model: {', '.join(strange[:5])}")
    for name, array in arrays.items():
        if array.shape != model[name].shape or array.dtype != model[name].dtype:
            raise WireError(f"{name} is {array.dtype} of shape {array.shape}, not of {model[name].shape}")
