"""Sites of one secure sum in one process, each of which does what `Participation` does; and an honest server."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from normfed_common.secure.adverts import Advert, Identity, Unsigned
from normfed_common.secure.participation import Participation, Secrets, Terms, Transcript
from normfed_common.secure.unmasking import unmask

CONTEXT = "a" * 32
TERMS = Terms(minimum_sites=4, colluding=1)


def names(count: int) -> list[str]:
    """Of sites, in the order of their names."""
    return [f"site{number:03d}" for number in range(count)]


@dataclass
class Federation:
    """Sites that exchanged keys and shares; those of ``silent`` sent keys and no shares."""

    sites: Sequence[str]
    silent: Collection[str] = ()
    terms: Terms = TERMS
    context: str = CONTEXT
    identities: dict[str, Identity] = field(default_factory=dict)
    adverts: tuple[Advert, ...] = ()
    parts: dict[str, Participation] = field(default_factory=dict)
    held: dict[str, dict[str, tuple[str, str]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        secrets = {site: Secrets.new() for site in self.sites}
        identity = {site: self.identities.get(site, Unsigned()) for site in self.sites}
        self.adverts = tuple(
            secrets[site].advert(self.context, site, 10 + number, identity[site])
            for number, site in enumerate(self.sites)
        )
        for mine in self.adverts:
            site = mine.site
            self.parts[site] = Participation.begin(
                self.context, mine, secrets[site], self.adverts, self.terms, identity[site]
            )
        boxes = {site: self.parts[site].shares() for site in self.sharers}
        for site in self.sharers:
            self.held[site] = self.parts[site].open({o: boxes[o][site] for o in self.sharers if o != site})

    @property
    def sharers(self) -> list[str]:
        """Sites that go on."""
        return [site for site in self.sites if site not in self.silent]

    def masked(self, site: str, vector: np.ndarray, received: str = "model") -> np.ndarray:
        """What a site sends."""
        found = vector.copy()
        self.parts[site].mask(found, self.sharers, received)
        return found

    def transcripts(self, survivors: Collection[str], received: str = "model") -> dict[str, Transcript]:
        """What each survivor signs."""
        return {site: self.parts[site].transcript(self.sharers, survivors, received) for site in survivors}

    def signatures(self, transcripts: dict[str, Transcript]) -> dict[str, str]:
        """By site."""
        return {site: self.parts[site].identity.sign(found.statement()) for site, found in transcripts.items()}

    def unmasked(
        self, total: np.ndarray, survivors: Sequence[str], signing: Collection[str], answering: Collection[str]
    ) -> np.ndarray:
        """The sum, by an honest server."""
        found, transcripts = total.copy(), self.transcripts(survivors)
        signatures = {s: text for s, text in self.signatures(transcripts).items() if s in signing}
        revealed = {s: self.parts[s].reveal(transcripts[s], signatures, self.held[s]) for s in answering}
        threshold = self.parts[survivors[0]].threshold
        unmask(found, self.context, self.adverts, self.sharers, survivors, revealed, threshold, "model")
        return found
