"""One record of a chain, and how it stands in a file: a line of canonical JSON.

Canonical is what Python's ``json.dumps(value, sort_keys=True, separators=(",", ":"))`` writes: ASCII, no blanks, keys
in order. A record's digest is SHA-256 of it without ``digest`` and ``signature``; it holds the digest of the record
before it, so that it is one of all before it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from normfed_common.chain.keys import SigningKey, statement
from normfed_common.chain.kinds.content import Content
from normfed_common.study.base import Frozen
from normfed_common.wire.head import MOST_RECORDS, ChainName, Head, Sha256, Signature

START = "0" * 64  # instead of the digest of a record before the first
Time = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")]


class Record(Frozen):
    """See the module.

    Parameters
    ----------
    number
        From 1, without a gap.
    time
        UTC, by the clock of the machine; see `normfed_common.chain.verifying` on one that was set back.
    before
        Digest of the record before; `START` for the first.
    """

    chain: ChainName
    number: int = Field(ge=1, le=MOST_RECORDS)
    time: Time
    before: Sha256
    content: Content
    digest: Sha256
    signature: Signature

    @property
    def head(self) -> Head:
        """Of the chain up to here."""
        return Head(chain=self.chain, records=self.number, digest=self.digest, signature=self.signature)

    def line(self) -> bytes:
        """As it stands in a file."""
        return canonical(self.model_dump(mode="json")) + b"\n"

    def made_of(self) -> str:
        """What `digest` is to be."""
        return digest_of(self.model_dump(mode="json", exclude={"digest", "signature"}))


def canonical(value: Any) -> bytes:
    """See the module."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def digest_of(said: Any) -> str:
    """SHA-256 of all but digest and signature."""
    return hashlib.sha256(canonical(said)).hexdigest()


def signed(chain: str, number: int, time: str, before: str, content: Content, key: SigningKey) -> Record:
    """A new record."""
    said = {
        "chain": chain,
        "number": number,
        "time": time,
        "before": before,
        "content": content.model_dump(mode="json"),
    }
    digest = digest_of(said)
    signature = key.sign(statement(chain, number, digest))
    return Record(
        chain=chain, number=number, time=time, before=before, content=content, digest=digest, signature=signature
    )
