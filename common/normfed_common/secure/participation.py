"""A site's part in one secure sum: keys, shares, mask, one signature, and one answer about who stayed.

Everything is computed from the site's three secrets and from what was agreed: who asks again gets the same again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
from pydantic import StringConstraints

from normfed_common.foundation import digests
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import WireError
from normfed_common.secure import adverts as keys_of
from normfed_common.secure import keys, keystream, shamir
from normfed_common.secure.adverts import Advert, Identity, Key
from normfed_common.secure.thresholds import least_survivors, threshold
from normfed_common.study.base import Frozen

SHARES_BYTES = 2 * shamir.SHARE_BYTES
Sealed = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{296}$")]  # two shares and 16 bytes that vouch for them
Share = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{132}$")]


class Secrets(Frozen):
    """Of a site in one exchange, each 32 bytes as hex digits.

    Parameters
    ----------
    cipher, mask
        Private keys, X25519.
    seed
        The key of its own mask.
    split
        What its shares are drawn from.
    """

    cipher: Key
    mask: Key
    seed: Key
    split: Key

    @classmethod
    def new(cls) -> Secrets:
        """Drawn by the operating system: never from a study's seed."""
        return cls(**{name: keys.new_secret().hex() for name in cls.model_fields})

    def advert(self, context: str, site: str, people: int, identity: Identity) -> Advert:
        """What is made public, signed."""
        return Advert(
            site=site,
            people=people,
            cipher=keys.public(bytes.fromhex(self.cipher)).hex(),
            mask=keys.public(bytes.fromhex(self.mask)).hex(),
            seed=commitment(bytes.fromhex(self.seed)),
            line=identity.line,
        ).signed(context, identity)


class Terms(Frozen):
    """What a study and a site demand of a sum.

    Parameters
    ----------
    minimum_sites
        That it is over.
    colluding
        Sites that may work for the server.
    """

    minimum_sites: int
    colluding: int


class Transcript(Frozen):
    """All that sites must agree on before any mask is taken off; each signs it.

    Parameters
    ----------
    context
        Digest of the run, the arm, the step and the attempt.
    adverts
        Digest of all sites' keys and people.
    sharers
        Sites whose shares everybody has: masks in common are with these.
    survivors
        Sites whose masked numbers are in the sum.
    received
        Digest of what the sites were sent to work on: a server that sends one site another model than all others
        learns from the sum what it already knows of those, and of that one the rest (Pasquini 2022, arXiv 2111.07380).
    """

    context: str
    adverts: str
    sharers: tuple[str, ...]
    survivors: tuple[str, ...]
    received: str

    def statement(self) -> bytes:
        """What is signed."""
        return f"survivors {digests.of_json(self.model_dump(mode='json'))}".encode()


