"""Which entry of a registry keeps which check, as a Markdown table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from contracts.entries import Entry

from normfed_common.metrics.base import Metric

CELL, REFUSED = "cell", "refused"
KEPT, BROKEN = "✓", "✗"
HEAD = """# Which plug-in keeps which check

Written by `pytest tests/contracts --contracts-table tests/contracts/TABLE.md`. ✓ kept, ✗ not kept; a number tells
below why a check has nothing to look at, or in which words something is refused.
"""


def cell_of(item: pytest.Item) -> tuple[str, str, str] | None:
    """The kind of plug-in, the check in words, and the entry; None where a test is no check of an entry."""
    if not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
        return None
    tried = [value for value in item.callspec.params.values() if isinstance(value, Entry | Metric)]
    if not tried:
        return None
    label = tried[0].label if isinstance(tried[0], Entry) else tried[0].name
    return item.path.stem.split("_")[1], in_words(item.originalname), label


def in_words(check: str) -> str:
    """A test's name without its underscores."""
    return check.removeprefix("test_").replace("_", " ")


class Table:
    """Collects reports, and writes the table when the session ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.said: dict[str, dict[tuple[str, str], str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a check came to; of one with more parameters the worst."""
        told: dict[str, Any] = dict(report.user_properties)
        if CELL not in told or (report.when != "call" and not report.failed and not report.skipped):
            return
        kind, check, entry = told[CELL]
        cells = self.said.setdefault(kind, {})
        if cells.get((entry, check)) != BROKEN:
            cells[entry, check] = outcome(report, told.get(REFUSED))

    def pytest_sessionfinish(self) -> None:
        """Write it."""
        self.path.write_text(self.text())

    def text(self) -> str:
        """A table per kind, and below it what its columns and numbers mean."""
        return "\n".join([HEAD, *(_section(kind, cells) for kind, cells in sorted(self.said.items()))])


def outcome(report: pytest.TestReport, refused: str | None) -> str:
    """One cell: a sign, or the reason that stands in a note."""
    if hasattr(report, "wasxfail"):
        return f"known: {report.wasxfail}"
    if report.failed:
        return BROKEN
    if report.skipped:
        return f"nothing to check: {report.longrepr[2].removeprefix('Skipped: ')}"  # type: ignore[index]
    return f"refused: {refused}" if refused else KEPT


def _section(kind: str, cells: dict[tuple[str, str], str]) -> str:
    entries = list(dict.fromkeys(entry for entry, _ in cells))
    checks = list(dict.fromkeys(check for _, check in cells))
    notes: list[str] = []

    def sign(value: str) -> str:
        if value in (KEPT, BROKEN, ""):
            return value
        if value not in notes:
            notes.append(value)
        return str(notes.index(value) + 1)

    letters = [_letter(number) for number in range(len(checks))]
    rows = [[entry, *(sign(cells.get((entry, check), "")) for check in checks)] for entry in entries]
    lines = [f"| {' | '.join(row)} |" for row in (["", *letters], ["---"] * (len(checks) + 1), *rows)]
    legend = [f"- {letter}: {check}" for letter, check in zip(letters, checks, strict=True)]
    told = [f"{number}. {note}" for number, note in enumerate(notes, 1)]
    blocks = (f"## {kind.capitalize()}s", "\n".join(lines), "\n".join(legend), "\n".join(told))
    return "\n\n".join(block for block in blocks if block) + "\n"


def _letter(number: int) -> str:
    return chr(ord("A") + number % 26) * (number // 26 + 1)
