"""What a site records."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from normfed_common.chain.kinds.people import PeopleClass
from normfed_common.chain.kinds.shared import Address, Asked, Fingerprint, MaybeDigest, Name
from normfed_common.study.base import Frozen
from normfed_common.wire.head import MOST_RECORDS, Head, Sha256

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32,64}$")]
ArrayName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_./-]{0,249}$")]


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