@dataclass(frozen=True)
class Participation:
    """See the module; made once all sites' keys are known.

    Parameters
    ----------
    context
        Digest of the run, the arm, the step and the attempt.
    adverts
        Of all sites that began, by name and in order: checked (`begin`).
    """

    context: str
    site: str
    secrets: Secrets
    adverts: tuple[Advert, ...]
    terms: Terms
    identity: Identity

    @classmethod
    def begin(
        cls,
        context: str,
        mine: Advert,
        secrets: Secrets,
        adverts: tuple[Advert, ...],
        terms: Terms,
        identity: Identity,
    ) -> Participation:
        """Take part with these sites.

        Raises
        ------
        WireError
            If they are too few, or their keys are not their own.
        """
        found = cls(context, mine.site, secrets, adverts, terms, identity)
        found._enough(len(adverts), "begin")
        keys_of.check(context, mine, adverts, identity)
        return found

    @property
    def threshold(self) -> int:
        """Shares that give a secret back."""
        return threshold(len(self.adverts), self.terms.colluding)

    @property
    def least(self) -> int:
        """Sites that the sum is over at least."""
        return least_survivors(len(self.adverts), self.terms.colluding, self.terms.minimum_sites)

    @property
    def most_people(self) -> int:
        """Of any site: what weights are divided by."""
        return max(advert.people for advert in self.adverts)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return numbers(self.adverts)

    @cached_property
    def _public(self) -> dict[str, Advert]:
        return {advert.site: advert for advert in self.adverts}

    def shares(self) -> dict[str, str]:
        """For every other site, its shares of both secrets, encrypted for it alone."""
        return {
            other: keys.sealed(self._box(other, outward=True), b"".join(self._shares_of(self._numbers[other]))).hex()
            for other in self._numbers
            if other != self.site
        }

    def open(self, boxes: Mapping[str, str]) -> dict[str, tuple[str, str]]:
        """Site to its shares that this site holds, of its key to masks in common and of its own mask; its own shares
        among them.

        Parameters
        ----------
        boxes
            What `shares` of every other site that goes on made for this one.

        Raises
        ------
        WireError
            If too few go on, one that did not begin, or shares are not what their site made for this one here.
        """
        if not boxes.keys() <= self._numbers.keys() - {self.site}:
            raise WireError("shares came of a site that did not begin, or one's own")
        self._enough(len(boxes) + 1, "go on")
        found = {self.site: self._shares_of(self._numbers[self.site])}
        for other, box in boxes.items():
            content = keys.opened(self._box(other, outward=False), bytes.fromhex(box))
            if len(content) != SHARES_BYTES:
                raise WireError(f"the shares of {other} have the wrong length")
            found[other] = (content[: shamir.SHARE_BYTES], content[shamir.SHARE_BYTES :])
        return {site: (mask.hex(), seed.hex()) for site, (mask, seed) in found.items()}

    def mask(self, vector: np.ndarray, sharers: Collection[str], received: str) -> None:
        """Put this site's masks over its numbers, in place.

        Parameters
        ----------
        vector
            Unsigned integers, shape (n,).
        sharers
            Sites whose shares are here: `open`.
        received
            See `Transcript`. Not all survivors sign, but masks in common with a site that was sent something else do
            not cancel.
        """
        keystream.add(vector, own_mask(bytes.fromhex(self.secrets.seed), self.context))
        for other in sorted(set(sharers) - {self.site}):
            secret = bytes.fromhex(self.secrets.mask)
            key = common_mask(secret, self.context, self.site, self._public[other], received)
            keystream.add(vector, key, sign_of(self.site, other))

    def transcript(self, sharers: Collection[str], survivors: Collection[str], received: str) -> Transcript:
        """What this site agrees on.

        Raises
        ------
        WireError
            If it is not in the list, the list is too short, or somebody in it did not go on.
        """
        if self.site not in survivors or not set(survivors) <= set(sharers):
            raise WireError("the list of survivors is without this site, or with one whose shares never came")
        self._enough(len(set(survivors)), "are left")
        return Transcript(
            context=self.context,
            adverts=of_adverts(self.adverts),
            sharers=tuple(sorted(sharers)),
            survivors=tuple(sorted(set(survivors))),
            received=received,
        )

    def reveal(
        self, agreed: Transcript, signatures: Mapping[str, str], held: Mapping[str, tuple[str, str]]
    ) -> dict[str, str]:
        """One share per site: of its own mask where it survived, of its key to masks in common where it dropped out.

        Parameters
        ----------
        agreed
            What this site signed.
        signatures
            Of survivors, under the same.
        held
            See `open`.

        Raises
        ------
        WireError
            If fewer than the threshold signed the same: another list may be signed by as many.
        """
        if not set(signatures) <= set(agreed.survivors):
            raise WireError("somebody signed who is not on the list of survivors")
        if len(signatures) < self.threshold:
            raise WireError(f"{len(signatures)} sites signed the list of survivors; {self.threshold} must")
        for site, signature in signatures.items():
            if site == self.site:  # this site signed it, whatever the server says
                continue
            self.identity.check(site, self._public[site].line, agreed.statement(), signature)
        return {site: held[site][1 if site in agreed.survivors else 0] for site in agreed.sharers}

    def _enough(self, sites: int, what: str) -> None:
        if sites < self.least:
            raise WireError(f"{sites} sites {what} in a secure sum; {self.least} must")

    def _shares_of(self, number: int) -> tuple[bytes, bytes]:
        return self._split["mask"][number], self._split["seed"][number]

    @cached_property
    def _split(self) -> dict[str, dict[int, bytes]]:
        holders, key = list(self._numbers.values()), bytes.fromhex(self.secrets.split)
        return {
            what: shamir.split(bytes.fromhex(secret), holders, self.threshold, keys.derived(key, "split", what))
            for what, secret in (("mask", self.secrets.mask), ("seed", self.secrets.seed))
        }

    def _box(self, other: str, outward: bool) -> bytes:
        """The key of shares from this site to another, or from that to this."""
        way = (self.site, other) if outward else (other, self.site)
        secret, public = bytes.fromhex(self.secrets.cipher), bytes.fromhex(self._public[other].cipher)
        return keys.agreed(secret, public, "shares", self.context, *way)


def numbers(adverts: Collection[Advert]) -> dict[str, int]:
    """Site to the number under which it holds shares, from 1 in the order of names."""
    return {site: number for number, site in enumerate(sorted(advert.site for advert in adverts), 1)}


def of_adverts(adverts: Collection[Advert]) -> str:
    """Digest of all that sites made public."""
    return digests.of_json([advert.model_dump() for advert in adverts])


def commitment(seed: bytes) -> str:
    """What shows that shares gave back the key of a site's own mask, and tells nothing of it."""
    return hashlib.sha256(seed).hexdigest()


def own_mask(seed: bytes, context: str) -> bytes:
    """The key of a site's own mask."""
    return keys.derived(seed, "own mask", context)


def common_mask(secret: bytes, context: str, site: str, other: Advert, received: str) -> bytes:
    """The key of the mask that two sites have in common if they were sent the same, from the private key of the one."""
    return keys.agreed(secret, bytes.fromhex(other.mask), "mask", context, received, *sorted((site, other.site)))


def of_received(arrays: Arrays, personal: Collection[str]) -> str:
    """Digest of what all sites are sent alike: without the parts of their own that new ones are sent once.

    Parameters
    ----------
    arrays
        Of the request, an `Offer`.
    personal
        Names of the model's arrays that stay at the sites.
    """
    return digests.of_arrays("", {n: a for n, a in arrays.items() if n.partition("/")[2] not in personal})


def sign_of(site: str, other: str) -> int:
    """Whether a site adds the mask in common with another, or takes it away: of the two one does the other."""
    return 1 if site < other else -1
