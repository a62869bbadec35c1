"""Train one arm: a cursor over its phases and their rounds, with a checkpoint after each round."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from normfed_common.algorithms.sharing import personal_arrays
from normfed_common.algorithms.table import configure
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import RunError
from normfed_common.learning.learner import NETWORK
from normfed_common.learning.phase import averaged_rounds
from normfed_common.models.base import NormativeModel
from normfed_server.arms.context import RunContext
from normfed_server.arms.in_training import ArmInTraining
from normfed_server.arms.plan import Arm
from normfed_server.arms.rounds import AveragedRounds
from normfed_server.arms.secure.planning import is_masked
from normfed_server.arms.secure.progress import FILE
from normfed_server.arms.secure.rounds import MaskedRounds
from normfed_server.arms.secure.sums import add_up_masked
from normfed_server.arms.sums import add_up
from normfed_server.arms.tuning import fine_tune
from normfed_server.events.damage import put_aside
from normfed_server.events.kinds import StageDone
from normfed_server.steps import central
from normfed_server.steps import progress as checkpoints
from normfed_server.steps.catalogue import make_step
from normfed_server.steps.progress import Progress


class ArmTraining:
    """Trains one arm from its last checkpoint to the end.

    Parameters
    ----------
    model
        A fresh model: gives the first weights, and says which parts and phases there are.
    another
        First weights from another draw, by number.
    path
        Of the checkpoint.
    """

    def __init__(
        self, arm: Arm, model: NormativeModel, another: Callable[[int], Arrays], context: RunContext, path: Path
    ) -> None:
        self.path, self.study = path, context.study
        self.phases = model.phases()
        self.tunes = configure(arm.strategy)[0].fine_tuned
        self.personal = personal_arrays(model, arm.strategy)
        step = make_step(arm.strategy, self.study.federation)
        if arm.federated and self.study.privacy.central is not None:
            rounds = averaged_rounds(self.phases, self.study.federation.rounds)
            step = central.around(step, self.study.privacy.central, rounds, context.secret, arm.name)
        found = checkpoints.recover(path, self.study.digest, partial(put_aside, context.events, arm.name))
        if found is None:
            found = Progress([_first(model, context.initial)])
            step.prepare(found, another)
        model.load(found.sums)
        self.progress = found
        self.job = ArmInTraining(arm, model, context, found)
        self.secure = path.with_name(FILE) if is_masked(context.study, arm) else None
        self.rounds = (
            AveragedRounds(self.job, self.personal, step)
            if self.secure is None
            else MaskedRounds(self.job, self.personal, step, self.secure)
        )

    @property
    def complete(self) -> bool:
        """Whether nothing is left to train."""
        return self.progress.phase >= len(self.phases) + self.tunes

    def run(self) -> Progress:
        """Train to the end.

        Raises
        ------
        RunError
            If too few sites answer a round.
        """
        while not self.complete:
            if self.progress.phase == len(self.phases):
                fine_tune(self.job)
                self._advance(over=True)
            elif self.phases[self.progress.phase].kind == "averaged":
                entry = self.rounds.run(self.phases[self.progress.phase])
                self._advance()
                self.rounds.tell(entry)
            else:
                self._sum()
        return self.progress

    def _sum(self) -> None:
        phase, number = self.phases[self.progress.phase], self.progress.phase + 1
        over = add_up(self.job, phase) if self.secure is None else add_up_masked(self.job, phase, self.secure)
        self._advance(over)
        self.job.say(StageDone(arm=self.job.arm.name, stage=number, stages=len(self.phases)))

    def _advance(self, over: bool = False) -> None:
        """A round is done; what comes next is the next phase's if it was the last of its own."""
        progress = self.progress
        progress.turn += 1
        if over or progress.turn >= self.phases[progress.phase].turns(self.study.federation.rounds):
            progress.phase, progress.turn = progress.phase + 1, 0
            self.rounds.end_phase()
        checkpoints.save(self.path, progress, self.study.digest)


def _first(model: NormativeModel, initial: Arrays | None) -> Arrays:
    """The first weights: the model's own draw, or those of the initial model.

    Raises
    ------
    RunError
        If the initial model is not one of this architecture.
    """
    found = model.share()
    if initial is None or model.network is None:
        return found
    given = {name: array for name, array in initial.items() if name.startswith(NETWORK)}
    differ = sorted(
        name
        for name in found.keys() | given.keys()
        if name not in found
        or name not in given
        or found[name].shape != given[name].shape
        or found[name].dtype != given[name].dtype
    )
    if differ:
        raise RunError(
            f"initial_model: is of another network than the study's; {len(differ)} arrays differ, such as {differ[0]}. "
            "Give a model.safetensors of the same model and parameters."
        )
    return given
