"""Everything that can happen in a run: one model per kind of event, one line each in `events.jsonl`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from normfed_common.study.base import Frozen
from normfed_server.events.rounds import RoundFigures


class RunEvent(Frozen):
    """What every event has; ``event`` names its kind."""

    time: float = Field(default_factory=lambda: round(time.time(), 3), description="seconds since 1970")
    event: str

    def line(self) -> str:
        """The event as a line of JSON, without its end."""
        return json.dumps(self.model_dump(mode="json"))


class PlannedArm(NamedTuple):
    """A model that will be trained: its rounds, and the sites where it is tested."""

    name: str
    rounds: int
    sites: tuple[str, ...]


class People(Frozen):
    """What a site says of its people, by role; -1 where they are too few to say."""

    train: int
    held_out: int
    test: int
    kinds: tuple[str, ...]


class FitMachine(Frozen):
    """What a site said of its machine (`wire.messages.Machine`, whose module is too much to load for reading lines).

    Parameters
    ----------
    people
        The class of its cohort's size.
    """

    normfed: str
    protocol: int = 1
    flwr: str
    torch: str
    python: str
    study: str
    cores: int
    memory_gb: float
    disk_gb: float
    gpu: str = ""
    gpu_memory_gb: float = 0.0
    power_w: float = 0.0
    people: str


class Unfit(Frozen):
    """Something that does not fit a study; ``fatal`` if a run would surely break on it."""

    where: str
    text: str
    fatal: bool


class Tried(Frozen):
    """How a site's canary went: seconds from the request to the answer, and megabytes of the answer."""

    seconds: float
    megabytes: float


class Connecting(RunEvent):
    """The run waits for these sites to connect."""

    event: Literal["connecting"] = "connecting"
    sites: tuple[str, ...]


class Planned(RunEvent):
    """Who takes part, and what will be trained."""

    event: Literal["plan"] = "plan"
    arms: tuple[PlannedArm, ...]
    sites: dict[str, People]
    left_out: dict[str, str] = Field(description="site to why it takes no part")


class Fit(RunEvent):
    """The sites' machines, held against what the study needs."""

    event: Literal["fit"] = "fit"
    sites: dict[str, FitMachine]
    needs: dict[str, float] = Field(description="gigabytes of memory and disk")
    findings: tuple[Unfit, ...]


class CanarySent(RunEvent):
    """Every training site tries one batch."""

    event: Literal["canary"] = "canary"
    arm: str
    sites: tuple[str, ...]


class CanaryDone(RunEvent):
    """The batch worked everywhere."""

    event: Literal["canary back"] = "canary back"
    arm: str
    sites: dict[str, Tried]


class RoundDone(RoundFigures, RunEvent):
    """A round is over."""

    event: Literal["round"] = "round"
    arm: str
    rounds: int = Field(ge=1, description="of the whole study")

    @classmethod
    def of(cls, arm: str, rounds: int, entry: Mapping[str, Any]) -> Self:
        """The event of an entry of an arm's history."""
        return cls.of_entry({**entry, "arm": arm, "rounds": rounds})


class Waiting(RunEvent):
    """The round waits for these sites; false: not connected."""

    event: Literal["waiting"] = "waiting"
    arm: str
    round: int
    sites: dict[str, bool]
    seconds: int = Field(description="since the waiting began")


class AskedAgain(RunEvent):
    """A site did not answer, and is sent the same request once more."""

    event: Literal["asked again"] = "asked again"
    site: str
    why: str


class Missing(RunEvent):
    """A site's part is not in a round, or in a model's sums or figures (``round`` 0)."""

    event: Literal["missing"] = "missing"
    arm: str
    site: str
    round: int = Field(ge=0)
    outcome: str
    why: str


class Joined(RunEvent):
    """A site takes part from this round on."""

    event: Literal["joined"] = "joined"
    arm: str
    site: str
    round: int


class Noted(RunEvent):
    """Something to know of a site's part."""

    event: Literal["note"] = "note"
    arm: str
    site: str
    text: str


class StageDone(RunEvent):
    """Sums of so many stages of a model are added up."""

    event: Literal["stage"] = "stage"
    arm: str
    stage: int
    stages: int


class Failed(RunEvent):
    """A model could not be trained to the end; the federated one: the run ended, and may be resumed."""

    event: Literal["failed"] = "failed"
    arm: str
    why: str


class Damaged(RunEvent):
    """A file of the run was damaged; it is kept under another name, and made again."""

    event: Literal["damaged"] = "damaged"
    arm: str
    file: str
    kept: str
    why: str


class Evaluated(RunEvent):
    """A model was tested at these sites."""

    event: Literal["evaluated"] = "evaluated"
    arm: str
    sites: tuple[str, ...]


class Finished(RunEvent):
    """All figures are written."""

    event: Literal["finished"] = "finished"


class Unknown(BaseModel):
    """A line that this version cannot make anything of, such as one of a later version: passed on as it is."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")

    time: float
    event: str

    def line(self) -> str:
        """See `RunEvent`."""
        return json.dumps(self.model_dump(mode="json"))


Known = Annotated[
    Connecting
    | Planned
    | Fit
    | CanarySent
    | CanaryDone
    | RoundDone
    | Waiting
    | AskedAgain
    | Missing
    | Joined
    | Noted
    | StageDone
    | Failed
    | Damaged
    | Evaluated
    | Finished,
    Field(discriminator="event"),
]
Event = Known | Unknown

KNOWN: TypeAdapter[Known] = TypeAdapter(Known)


def parse(line: bytes | str) -> Event | None:
    """The event of a line; None where the line is damaged."""
    try:
        return KNOWN.validate_json(line)
    except ValidationError:
        pass
    try:
        return Unknown.model_validate_json(line)
    except ValidationError:
        return None
