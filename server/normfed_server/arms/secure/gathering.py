"""How the answers of an exchange are waited for: as those of a round are, or as those of sums."""

from __future__ import annotations

from collections.abc import Collection as Sites
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from flwr.app import Message

from normfed_server.arms.in_training import ArmInTraining
from normfed_server.sites.closing import Closing, Outcome
from normfed_server.sites.collecting import Collection


class Gathering(Protocol):
    """Sends requests, and hands on the answers that came."""

    @property
    def reasons(self) -> Mapping[str, str]:
        """Why a site has no part."""
        ...

    def answers(self, requests: Mapping[str, Message], least: int) -> Iterator[tuple[str, Message]]:
        """Site and answer, in the order of names.

        Parameters
        ----------
        least
            Answers without which nothing can be made of the others.
        """
        ...

    def set_aside(self, site: str, why: str) -> None:
        """An answer that came is of no use."""
        ...


@dataclass
class OfRound:
    """As long as a round waits for its sites, in every exchange anew.

    Parameters
    ----------
    closing
        The round's.
    arrivals
        Of the masked answers, see `Collection`.

    Attributes
    ----------
    outcomes, reasons, bytes
        See `Collection`; of all exchanges.
    """

    job: ArmInTraining
    round: int
    closing: Closing
    arrivals: dict[str, float] | None = None
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    bytes: int = 0

    def answers(self, requests: Mapping[str, Message], least: int) -> Iterator[tuple[str, Message]]:
        """See `Gathering`; only those to train take hospital time."""
        trains = any(message.metadata.message_type == "train.round" for message in requests.values())
        collection = Collection(
            self.job.context.asker,
            requests,
            replace(self.closing, sites=max(self.closing.sites, least)),
            self.arrivals if trains else None,
            self.job.context.wall_clock,
            partial(self.job.waiting, self.round),
        )
        try:
            yield from collection
        finally:
            self.outcomes |= collection.outcomes
            self.reasons |= collection.reasons
            self.bytes += collection.bytes

    def set_aside(self, site: str, why: str) -> None:
        """See `Gathering`; after the answers have come."""
        self.outcomes[site], self.reasons[site] = Outcome.SET_ASIDE, why

    def enough(self, sites: set[str]) -> bool:
        """Whether the round may close with these."""
        aside, no_part = (
            {site for site, outcome in self.outcomes.items() if outcome is which}
            for which in (Outcome.SET_ASIDE, Outcome.NO_PART)
        )
        return self.closing.apart_from(no_part).without(aside).quorum(sites)

    def close(self, asked: Iterable[str], took_part: Sites[str]) -> None:
        """The round is over: of those that were asked before the server was killed, and did not take part, no more is
        known."""
        for site in asked:
            if site in took_part:
                self.outcomes[site] = Outcome.TOOK_PART
            elif self.outcomes.get(site, Outcome.TOOK_PART) is Outcome.TOOK_PART:
                self.outcomes[site] = Outcome.LATE
                self.reasons[site] = "was not there when the sites of the secure sum exchanged keys, or answered"


@dataclass
class OfSums:
    """Whoever is connected is waited for.

    Attributes
    ----------
    missed
        Sites that have no part, and why.
    """

    job: ArmInTraining
    missed: dict[str, str] = field(default_factory=dict)

    @property
    def reasons(self) -> Mapping[str, str]:
        """See `Gathering`."""
        return self.missed

    def answers(self, requests: Mapping[str, Message], least: int) -> Iterator[tuple[str, Message]]:
        """See `Gathering`."""
        return self.job.context.asker.answers(requests, missed=self.missed)

    def set_aside(self, site: str, why: str) -> None:
        """See `Gathering`."""
        self.missed[site] = why


@dataclass
class OfTheRest:
    """The last two exchanges: enough answers are enough, and nobody is waited for beyond.

    Attributes
    ----------
    reasons
        Why sites did not answer.
    """

    job: ArmInTraining
    round: int
    reasons: dict[str, str] = field(default_factory=dict)

    def answers(self, requests: Mapping[str, Message], least: int) -> Iterator[tuple[str, Message]]:
        """See `Gathering`."""
        context = self.job.context
        closing = Closing(dict.fromkeys(requests, 1), least, 0.0, 0.0, None, context.excused)
        collection = Collection(
            context.asker, requests, closing, None, context.wall_clock, partial(self.job.waiting, self.round)
        )
        yield from collection
        self.reasons |= collection.reasons

    def set_aside(self, site: str, why: str) -> None:
        """See `Gathering`."""
        self.reasons[site] = why
