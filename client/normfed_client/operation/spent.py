"""The ledger as its hospital reads it: a row per year, a bar per budget, and what it was spent on."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import get_args

from rich.console import Console
from rich.table import Table

from normfed_client.hospital.bookkeeping.budget import BudgetRules, counts, lately, spent
from normfed_client.hospital.bookkeeping.entries import Entry, Kind
from normfed_common.privacy import accounting
from normfed_common.wording.terminal_text import plain

BAR = 30  # columns
COLUMN: dict[Kind, str] = {"noise": "with noise"}


def as_json(entries: Sequence[Entry], rules: BudgetRules) -> str:
    """Every entry, epsilon of each year, of the last 365 days and for life (null where something left without noise),
    and the budget."""
    years = sorted({entry.year for entry in entries})
    found = {
        "delta": rules.budget_delta,
        "epsilon_per_year": rules.epsilon_per_year,
        "epsilon_for_life": rules.epsilon_for_life,
        "spent_per_year": {str(year): _told(_of(entries, year), rules) for year in years},
        "spent_in_365_days": _told(lately(entries), rules),
        "spent_for_life": _told(entries, rules),
        "entries": [
            {
                "time": entry.time,
                "kind": entry.release.kind,
                "run": entry.release.run,
                "arm": entry.release.arm,
                "what": entry.release.what,
                "settled": entry.settled,
                "spent": [[m.noise_multiplier, m.sampling_rate, m.times] for m in entry.release.spent],
                "noise_sites": max((m.sites for m in entry.release.spent), default=1),
            }
            for entry in entries
        ],
    }
    return json.dumps(found, indent=1, allow_nan=False)


def show(console: Console, entries: Sequence[Entry], rules: BudgetRules) -> None:
    """Print tables and bars."""
    if not entries:
        console.print("Nothing was spent yet.")
    years = sorted({entry.year for entry in entries})
    if entries:
        console.print(_years(entries, years, rules))
        console.print()
    for name, limit, counted in (
        ("365 days", rules.epsilon_per_year, lately(entries)),
        ("life", rules.epsilon_for_life, entries),
    ):
        if limit is not None:
            console.print(_bar(name, spent(counted, rules.budget_delta), limit), soft_wrap=True)
    if not rules.limited:
        console.print("No budget is set (epsilon_per_year and epsilon_for_life of site.yaml): nothing bounds the sum.")
    if entries:
        console.print()
        console.print(_purposes(entries, rules))
        console.print(
            f"\nEpsilon is per patient, at delta {rules.budget_delta:g} (budget_delta), as if each were in everything. "
            f"What was reserved counts, whether it left or not{_unsettled(entries)}.{_staying(entries)}",
        )
        if (note := _distributed(entries, rules)) is not None:
            console.print(note)


def _distributed(entries: Sequence[Entry], rules: BudgetRules) -> str | None:
    """What is trusted where noise was distributed, and what it would be worth else."""
    shared = [m for entry in entries for m in entry.release.spent if m.sites > 1]
    if not shared:
        return None
    alone = accounting.epsilon((m.alone() for entry in entries for m in entry.release.spent), rules.budget_delta)
    return (
        f"\nReleases with this hospital's share of distributed noise: {sum(m.times for m in shared)}. They count as if "
        f"the noise of {max(m.sites for m in shared)} hospitals were in each, its own among them. If no other "
        f"had added its share, epsilon of all entries would be {_number(alone)}."
    )


def _years(entries: Sequence[Entry], years: Sequence[int], rules: BudgetRules) -> Table:
    kinds = _kinds(entries)
    table = Table("year", "epsilon", *(COLUMN.get(kind, kind) for kind in kinds), box=None, pad_edge=False)
    for name, counted in [*((str(year), _of(entries, year)) for year in years), ("life", entries)]:
        table.add_row(name, _number(spent(counted, rules.budget_delta)), *_counted(counted, kinds))
    return table


def _purposes(entries: Sequence[Entry], rules: BudgetRules) -> Table:
    kinds = _kinds(entries)
    table = Table(box=None, pad_edge=False)
    for name in ("run", "model"):
        table.add_column(name, overflow="fold")  # two runs of a day differ in their last letters
    for name in ("epsilon", *(COLUMN.get(kind, kind) for kind in kinds), "last"):
        table.add_column(name, no_wrap=True)
    models = dict.fromkeys((entry.release.run, entry.release.arm) for entry in entries)
    for run, arm in models:
        of = [entry for entry in entries if (entry.release.run, entry.release.arm) == (run, arm)]
        figures = _number(spent(of, rules.budget_delta)), *_counted(of, kinds)
        table.add_row(plain(run), plain(arm), *figures, of[-1].time[:10])
    return table


def _kinds(entries: Sequence[Entry]) -> list[Kind]:
    """Of which there are entries: a column for each."""
    found = {entry.release.kind for entry in entries}
    return [kind for kind in get_args(Kind) if kind in found]


def _counted(entries: Sequence[Entry], kinds: Sequence[Kind]) -> list[str]:
    found = [entry.release.kind for entry in entries]
    return [str(found.count(kind) or "–") for kind in kinds]


def _unsettled(entries: Sequence[Entry]) -> str:
    count = sum(not entry.settled for entry in entries)
    return f" ({count} with no answer so far: at work, refused by another guard, or killed)" if count else ""


def _staying(entries: Sequence[Entry]) -> str:
    return "" if all(map(counts, entries)) else " What stays is not counted."


def _bar(name: str, found: float, limit: float) -> str:
    full = BAR if math.isinf(found) else min(BAR, math.ceil(BAR * found / limit))
    colour = "green" if found < 0.8 * limit else "yellow" if found <= limit else "red"
    left = f"{_number(found)} of {limit:g} is spent, {max(limit - found, 0.0):.3g} is left"
    return f"{name:<8} [{colour}]{'█' * full}[/][dim]{'░' * (BAR - full)}[/] {left}"


def _of(entries: Sequence[Entry], year: int) -> list[Entry]:
    return [entry for entry in entries if entry.year == year]


def _told(entries: Sequence[Entry], rules: BudgetRules) -> float | None:
    found = spent(entries, rules.budget_delta)
    return None if math.isinf(found) else found


def _number(epsilon: float) -> str:
    return "∞" if math.isinf(epsilon) else f"{epsilon:.3g}"
