"""A round of an averaged phase whose updates are masked: the server step is handed one update, their mean.

That is all that a linear step needs. The mean is weighted by people as without masks; a step cannot tell it from the
update of one site with everybody's people. Where noise is distributed the parts are sums of gradients, and the mean is
the step that everybody's people together would make.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord

from normfed_common.foundation.errors import WireError
from normfed_common.learning.phase import Phase
from normfed_common.privacy.distributed import NoiseShare
from normfed_common.secure import parts
from normfed_common.secure.fixed_point import FixedPoint
from normfed_common.secure.keystream import TYPES, Bits
from normfed_common.secure.parts import Layout
from normfed_common.wire.answers import Answer, Trained
from normfed_common.wire.messages import size_of
from normfed_common.wire.secure import SecureStep
from normfed_server.arms.in_training import ArmInTraining
from normfed_server.arms.rounds import AveragedRounds
from normfed_server.arms.secure.exchange import SecureSum, Total
from normfed_server.arms.secure.gathering import OfRound
from normfed_server.arms.strategy import Fault, RoundStrategy, Snapshot
from normfed_server.arms.sums import share_of
from normfed_server.sites import claims
from normfed_server.sites.closing import Closing
from normfed_server.steps import shares
from normfed_server.steps.base import Step, Update

EVERYBODY = "all sites"  # whose update the mean is


class MaskedRounds(AveragedRounds):
    """See the module.

    Parameters
    ----------
    path
        Of the progress of a secure sum.
    """

    def __init__(self, job: ArmInTraining, personal: frozenset[str], step: Step, path: Path) -> None:
        super().__init__(job, personal, step)
        self.path = path
        self.strategy: MeanStrategy = MeanStrategy(job.context.letterhead, job.arm, job.progress, personal, step)
        self.strategy.share = share_of(job, "rounds")

    def run(self, phase: Phase) -> dict[str, Any]:
        """See `AveragedRounds.run`."""
        self.strategy.people_per_sample = self.job.model.people_per_sample(phase.name)
        return super().run(phase)

    def _collect(
        self, round: int, closing: Closing, arrivals: dict[str, float] | None
    ) -> tuple[ArrayRecord | None, dict[str, Any], OfRound]:
        """Have the strategy's sites exchange keys, train, and answer masked; hand the strategy the mean."""
        gathering = OfRound(self.job, round, closing, arrivals)
        what = f"Round {round} of {self.job.arm.name}"
        step = SecureStep(of="train.round", turn=round)
        found = SecureSum(self.job, step, self.path, self.strategy.bits, gathering, what)
        people = {site: self.strategy.people[site] for site in self.strategy.asked}
        found.begin(people)
        nodes = self.job.context.roster.nodes
        self.strategy.asked = {site: nodes[site] for site in found.sharers}
        outgoing = self._outgoing or self.strategy.outgoing()
        grid = self.job.context.asker.grid
        messages = self.strategy.configure_train(round, outgoing, ConfigRecord(), grid)
        if not found.survivors:
            masked = {s: found.masked(s, m) for s, m in zip(sorted(self.strategy.asked), messages, strict=True)}
            self.strategy.sent = sum(map(size_of, masked.values()))
            if not found.gather(masked, self.strategy.check, gathering.enough):
                return None, {}, gathering
        gathering.close(people, found.survivors)
        next_outgoing, losses = self.strategy.take(round, found.total())
        return next_outgoing, losses, gathering


class MeanStrategy(RoundStrategy):
    """The next model of the mean of masked updates; or of the sum of masked gradients, where noise is distributed.

    Attributes
    ----------
    share
        What each site adds of the noise; None where each adds all of it.
    people_per_sample
        Of the phase.
    """

    share: NoiseShare | None = None
    people_per_sample = 1

    @property
    def bits(self) -> Bits:
        """Of the integers of a part."""
        return parts.ROUND_BITS if self.share is None else parts.SUMS_BITS

    def check(self, site: str, answer: Answer, layout: Layout) -> None:
        """What a site says, and the form of its part.

        Raises
        ------
        WireError
            If it cannot be.
        """
        if answer.subjects != self.people[site]:
            raise WireError(f"it says that {answer.subjects} people were trained on; {self.people[site]} are counted")
        claims.check_training(answer, self.step.claims, self.most_steps(self.people[site]))
        number = np.zeros((), TYPES[self.bits])
        like = {n: np.broadcast_to(number, a.shape) for n, a in self._base().items()} | {parts.PEOPLE: number}
        if layout not in (parts.layout(like), parts.layout(like | {parts.LOSS: np.broadcast_to(number, (2,))})):
            raise WireError("it has other names or shapes than the model")

    def take(self, round: int, total: Total) -> tuple[ArrayRecord | None, dict[str, float]]:
        """The next global model, and the mean loss under every survivor's name; see `RoundStrategy.aggregate`."""
        self.refused, self.fault = {}, None
        self.notes = {site: answer.notes for site, answer in total.answers.items()}
        self.seconds = {site: answer.seconds for site, answer in total.answers.items() if answer.seconds}
        self.shares = shares.of(total.people)
        config = self.letterhead.study.privacy.secure_aggregation
        point = FixedPoint(parts.ROUND_BITS, config.largest_change if config else 1.0, total.sites)
        weights = total.everybody, total.most_people
        if self.share is None:
            mean = parts.mean_update(total.arrays, self._base(), *weights, point)
        else:
            grid = self.share.grid(self._base())
            mean = parts.mean_step(total.arrays, self._base(), self._rate(total.everybody), grid)
        losses = dict.fromkeys(total.people, parts.mean_loss(total.arrays, *weights, point))
        before = Snapshot(self.progress)
        kept = {name: array for name, array in self.progress.models[0].items() if name not in self.trained}
        steps = max(answer.told(Trained).steps for answer in total.answers.values())
        self.step.add(Update(EVERYBODY, total.everybody, mean | kept, steps=steps))
        self.step.end(self.progress)
        self._leave_alone(before)
        what = self._absurd(before)
        if what is not None:
            before.restore(self.progress)
            self.fault = Fault(what)  # whose fault it is the mean does not say
            return None, losses
        self.progress.used.update(dict.fromkeys(total.people, round))
        return self.outgoing(), losses

    def _rate(self, people: int) -> float:
        """By what the sum of gradients over so many people is multiplied, in lengths of the clipping norm."""
        privacy = self.letterhead.study.privacy
        expected = privacy.sampling_rate * people / self.people_per_sample
        return self.federation.learning_rate * privacy.clip_norm / expected

    def _base(self) -> dict[str, np.ndarray]:
        """What the sites were sent of what they share."""
        return {name: array for name, array in self.progress.models[0].items() if name in self.trained}
