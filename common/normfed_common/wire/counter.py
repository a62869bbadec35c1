"""How long a site's ledger is: signed by the site, held by the server, and sent back with every request.

A ledger that was restored from an old backup has forgotten what was spent since. The server has not, and cannot make a
counter up. It could keep one back: against that a site has only what its own folder remembers.
"""

from __future__ import annotations

from pydantic import Field

from normfed_common.study.base import Frozen

HEAD = r"^[0-9a-f]{64}$"


class Counter(Frozen):
    """See the module.

    Parameters
    ----------
    entries
        How many there are in the ledger.
    head
        Digest of all of them in their order.
    signature
        By the key of the site's node, in hex.
    """

    entries: int = Field(ge=1, le=10**9)
    head: str = Field(pattern=HEAD)
    signature: str = Field(pattern=r"^([0-9a-f]{2}){8,200}$")
