"""The one Flower Strategy: makes a round's requests from the study and the next model from the answers.

What differs between algorithms is a row of `normfed_common.algorithms.table`, not a subclass.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from normfed_common.algorithms.table import configure
from normfed_common.foundation import arrays as named
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import WireError
from normfed_common.wire import offers
from normfed_common.wire.answers import Answer, Trained
from normfed_common.wire.compression import compress_model, expand_update
from normfed_common.wire.messages import request, size_of, to_record
from normfed_common.wire.offers import Offer
from normfed_common.wire.requests import TrainRound
from normfed_server.arms.plan import Arm
from normfed_server.sites import claims
from normfed_server.sites.letterhead import Letterhead
from normfed_server.steps import shares
from normfed_server.steps.base import Step, Update
from normfed_server.steps.progress import Progress

STANDS_OUT = 10.0  # times what the sites in the middle say: then a site is to blame for a model that is absurd


@dataclass(frozen=True)
class Fault:
    """A round whose next model would be absurd.

    Parameters
    ----------
    what
        Is wrong with it.
    site, why
        The one whose claim stands out from the others', if one does, and which; None if all are alike.
    """

    what: str
    site: str | None = None
    why: str = ""


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
    trained, most_steps
        See `begin`.
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
    shares
        Each site's share of the weights of the next model (of its cluster's) in the last round.
    update_norms
        L2 norm of each update that is in it; of nobody where single sites' losses are not told either.
    fault
        What was wrong with the last round's model, which was not kept then; None if nothing was.
    sent
        Bytes of arrays in the last round's requests.
    """

    def __init__(
        self,
        letterhead: Letterhead,
        arm: Arm,
        progress: Progress,
        personal: frozenset[str],
        step: Step,
    ) -> None:
        self.letterhead, self.arm, self.progress, self.personal, self.step = letterhead, arm, progress, personal, step
        self.federation = letterhead.study.federation
        self.trained: frozenset[str] = frozenset()
        self.most_steps: Callable[[int], int] = int
        self.offers_every_cluster = configure(arm.strategy)[0].offers_every_cluster
        self.asked: dict[str, int] = {}
        self.people: dict[str, int] = {}
        self.refused: dict[str, str] = {}
        self.notes: dict[str, tuple[str, ...]] = {}
        self.seconds: dict[str, float] = {}
        self.shares: dict[str, float] = {}
        self.update_norms: dict[str, float] = {}
        self.fault: Fault | None = None
        self.sent = 0
        self._sizes = [named.norm(model) for model in progress.models]

    def begin(self, trained: frozenset[str], most_steps: Callable[[int], int]) -> None:
        """A round is to begin.

        Parameters
        ----------
        trained
            Names of the arrays that sites train and send back in it; all others stay as they are.
        most_steps
            How many steps of the optimiser so many people can make in it.
        """
        self.trained, self.most_steps = trained, most_steps

    def summary(self) -> None:
        """Nothing to log: the study says it all."""

    def outgoing(self) -> ArrayRecord:
        """All models as they go out, an `Offer`: networks compressed, sums as they are."""
        sums = self.progress.sums
        models = [compress_model(model, self.arm.compression) | sums for model in self.progress.models]
        return to_record(offers.encode(Offer(tuple(models))))

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """A request to every site of ``asked``; sites that are sent the same arrays share one record."""
        self.step.begin(self.progress, self.people)
        beside = to_record(self.step.beside(self.progress))
        models = offers.decode(arrays).models
        if len(self.progress.models) != len(models):
            models = offers.decode(self.outgoing()).models  # the step has just made clusters
        self._sizes = [named.norm(model) for model in self.progress.models]
        records: dict[tuple[int, bool], ArrayRecord] = {}
        messages = []
        for site, node in sorted(self.asked.items()):
            new = site not in self.progress.used
            which = -1 if self.offers_every_cluster else self.progress.clusters.get(site, 0)
            if (which, new) not in records:
                offered = models if which < 0 else (models[which],)
                records[which, new] = self._record(offered, beside, new)
            since = self.progress.used.get(site, 0)
            payload = TrainRound(round=server_round, since=since, compression=self.arm.compression)
            messages.append(request(node, self.arm.request(self.letterhead, payload), records[which, new]))
        self.sent = sum(map(size_of, messages))
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """See `aggregate`; senders are known by their nodes."""
        nodes = {node: site for site, node in self.asked.items()}
        return self.aggregate(server_round, ((nodes[reply.metadata.src_node_id], reply) for reply in replies))

    def aggregate(
        self, server_round: int, answers: Iterable[tuple[str, Message]]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The next global models, and the loss of every site under its name; adds updates as they come.

        A site whose answer breaks the protocol, has other shapes, is not finite or says what cannot be is set aside:
        `refused` says why. A next model that is absurd is not kept: `fault` says why, and there are no arrays.
        """
        self.refused, self.notes, self.seconds, self.shares, self.fault = {}, {}, {}, {}, None
        losses: dict[str, float] = {}
        taken = _Taken(self.step, self.federation.largest_share)
        for site, reply in answers:
            try:
                losses[site] = self._take(site, reply, taken)
            except WireError as error:
                self.refused[site] = str(error)
        record = MetricRecord(dict(sorted(losses.items())))
        if len(losses) < self.step.minimum:
            return None, record
        before = Snapshot(self.progress)
        self.shares = taken.end()
        self.update_norms = taken.update_norms() if self.step.tells_losses else {}
        self.step.end(self.progress)
        self._leave_alone(before)
        what = self._absurd(before)
        if what is not None:
            before.restore(self.progress)
            self.fault = Fault(what, *taken.farthest())
            return None, record
        self.progress.used.update(dict.fromkeys(losses, server_round))
        return self.outgoing(), record

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Models are evaluated once, after the last round, in three steps of their own: nothing here."""
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """See `configure_evaluate`."""
        return None

    def _record(self, models: Sequence[Mapping[str, Array]], beside: Mapping[str, Array], new: bool) -> ArrayRecord:
        """What a site is sent: the model it trains or all of them, the personal part only at the first time."""
        kept = frozenset() if new else self.personal
        sent = tuple({name: array for name, array in model.items() if name not in kept} for model in models)
        return ArrayRecord(offers.encode(Offer(sent, beside)))

    def _take(self, site: str, reply: Message, taken: _Taken) -> float:
        """Hand one answer to the step, and return its loss; keep nothing of it."""
        answer, arrays = claims.read(reply, consume=True)
        taken.add(*self._checked(site, answer, arrays))
        self.notes[site] = answer.notes
        self.seconds |= {site: answer.seconds} if answer.seconds else {}  # a hospital may not say
        loss = answer.told(Trained).loss
        return float("nan") if loss is None or not self.step.tells_losses else loss

    def _leave_alone(self, before: Snapshot) -> None:
        """What the round did not train is what it was, to the last bit, whatever the step made of it."""
        for model, was in zip(self.progress.models, before.models, strict=False):
            model |= {name: array for name, array in was.items() if name not in self.trained}

    def _absurd(self, before: Snapshot) -> str | None:
        """What is wrong with the models and with what the step remembers; None if nothing is."""
        limit = self.federation.largest_update * (max(self._sizes) + 1)
        for number, model in enumerate(self.progress.models):
            length = named.norm(model)
            moved = named.norm(model, before.models[number]) if number < len(before.models) else 0.0
            if not np.isfinite(length):
                return "the next model would not be finite"
            if max(length, moved) > limit:
                return f"the next model's norm would be {length:.3g}, {moved:.3g} from the last; {limit:.3g} is allowed"
        # Squares of updates, and updates divided by the learning rate, are the longest that a step remembers.
        allowed = named.norm(before.memory) + limit**2 + limit / self.federation.learning_rate
        remembered = named.norm(self.progress.memory)
        if not np.isfinite(remembered) or remembered > allowed:
            return f"what the server remembers of the rounds would have a norm of {remembered:.3g}"
        return None

    def _checked(self, site: str, answer: Answer, arrays: Arrays) -> tuple[Update, float]:
        """The update of a site, and its norm.

        Raises
        ------
        WireError
            If it is not one.
        """
        if answer.site != site:
            raise WireError("the answer says it is another site's")
        trained = answer.told(Trained)
        cluster = trained.cluster if self.offers_every_cluster else self.progress.clusters.get(site, 0)
        if cluster >= len(self.progress.models):
            raise WireError(f"the answer is about another model than the {len(self.progress.models)} that there are")
        if answer.subjects < 1:
            raise WireError("the answer says that nobody was trained on")
        people = self.people[site]  # what it said of itself when it came: a weight is not a round's to claim
        claims.check_training(answer, self.step.claims, self.most_steps(people))
        model = {n: a for n, a in self.progress.models[cluster].items() if n in self.trained}
        found = expand_update(arrays, model, self.arm.compression)
        claims.check_arrays(found, model)
        limit = self.federation.largest_update * (self._sizes[cluster] + 1)
        length = named.norm(found, model)
        if not np.isfinite(length) or length > limit:
            raise WireError(f"the update is absurdly large: its norm is {length:.3g}, at most {limit:.3g} is taken")
        kept = {n: a for n, a in self.progress.models[cluster].items() if n not in self.trained}
        return Update(site, people, found | kept, trained.received_loss, trained.steps, cluster), length


class _Taken:
    """The updates of a round on their way to the step: one after another, or at the end if a site's share is bounded.

    Parameters
    ----------
    most
        Of the weights that one site may have.
    """

    def __init__(self, step: Step, most: float) -> None:
        self.step, self.most = step, most
        self._weights: dict[int, dict[str, float]] = {}
        self._said: dict[str, dict[str, float]] = {}
        self._waiting: list[Update] = []

    def add(self, update: Update, length: float) -> None:
        """Take one, whose norm is ``length``."""
        weight = self.step.weight(update)
        self._weights.setdefault(update.cluster, {})[update.site] = weight
        self._said[update.site] = {"update": length, "weight": weight} | {
            name: abs(float(getattr(update, name) or 0)) for name in self.step.claims
        }
        if self.most < 1:
            self._waiting.append(update)
        else:
            self.step.add(update)

    def end(self) -> dict[str, float]:
        """Hand over whatever waits; returns each site's share of its model's weights."""
        if self.most < 1:
            self._weights = {number: shares.limited(those, self.most) for number, those in self._weights.items()}
            for update in self._waiting:
                self.step.add(self.step.reweighted(update, self._weights[update.cluster][update.site]))
            self._waiting = []
        found = [shares.of(those) for those in self._weights.values()]
        return {site: share for those in found for site, share in those.items()}

    def update_norms(self) -> dict[str, float]:
        """L2 norm of each update."""
        return {site: said["update"] for site, said in self._said.items()}

    def farthest(self) -> tuple[str | None, str]:
        """The site whose word is farthest above the others', and how far; None if no one stands out."""
        worst, site, why = STANDS_OUT, None, ""
        for name in next(iter(self._said.values()), {}):
            said = {site: values[name] for site, values in self._said.items()}
            middle = max(statistics.median_low(said.values()), np.finfo(np.float64).tiny)
            largest = max(said, key=lambda site: said[site])
            if said[largest] / middle > worst:
                worst, site = said[largest] / middle, largest
                why = f"its {name.replace('_', ' ')} is {said[largest]:.3g}, in the middle of the sites {middle:.3g}"
        return site, why


class Snapshot:
    """What a round changes, before it does; steps put new arrays in the place of the old, and change none."""

    def __init__(self, progress: Progress) -> None:
        self.models, self.memory, self.clusters = list(progress.models), dict(progress.memory), dict(progress.clusters)

    def restore(self, progress: Progress) -> None:
        progress.models, progress.memory, progress.clusters = self.models, self.memory, self.clusters
