"""What a site makes public of its keys in one exchange, and who says that it is that site's."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, Protocol

from pydantic import Field, StringConstraints

from normfed_common.foundation import digests
from normfed_common.foundation.errors import WireError
from normfed_common.study.base import Frozen
from normfed_common.study.data import SiteName

Key = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Signature = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{0,512}$")]
PublicLine = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9@ .=+/-]{0,1000}$")]


class Identity(Protocol):
    """A site's own key, and what it knows of the others': with the node keys that hospitals compared by telephone the
    server cannot put keys of its own in the place of a site's."""

    @property
    def line(self) -> str:
        """The public key that the site's signatures are checked with."""
        ...

    def sign(self, statement: bytes) -> str:
        """A signature, in hex digits."""
        ...

    def check(self, site: str, line: str, statement: bytes, signature: str) -> None:
        """Refuse what the site of that name did not sign with the key that is known to be its own.

        Raises
        ------
        WireError
            If so.
        """
        ...


class Unsigned:
    """Of a simulation, where one machine plays everybody: a digest in a signature's place. It shows what differs, and
    stops no liar."""

    line = ""

    def sign(self, statement: bytes) -> str:
        """See `Identity`."""
        return hashlib.sha256(statement).hexdigest()

    def check(self, site: str, line: str, statement: bytes, signature: str) -> None:
        """See `Identity`."""
        if signature != self.sign(statement):
            raise WireError(f"{site} signed something else")


class Advert(Frozen):
    """A site's public keys, all new for one exchange.

    Parameters
    ----------
    people
        That the site's part of the sum is about: its weight. Signed with the keys, so that a server cannot make one
        site count a thousand times as much as the others, whose sum is then that site's alone.
    cipher
        Public key for shares that are sent to it, X25519.
    mask
        Public key for masks in common, X25519.
    seed
        SHA-256 of its own mask's key.
    line
        Its node's public key, as OpenSSH writes it; empty where nobody signs.
    """

    site: SiteName
    people: int = Field(ge=1, le=10_000_000)
    cipher: Key
    mask: Key
    seed: Key
    line: PublicLine = ""
    signature: Signature = ""

    def statement(self, context: str) -> bytes:
        """What is signed: the advert, and the exchange that it is for."""
        return f"keys {context} {digests.of_json(self.model_dump(exclude={'signature'}))}".encode()

    def signed(self, context: str, identity: Identity) -> Advert:
        """The same with its signature."""
        return self.model_copy(update={"signature": identity.sign(self.statement(context))})


def check(context: str, mine: Advert, adverts: Sequence[Advert], identity: Identity) -> None:
    """Refuse a list of keys that is not one of different sites' own, mine among them.

    Raises
    ------
    WireError
        If so.
    """
    names = [advert.site for advert in adverts]
    if names != sorted(set(names)):
        raise WireError("the sites of a secure sum are not in order, or one is there twice")
    if mine not in adverts:
        raise WireError(f"the keys of a secure sum are without those of {mine.site}")
    keys = [key for advert in adverts for key in (advert.cipher, advert.mask, advert.seed)]
    if len(set(keys)) < len(keys):
        raise WireError("two sites of a secure sum have the same key")
    for advert in adverts:
        if advert != mine:
            identity.check(advert.site, advert.line, advert.statement(context), advert.signature)
