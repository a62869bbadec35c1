"""How things stand at a hospital, each in a word and a few lines."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from normfed_client.hospital.bookkeeping.budget import lately, spent
from normfed_client.hospital.folder import Hospital
from normfed_client.page.records import alarms, heard_of_server, shown_time
from normfed_client.quality.kept import Records
from normfed_client.quality.standing import why_not
from normfed_client.recording.audit import Audit
from normfed_common.chain.verifying import Verified
from normfed_common.foundation.errors import SiteError, UserError


class Client(Protocol):
    """How the client's processes stand."""

    @property
    def running(self) -> bool:
        """Whether it runs."""

    @property
    def well(self) -> bool:
        """Whether nothing is wrong with the connection."""

    @property
    def sentence(self) -> str:
        """In words."""

    @property
    def last(self) -> list[str]:
        """What it did last."""


@dataclass(frozen=True)
class Card:
    """One thing that is well or not.

    Parameters
    ----------
    mark
        "good", "look", "bad" or "plain".
    """

    mark: str
    word: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Budget:
    """Of 365 days, or for life; in epsilon."""

    name: str
    spent: str
    limit: float
    left: float
    share: float


def or_why_not(made: Callable[[], Card]) -> Card:
    """A card; where what it is of cannot be read, one that says so."""
    try:
        return made()
    except (UserError, OSError) as error:
        return Card("bad", "cannot be read", (str(error),))


def of_client(found: Client) -> Card:
    """How the client's processes stand."""
    mark, word = ("good", "runs") if found.well else ("look", "runs, but") if found.running else ("bad", "down")
    return Card(mark, word, (found.sentence, *found.last[::-1]))


def of_quality(hospital: Hospital) -> Card:
    """Whether somebody looked at the cohort as it is now."""
    rule = hospital.config.quality_gate
    if rule == "off":
        return Card("plain", "off", ("quality_gate of site.yaml is off: nobody needs to look before a study learns.",))
    look = Records(hospital.quality).latest()
    of = (look.modalities, look.healthy) if look is not None else ((), ())
    why = why_not(hospital, *of)
    stops = "Training and sums are refused until then." if rule == "required" else "The gate only warns."
    if why:
        return Card("bad" if rule == "required" else "look", "somebody has to look", (f"{why}.", stops))
    assert look is not None
    return Card("good", "looked at", (f"{', '.join(look.modalities)}, on {shown_time(look.time)}.",))


def of_audit(hospital: Hospital, verified: Verified) -> Card:
    """Whether the audit is what was written, and how both sides' ends."""
    if not Audit(hospital).files():
        return Card("plain", "no record yet")
    head, when = heard_of_server(verified.records)
    told = "The server has not said how its own record ends yet."
    if head is not None:
        told = f"The server's own record: {head.records:,} records, head {head.digest}, told {shown_time(when)}."
    troubles = (*verified.problems[:5], *alarms(verified.records)[-3:])
    last = [f"Head {record.digest}." for record in verified.records[-1:]]
    if not verified.good:
        return Card("bad", "not what was written", (*troubles, *last, told))
    word = f"whole: verified up to record {verified.records[-1].number:,}"
    return Card("look" if troubles else "good", word, (*troubles, *last, told))


def budget_of(hospital: Hospital) -> tuple[list[Budget], str]:
    """A bar per limit, or what there is to say instead."""
    rules = hospital.config
    if not rules.limited:
        return [], "No budget is set (epsilon_per_year and epsilon_for_life of site.yaml): nothing bounds the sum."
    try:
        entries = hospital.ledger().entries()
    except (UserError, SiteError, OSError) as error:
        return [], str(error)
    found = []
    for name, limit, counted in (
        ("365 days", rules.epsilon_per_year, lately(entries)),
        ("for life", rules.epsilon_for_life, entries),
    ):
        if limit is not None:
            used = spent(counted, rules.budget_delta)
            told = "something left without noise: no epsilon bounds it" if math.isinf(used) else f"{used:.3g}"
            found.append(Budget(name, told, limit, max(limit - used, 0.0), min(used / limit, 1.0)))
    return found, f"Epsilon per patient at delta {rules.budget_delta:g}; see normfed site ledger."
