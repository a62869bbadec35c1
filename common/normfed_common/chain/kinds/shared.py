"""Records that every chain can hold, and what the records of sites and of the server are both made of."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from normfed_common.study.base import Frozen
from normfed_common.wire.bounds import MOST_ITERATIONS, ArmName, RunName, VersionText
from normfed_common.wire.head import Head, Sha256
from normfed_common.wire.tasks import Task

MaybeDigest = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{32,64})?$")]
Fingerprint = Annotated[str, StringConstraints(pattern=r"^([0-9A-F]{4} ){7}[0-9A-F]{4}$")]
EntryName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}$")]
PublicKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9@.+/= -]{1,1000}$")]
Address = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:_%\[\]-]{1,253}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f-\x9f]{1,200}$")]


class Opened(Frozen):
    """A file of the chain begins; the first record, and the first after each archive."""

    kind: Literal["opened"] = "opened"
    whose: Name = Field(description="a site's name, or the federation's")
    key: PublicKey = Field(description="with which the records are signed")
    version: VersionText = ""


class Closed(Frozen):
    """A file of the chain ends here, and is archived; the next goes on from its head."""

    kind: Literal["closed"] = "closed"


class Repaired(Frozen):
    """A process died or the disk was full in the middle of a record: what there was of it was set apart."""

    kind: Literal["repaired"] = "repaired"
    bytes: int = Field(ge=1)
    sha256: Sha256


class LossAccepted(Frozen):
    """A person said that the chain goes on although records are missing that the other side knows of."""

    kind: Literal["loss-accepted"] = "loss-accepted"
    head: Head = Field(description="that the other side knows")


class Started(Frozen):
    """The client, or the server, was started."""

    kind: Literal["started"] = "started"
    version: VersionText = ""


class Stopped(Frozen):
    """It was stopped; a crash or a power cut leaves none."""

    kind: Literal["stopped"] = "stopped"


class Asked(Frozen):
    """What was asked, as far as it could be read."""

    study: MaybeDigest = ""
    run: RunName = ""
    task: Task | Literal["unknown"]
    arm: ArmName | Literal[""] = ""
    model: EntryName | Literal[""] = ""
    strategy: EntryName | Literal[""] = ""
    turn: int = Field(0, ge=0, le=10 * MOST_ITERATIONS, description="round, or number of the sums of a phase")
    repeat: int = Field(0, ge=0, le=100)
