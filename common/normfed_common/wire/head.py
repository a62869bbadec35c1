"""The end of a chain of records, as it travels: a site's with its answers, the server's with its requests.

Each side writes the other's heads into its own chain, so that neither can rewrite what the other has seen of it. A
head is what a transparency log calls a signed tree head (RFC 9162, section 4.10), and handing it on is its gossip.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from normfed_common.study.base import Frozen

ChainName = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Signature = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{2}){8,200}$")]
MOST_RECORDS = 10**12


class Head(Frozen):
    """See the module.

    Parameters
    ----------
    chain
        Drawn when the chain was begun.
    records
        How many there are.
    digest
        Of the last; by it, of all.
    signature
        Of the last, by the key of whoever keeps the chain, in hex.
    """

    chain: ChainName
    records: int = Field(ge=1, le=MOST_RECORDS)
    digest: Sha256
    signature: Signature


class Heads(Frozen):
    """What goes with a request.

    Parameters
    ----------
    server
        Of the server's chain now.
    site
        Of the site's chain, as the server last heard of it.
    """

    server: Head | None = None
    site: Head | None = None
