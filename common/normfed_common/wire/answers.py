"""What a site says, beside arrays: counts and sums, never a person. A header that every answer has, and a payload."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import Field

from normfed_common.foundation.errors import WireError
from normfed_common.study.base import Frozen
from normfed_common.study.data import SiteName
from normfed_common.wire.bounds import MOST_PEOPLE, CountName, Label, MachineText, Note, People, VersionText
from normfed_common.wire.counter import Counter
from normfed_common.wire.head import Head
from normfed_common.wire.secure import KeysMade, SecretsShared, SurvivorsSigned, Unmasked
from normfed_common.wire.tasks import Task

MOST_STEPS = 10**12


class Machine(Frozen):
    """What an operator needs to know of the machine that a site's client runs on, in round figures.

    Parameters
    ----------
    protocol
        That the site speaks.
    study
        Digest of the study as this site resolves it.
    memory_gb, disk_gb
        Free now; of the disk that holds the site's state.
    gpu
        Its name; empty without one.
    power_w
        What it draws while it trains, as the hospital says.
    """

    normfed: VersionText
    protocol: int = Field(1, ge=1, le=10_000)
    flwr: VersionText
    torch: VersionText
    python: VersionText
    study: MachineText
    cores: int = Field(ge=0, le=100_000)
    memory_gb: float = Field(ge=0, le=1e9)
    disk_gb: float = Field(ge=0, le=1e9)
    gpu: MachineText = ""
    gpu_memory_gb: float = Field(0.0, ge=0, le=1e9)
    power_w: float = Field(0.0, ge=0, le=1e9)


class Described(Frozen):
    """Answers `Describe`.

    Parameters
    ----------
    counts
        People per role.
    kinds
        Of lesion, those with figures of their own.
    machine
        Where a site is deployed.
    """

    task: Literal["query.describe"] = "query.describe"
    counts: dict[CountName, People] = Field(max_length=16)
    kinds: tuple[Label, ...] = Field((), max_length=100)
    machine: Machine | None = None


class CanaryBack(Frozen):
    """Answers `Canary`; its arrays are an update in form.

    Parameters
    ----------
    steps
        Of the optimiser.
    """

    task: Literal["train.canary"] = "train.canary"
    steps: int = Field(ge=0, le=MOST_STEPS)


class Trained(Frozen):
    """Answers `TrainRound`; its arrays are the update.

    Parameters
    ----------
    loss
        Mean over the round's batches; None where people are protected.
    received_loss
        Of the model as it was received, before training (q-FedAvg).
    steps
        Of the optimiser in this round (FedNova, SCAFFOLD).
    cluster
        Which of the models it was offered the site trained (IFCA).
    """

    task: Literal["train.round"] = "train.round"
    loss: float | None = None
    received_loss: float | None = None
    steps: int = Field(0, ge=0, le=MOST_STEPS)
    cluster: int = Field(0, ge=0, le=10_000)


class FineTuned(Frozen):
    """Answers `FineTune`; the model stays.

    Parameters
    ----------
    loss
        Mean over all batches; None where people are protected.
    """

    task: Literal["train.personal"] = "train.personal"
    loss: float | None = None


class Summed(Frozen):
    """Answers `Sums`, which are its arrays."""

    task: Literal["train.sums"] = "train.sums"


class ScoredPeople(Frozen):
    """Answers `ScorePeople`; its arrays are a `ScoreRange`, or a summary where only a ranking was asked for.

    Parameters
    ----------
    groups
        Of the summary.
    """

    task: Literal["evaluate.score"] = "evaluate.score"
    groups: tuple[Label, ...] = Field((), max_length=100)


class Counted(Frozen):
    """Answers `Count`; its arrays are the counts."""

    task: Literal["evaluate.count"] = "evaluate.count"


class Figures(Frozen):
    """Answers `Measure`; its arrays are the figures.

    Parameters
    ----------
    groups
        Of the summary among them.
    """

    task: Literal["evaluate.measure"] = "evaluate.measure"
    groups: tuple[Label, ...] = Field(max_length=100)


Told = (
    Described
    | CanaryBack
    | Trained
    | FineTuned
    | Summed
    | ScoredPeople
    | Counted
    | Figures
    | KeysMade
    | SecretsShared
    | SurvivorsSigned
    | Unmasked
)
T = TypeVar("T", bound=Frozen)


class Answer(Frozen):
    """What every answer says, and what was asked for.

    Parameters
    ----------
    subjects
        How many people it is about; 0 where that is not told.
    seconds
        That it took; 0 where that is not told, as it depends on whose scans there are.
    ledger
        How long the site's ledger is, for the server to keep; absent where nothing was spent yet.
    head
        How the site's audit ends, for the server to keep.
    """

    site: SiteName
    subjects: int = Field(0, ge=0, le=MOST_PEOPLE)
    seconds: float = Field(0.0, ge=0, le=1e9)
    notes: tuple[Note, ...] = Field((), max_length=8, description="fixed sentences about the method, never a person")
    ledger: Counter | None = None
    head: Head | None = None
    payload: Annotated[Told, Field(discriminator="task")]

    @property
    def task(self) -> Task:
        """What was asked; the type of the message that carries this."""
        return self.payload.task

    def told(self, kind: type[T]) -> T:
        """The payload, which is to be of this kind.

        Raises
        ------
        WireError
            If it is of another kind.
        """
        if not isinstance(self.payload, kind):
            raise WireError(f"it answers {self.task}, which was not asked")
        return self.payload
