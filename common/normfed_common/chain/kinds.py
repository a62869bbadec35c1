"""What records can say: a closed vocabulary, and no text from elsewhere but names with a pattern and a bound.

No record has a place for a person's identifier, a path or an exact number of people.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from normfed_common.study.base import Frozen
from normfed_common.study.data import SiteName
from normfed_common.wire.bounds import MOST_ITERATIONS, ArmName, RunName, VersionText
from normfed_common.wire.head import MOST_RECORDS, Head, Sha256
from normfed_common.wire.tasks import Task

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32,64}$")]
MaybeDigest = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{32,64})?$")]
Fingerprint = Annotated[str, StringConstraints(pattern=r"^([0-9A-F]{4} ){7}[0-9A-F]{4}$")]
EntryName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}$")]
PublicKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9@.+/= -]{1,1000}$")]
Address = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:_%\[\]-]{1,253}$")]
Network = Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f.:/]{0,64}$")]
ArrayName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_./-]{0,249}$")]
Operator = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9][A-Za-z0-9._@-]{0,63})?$")]
ArgumentName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z_ ]{0,40}$")]
Argument = (
    bool
    | int
    | None
    | Annotated[str, StringConstraints(max_length=4000)]
    | Annotated[tuple[Annotated[str, StringConstraints(max_length=200)], ...], Field(max_length=1000)]
)
Name = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f-\x9f]{1,200}$")]
Sentence = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]{1,200}$")]

PeopleClass = Literal[
    "not told",
    "nobody",
    "fewer than 10",
    "10-19",
    "20-49",
    "50-99",
    "100-199",
    "200-499",
    "500-999",
    "1000 or more",
]
_LOWER: dict[int, PeopleClass] = {
    1: "fewer than 10",
    10: "10-19",
    20: "20-49",
    50: "50-99",
    100: "100-199",
    200: "200-499",
    500: "500-999",
    1000: "1000 or more",
}


def people_class(people: int) -> PeopleClass:
    """How many people something is about, as a record may say it; below zero stands for fewer than a minimum."""
    if people <= 0:
        return "nobody" if people == 0 else "fewer than 10"
    return _LOWER[max(lower for lower in _LOWER if lower <= people)]


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


# What a site records.


class KeyMade(Frozen):
    """The site made a key, with which it signs."""

    kind: Literal["key-made"] = "key-made"
    fingerprint: Fingerprint


class RulesChanged(Frozen):
    """site.yaml was changed."""

    kind: Literal["rules-changed"] = "rules-changed"
    before: MaybeDigest = Field(description="of the rules that were in force; empty at first")
    after: Digest


class Asker(Frozen):
    """Who asked: whoever holds a certificate by this authority, at this address."""

    server: Address
    authority: Fingerprint


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


class Sent(Frozen):
    """One array that left."""

    name: ArrayName
    dtype: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]{1,16}$")]
    shape: tuple[int, ...] = Field(max_length=64)
    bytes: int = Field(ge=0)
    sha256: Sha256


class Answered(Frozen):
    """An answer left; written before its first byte did.

    Parameters
    ----------
    people
        That it is about.
    epsilon
        That it cost, by the ledger; 0 for what was paid before or costs nothing, None where it left without noise.
    kept
        Whether it lay in the outbox: the same answer once more.
    content
        Of the answer's header and arrays, see `normfed_common.wire.content`; the server records the same.
    server
        The server's head, as it came with the request.
    """

    kind: Literal["answered"] = "answered"
    by: Asker
    asked: Asked
    people: PeopleClass
    epsilon: float | None = Field(ge=0)
    kept: bool
    arrays: tuple[Sent, ...]
    bytes: int = Field(ge=0)
    content: Sha256
    server: Head | None = None


class Repeated(Frozen):
    """An answer left once more, the same bytes to the same question.

    Parameters
    ----------
    number
        Of the record of when it first left.
    unwritten
        Repeats of any answer before this one that were too many to be written one by one.
    """

    kind: Literal["repeated"] = "repeated"
    asked: Asked
    content: Sha256
    number: int = Field(ge=1, le=MOST_RECORDS)
    unwritten: int = Field(0, ge=0)
    server: Head | None = None


class Refused(Frozen):
    """A request was refused; its code left, and nothing else.

    Parameters
    ----------
    unwritten
        Refusals before this one that were too many to be written one by one.
    """

    kind: Literal["refused"] = "refused"
    by: Asker
    asked: Asked
    code: int = Field(ge=0, le=9999)
    unwritten: int = Field(0, ge=0)
    server: Head | None = None


class Decided(Frozen):
    """A person at the hospital decided on a study; of the manifest that they saw."""

    kind: Literal["decided"] = "decided"
    decision: Literal["approved", "refused", "taken back"]
    study: Digest
    manifest: MaybeDigest = ""
    by: Name


class LookDecided(Frozen):
    """Somebody at the hospital decided on a person whom the look at its cohort lists; of whom is not written down."""

    kind: Literal["look-decided"] = "look-decided"
    decision: Literal["keep", "exclude"]
    by: Name


class PersonWithdrew(Frozen):
    """Somebody withdrew from all studies: what is kept of them here is about to be erased, or was; of whom is not
    written down.

    Parameters
    ----------
    files
        How many are erased, as a class of size.
    withdrawn
        Digest of the list of keyed digests of all who withdrew, this one among them: an older copy of the list shows.
    """

    kind: Literal["person-withdrew"] = "person-withdrew"
    step: Literal["begun", "done"]
    by: Name
    files: PeopleClass
    withdrawn: Digest


class StudyWithdrawn(Frozen):
    """The hospital withdrew from a study for good: what is kept of its runs is about to be erased, or was."""

    kind: Literal["study-withdrawn"] = "study-withdrawn"
    step: Literal["begun", "done"]
    by: Name
    study: Digest
    files: PeopleClass = Field(description="how many are erased, as a class of size")


class Expired(Frozen):
    """What was kept for as long as site.yaml says was erased."""

    kind: Literal["expired"] = "expired"
    what: Literal["answers", "checkpoints", "scores", "maps", "runs", "cache", "proposals"]
    files: PeopleClass = Field(description="how many, as a class of size")


class ServerWentBack(Frozen):
    """The server's chain is shorter than it was, or another: it lost records, or hides some."""

    kind: Literal["server-went-back"] = "server-went-back"
    known: Head
    told: Head | None


