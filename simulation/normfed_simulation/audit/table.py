"""What an audit found, as one table; of several runs one below the other for every attack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from normfed_server.results.audit import Finding, PrivacyAudit

LAYOUT: dict[str, Any] = {
    "title_justify": "left",
    "caption_justify": "left",
    "box": SIMPLE_HEAD,
    "padding": (0, 1, 0, 0),
}


def table(audits: Sequence[PrivacyAudit]) -> Table:
    """Every attack with its figure, chance, rates, and what it says of epsilon."""
    found = Table(title="What an attacker could still learn [dim](95 % interval)[/]", **LAYOUT)
    for column in ("attack, and what the attacker knows", "figure", "chance", "TPR at 1 % / 10 % FPR"):
        found.add_column(column, justify="left" if "attack" in column else "right")
    found.add_column("epsilon at least", justify="right")
    found.add_column("claimed at most", justify="right")
    for audit in audits:
        claim = "none" if audit.protection.epsilon is None else f"{audit.protection.epsilon:.2f}"
        found.add_row(f"[bold]{audit.run}[/] ({audit.model}, {audit.protection.words})")
        for finding in audit.findings:
            least = "–" if finding.epsilon_at_least is None else f"{finding.epsilon_at_least:.2f}"
            what = f"{finding.title}\n[dim]{finding.knows}; n = {finding.people}[/]"
            found.add_row(what, _figure(finding), _chance(finding), _rates(finding), least, claim)
    found.caption = (
        "–: not measured, or too few people for such a rate. Notes on each attack are in privacy-audit.json."
    )
    return found


def _figure(finding: Finding) -> str:
    if finding.figure is None:
        return "–"
    shown = f"{finding.measure} {finding.figure.value:.2f}"
    if finding.figure.low is None or finding.figure.high is None:
        return shown
    return f"{shown}\n[dim]{finding.figure.low:.2f} to {finding.figure.high:.2f}[/]"


def _chance(finding: Finding) -> str:
    shown = [] if finding.chance is None else [f"{finding.chance:.2f}"]
    return "\n".join(shown + [f"[dim]{name}[/] {value:.2f}" for name, value in finding.baselines.items()]) or "–"


def _rates(finding: Finding) -> str:
    if not finding.rates:
        return ""
    return " / ".join("–" if rate is None else f"{rate:.2f}" for rate in finding.rates.values())
