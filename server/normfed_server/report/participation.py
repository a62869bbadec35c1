"""The participation table: site x round."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from normfed_server.events.rounds import RoundFigures
from normfed_server.results.layout import RunResults

SIGNS = {
    "took part": ("✓", "yes"),
    "not sampled": ("·", "no"),
    "late": ("late", "bad"),
    "refused": ("refused", "bad"),
    "failed": ("failed", "bad"),
    "set aside": ("set aside", "bad"),
    "absent": ("absent", "bad"),
    "no part": ("–", "no"),
}


@dataclass(frozen=True)
class Cell:
    """One site in one round."""

    sign: str
    kind: str
    why: str


@dataclass(frozen=True)
class Table:
    """One model's participation.

    Parameters
    ----------
    shares
        Site to its share of the weights, the mean over the rounds in which its update was used.
    """

    model: str
    rounds: list[int]
    rows: dict[str, list[Cell]]
    shares: dict[str, float]
    complete: bool


def tables(results: RunResults) -> list[Table]:
    """The federated model's, and of other strategies those in which somebody was missing."""
    names = ["federated", *(name for name, sites in results.missing.items() if sites and name != "federated")]
    found = []
    for name in names:
        history = results.rounds if name == "federated" else results.rounds_of.get(name, ())
        if history:
            found.append(_table(name, history, not results.missing.get(name)))
    return found


def _table(name: str, history: Sequence[RoundFigures], complete: bool) -> Table:
    sites = sorted({site for entry in history for site in entry.outcomes})
    rows = {site: [_cell(entry, site) for entry in history] for site in sites}
    return Table(name, [entry.round for entry in history], rows, mean_shares(history), complete)


def mean_shares(history: Sequence[RoundFigures]) -> dict[str, float]:
    """Site to its mean share of the weights over the rounds in which its update was used."""
    found: dict[str, list[float]] = {}
    for entry in history:
        for site, share in entry.shares.items():
            found.setdefault(site, []).append(share)
    return {site: statistics.fmean(shares) for site, shares in found.items()}


def _cell(entry: RoundFigures, site: str) -> Cell:
    if site not in entry.outcomes:
        return Cell("", "no", "not in the federation")
    outcome = entry.outcomes[site]
    sign, kind = SIGNS[outcome]
    return Cell(sign, kind, f"{outcome}: {entry.reasons[site]}" if site in entry.reasons else outcome)
