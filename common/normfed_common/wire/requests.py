"""What the server asks of a site, beside arrays: a header that every request has, and one payload per task."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from normfed_common.foundation.versions import PROTOCOL
from normfed_common.study.base import Frozen
from normfed_common.study.federation import PLAIN, Compression
from normfed_common.study.plugins import Plugins
from normfed_common.wire.bounds import (
    MAXIMUM_STUDY,
    MOST_ITERATIONS,
    MOST_ROUNDS,
    ArmName,
    PhaseName,
    RunName,
    VersionText,
)
from normfed_common.wire.counter import Counter
from normfed_common.wire.head import Heads
from normfed_common.wire.secure import (
    MakeKeys,
    Masking,
    OfStep,
    SecureStep,
    ShareSecrets,
    SignSurvivors,
    Unmask,
    context_of,
)
from normfed_common.wire.tasks import Task


class Describe(Frozen):
    """Who are you? How many people of each role, what kinds of lesion, what machine."""

    task: Literal["query.describe"] = "query.describe"


class Canary(Frozen):
    """Train one batch of the round to come; the arrays are an `Offer`.

    Parameters
    ----------
    compression
        Of the update that answers it.
    """

    task: Literal["train.canary"] = "train.canary"
    compression: Compression = "none"


class TrainRound(Frozen):
    """Train one round; the arrays are an `Offer`.

    Parameters
    ----------
    round
        From 1.
    since
        The last round in which the server used an update of this very site; 0 for none. What a site keeps of a round
        that was not used (SCAFFOLD's control variate) does not count.
    compression
        Of the models offered and of the update that answers them.
    secure
        With what the update is masked; it leaves in the clear when absent.
    """

    task: Literal["train.round"] = "train.round"
    round: int = Field(ge=1, le=MOST_ROUNDS)
    since: int = Field(0, ge=0, le=MOST_ROUNDS)
    compression: Compression = "none"
    secure: Masking | None = None


class FineTune(Frozen):
    """Train the last global model on, for the site alone; the arrays are an `Offer` of it.

    Parameters
    ----------
    round
        The one after the last.
    """

    task: Literal["train.personal"] = "train.personal"
    round: int = Field(ge=1, le=MOST_ROUNDS)


class Sums(Frozen):
    """Add up a phase's statistics over the people to learn from; the arrays are an `Offer` of the model so far.

    Parameters
    ----------
    iteration
        Of a phase that is repeated until it has converged: from 0.
    secure
        With what the sums are masked; they leave in the clear when absent.
    """

    task: Literal["train.sums"] = "train.sums"
    phase: PhaseName
    iteration: int = Field(0, ge=0, le=MOST_ITERATIONS)
    secure: Masking | None = None


class ScorePeople(Frozen):
    """Evaluation, first step: score everybody tested; the arrays are an `Offer` of the model to score with.

    Parameters
    ----------
    detail
        "full", or "ranking" for voxel metrics only: then it is the only step.
    """

    task: Literal["evaluate.score"] = "evaluate.score"
    detail: Literal["full", "ranking"] = "full"


class Count(Frozen):
    """Evaluation, second step: coarse counts over the range of all sites' scores."""

    task: Literal["evaluate.count"] = "evaluate.count"
    low: float
    high: float


class Measure(Frozen):
    """Evaluation, third step: all figures; the arrays are `CommonEdges`.

    Parameters
    ----------
    threshold
        Of the whole brain; the one at or above which a voxel is called abnormal is its class's, in `CommonEdges`.
    maps
        Whether the site writes anomaly maps and p-values into its own folder.
    """

    task: Literal["evaluate.measure"] = "evaluate.measure"
    threshold: float
    maps: bool = False


Payload = (
    Describe
    | Canary
    | TrainRound
    | FineTune
    | Sums
    | ScorePeople
    | Count
    | Measure
    | MakeKeys
    | ShareSecrets
    | SignSurvivors
    | Unmask
)


class Request(Frozen):
    """What every request says, and what is asked.

    Parameters
    ----------
    study
        The resolved study as JSON.
    run
        The run's name: what a site keeps, it keeps per run.
    protocol
        That the server speaks: a site that speaks another refuses.
    version
        Of normfed at the server: a site whose own is too far from it refuses.
    plugins
        That the study uses at the server, name to version: a site with another version of one refuses too.
    arm
        Which of the study's models this is about (federated, local-NAME, pooled, or a baseline's name).
    model
        The model's entry of the study.
    strategy
        The strategy's entry of the study, for this arm.
    repeat
        Which training of the same model this is: 0 for the first; all that it draws depends on it.
    ledger
        The site's own counter, as the server last had it; no part of what is asked.
    heads
        How the server's chain of records ends, and how the site's did; no part of what is asked either.
    """

    study: str = Field(max_length=MAXIMUM_STUDY)
    run: RunName = ""
    protocol: int = Field(PROTOCOL, ge=1, le=10_000)
    version: VersionText = ""
    plugins: Plugins = Field(default_factory=dict)
    arm: ArmName
    model: dict[str, Any]
    strategy: dict[str, Any] = Field(default_factory=lambda: dict(PLAIN))
    repeat: int = Field(0, ge=0, le=100)
    ledger: Counter | None = None
    heads: Heads | None = None
    payload: Annotated[Payload, Field(discriminator="task")]

    @property
    def task(self) -> Task:
        """What is asked; the type of the message that carries this."""
        return self.payload.task

    @property
    def round(self) -> int:
        """From 1; 0 outside rounds."""
        return self.payload.round if isinstance(self.payload, TrainRound | FineTune | OfStep) else 0

    @property
    def turn(self) -> int:
        """The round, or how often sums of the same phase were asked for before; 0 for what is asked once."""
        if isinstance(self.payload, OfStep):
            return self.payload.step.turn
        return self.payload.iteration if isinstance(self.payload, Sums) else self.round

    @property
    def step(self) -> SecureStep | None:
        """The secure sum that this belongs to."""
        payload = self.payload
        if isinstance(payload, OfStep):
            return payload.step
        if not isinstance(payload, TrainRound | Sums) or payload.secure is None:
            return None
        attempt = payload.secure.attempt
        if isinstance(payload, Sums):
            return SecureStep(of=payload.task, phase=payload.phase, turn=payload.iteration, attempt=attempt)
        return SecureStep(of=payload.task, turn=payload.round, attempt=attempt)

    def context(self, step: SecureStep) -> str:
        """Digest of all that names one attempt at one secure sum about this model."""
        return context_of(self.study, self.run, self.arm, (self.model, self.strategy, self.repeat), step)