class Contradicted(Frozen):
    """The server knows a head of this chain that it has not: it is an old copy, or was cut."""

    kind: Literal["contradicted"] = "contradicted"
    head: Head


# What a server records.


class Membership(Frozen):
    """The operator invited a site, accepted its key, shut it out, or bounded how many people it counts with."""

    kind: Literal["invited", "accepted", "revoked", "bounded"]
    site: SiteName
    fingerprint: Fingerprint | Literal[""] = ""
    people: int | None = Field(None, ge=1, description="that the operator counts it with at most")


class Reach(Frozen):
    """The server's certificate was renewed, or the server moved."""

    kind: Literal["renewed", "moved"]
    address: Address


class Steered(Frozen):
    """The operator began, stopped or resumed a run, or let it go on without a site."""

    kind: Literal["run-begun", "run-stopped", "run-resumed", "site-excused"]
    run: RunName
    study: MaybeDigest = ""
    site: SiteName | Literal[""] = ""


class Command(Frozen):
    """What an operator did on the server, as the operator signed it.

    Parameters
    ----------
    federation
        Fingerprint of its certificate authority.
    time
        UTC.
    """

    federation: Fingerprint
    command: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z -]{0,60}$")]
    arguments: dict[ArgumentName, Argument] = Field(max_length=20)
    time: Annotated[str, StringConstraints(pattern=r"^[0-9T:+-]{1,40}$")]
    nonce: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]

    def canonical(self) -> bytes:
        """The bytes that are signed: JSON with sorted keys and no spaces."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":")).encode()


class Acted(Frozen):
    """An operator's command ended; it follows what the command did.

    Parameters
    ----------
    by, key
        Empty in a federation without operators: then the account that owns the folder did it.
    """

    kind: Literal["acted"] = "acted"
    action: Command
    by: Operator = ""
    key: Fingerprint | Literal[""] = ""
    signature: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{0,400}$")] = ""
    outcome: Literal["done", "failed", "proposed"] = "done"


Ending = Literal["finished", "finished, partial", "failed"]


class Ended(Frozen):
    """A run ended."""

    kind: Literal["run-ended"] = "run-ended"
    run: RunName
    state: Ending
    model: MaybeDigest = Field("", description="SHA-256 of its model.safetensors")


class Received(Frozen):
    """A site's answer came in; written before anything is made of it."""

    kind: Literal["received"] = "received"
    site: SiteName
    asked: Asked
    bytes: int = Field(ge=0)
    content: Sha256
    head: Head | None = Field(None, description="of the site's chain")


class RefusalHeard(Frozen):
    """A site refused; or what it sent cannot be read (code 0)."""

    kind: Literal["refusal-heard"] = "refusal-heard"
    site: SiteName
    asked: Asked
    code: int = Field(ge=0, le=9999)


class HeadRefused(Frozen):
    """A site's answer came with a head that the key of the site did not sign; it counts as a refusal."""

    kind: Literal["head-refused"] = "head-refused"
    site: SiteName
    asked: Asked
    content: Sha256
    head: Head


class TurnedAway(Frozen):
    """Somebody was turned away at the door; counted per address and hour."""

    kind: Literal["turned-away"] = "turned-away"
    network: Network = Field(description="IPv4 address or IPv6 network; empty: of all others together")
    why: Sentence
    times: int = Field(ge=1)
    hour: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d$")]


Content = Annotated[
    Opened
    | Closed
    | Repaired
    | LossAccepted
    | Started
    | Stopped
    | KeyMade
    | RulesChanged
    | Answered
    | Repeated
    | Refused
    | Decided
    | LookDecided
    | PersonWithdrew
    | StudyWithdrawn
    | Expired
    | ServerWentBack
    | Contradicted
    | Membership
    | Reach
    | Steered
    | Acted
    | Ended
    | Received
    | RefusalHeard
    | HeadRefused
    | TurnedAway,
    Field(discriminator="kind"),
]
