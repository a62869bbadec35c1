"""Every code with which a site refuses: what it says, and what to do, by the operator's table of the first guide."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from normfed_common.foundation.errors import SiteCode
from normfed_deploy.documentation.markdown import anchored, prose, table

TABLE = "ten-minutes.md"  # of the guides: one row for every code
CODE = re.compile(r"\b(\d{3}) [A-Z_]{4,}")
LINK = re.compile(r"\]\((?!\w+://)([^)]+)\)")


def cures(guides: Path) -> dict[int, tuple[str, str]]:
    """Code to what it means and what to do, as the guide has them; links are as from a page one folder below."""
    found = {}
    for line in (guides / TABLE).read_text().splitlines():
        cells = line.strip("| ").split(" | ")
        for number in CODE.findall(cells[0]) if line.startswith("| ") and len(cells) == 3 else ():
            found[int(number)] = (LINK.sub(_from_below, cells[1]), LINK.sub(_from_below, cells[2]))
    return found


def codes(guides: Path) -> str:
    """A table of all codes of sites."""
    return table(("code", "what the operator is told", "what it means", "what to do"), _rows(cures(guides)))


def _rows(found: dict[int, tuple[str, str]]) -> Iterator[list[str]]:
    for code in sorted(SiteCode):
        yield [f"{int(code)} {anchored(code.name)}", prose(code.sentence), *found[int(code)]]


def _from_below(link: re.Match[str]) -> str:
    target, mark, anchor = link[1].partition("#")
    return f"]({posixpath.join('..', target or TABLE)}{mark}{anchor})"
