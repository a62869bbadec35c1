"""What a server records."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from normfed_common.chain.kinds.shared import Address, Asked, Fingerprint, MaybeDigest
from normfed_common.study.base import Frozen
from normfed_common.study.data import SiteName
from normfed_common.wire.bounds import RunName
from normfed_common.wire.head import Head, Sha256

Network = Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f.:/]{0,64}$")]
Operator = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9][A-Za-z0-9._@-]{0,63})?$")]
ArgumentName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z_ ]{0,40}$")]
Argument = (
    bool
    | int
    | None
    | Annotated[str, StringConstraints(max_length=4000)]
    | Annotated[tuple[Annotated[str, StringConstraints(max_length=200)], ...], Field(max_length=1000)]
)
Sentence = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]{1,200}$")]


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
