"""What audits found, as it is shown in a terminal, of 80 columns too: a table per run, one below the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from normfed_server.report.promises import protected
from normfed_server.results.audit import Finding, PrivacyAudit

LAYOUT: dict[str, Any] = {"box": SIMPLE_HEAD, "padding": (0, 1, 0, 0), "pad_edge": False}
WIDEST = 64  # of the column of attacks: longer lines are hard to read
LEGEND = (
    "In brackets 95 % intervals. TPR at FPR: how many of those who took part are recognised, where of the others so "
    "many are mistaken. epsilon: what the attack proves of it. –: not measured, or too few people. All notes are in "
    "privacy-audit.json."
)


def shown(audits: Sequence[PrivacyAudit]) -> Group:
    """Every attack with its figure, chance, rates, and what it says of epsilon."""
    parts: list[RenderableType] = [Text("What an attacker could still learn", style="italic")]
    for audit in audits:
        parts += [Text(), _heading(audit), _table(audit)]
    return Group(*parts, Text(LEGEND, style="dim"))


def _heading(audit: PrivacyAudit) -> Text:
    return Text.assemble((audit.run, "bold"), f" ({audit.model}); claimed: {protected(audit.protection)}")


def _table(audit: PrivacyAudit) -> Table:
    found = Table(**LAYOUT)
    found.add_column("attack", max_width=WIDEST)
    for column in ("reached", "chance", "TPR at 1 %,\n10 % FPR", "epsilon\nat least"):
        found.add_column(column, justify="right", no_wrap=True)
    for finding in audit.findings:
        least = "–" if finding.epsilon_at_least is None else f"{finding.epsilon_at_least:.2f}"
        chance = "–" if finding.chance is None else f"{finding.chance:.2f}"
        found.add_row(_attack(finding), _figure(finding), chance, _rates(finding), least)
        found.add_section()
    return found


def _attack(finding: Finding) -> str:
    """What it is and what it knows; why it was not made; what needs no attack."""
    lines = [f"knows {finding.knows}{f'; {finding.people} people' if finding.people else ''}"]
    if finding.figure is None:
        lines = list(finding.notes[:1])
    if finding.baselines:
        told = ", ".join(f"{name} {value:.2f}" for name, value in finding.baselines.items())
        lines.append(f"beside it: {told}")
    if finding.epsilon_of and finding.epsilon_at_least is not None:
        lines.append(f"epsilon of {finding.epsilon_of}")
    return "\n".join([escape(finding.title), *(f"[dim]{escape(line)}[/]" for line in lines)])


def _figure(finding: Finding) -> str:
    if finding.figure is None:
        return "–"
    reached = escape(f"{finding.measure} {finding.figure.value:.2f}")
    if finding.figure.low is None or finding.figure.high is None:
        return reached
    return f"{reached}\n[dim]({finding.figure.low:.2f} to {finding.figure.high:.2f})[/]"


def _rates(finding: Finding) -> str:
    return ", ".join("–" if rate is None else f"{rate:.2f}" for rate in finding.rates.values())
