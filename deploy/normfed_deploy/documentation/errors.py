"""Every code with which a site refuses: what it says, and what to do, by the operator's table of the first guide."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from normfed_common.cures import TABLE, Cure, cures
from normfed_common.foundation.errors import SiteCode
from normfed_deploy.documentation.markdown import anchored, prose, table

LINK = re.compile(r"\]\((?!\w+://)([^)]+)\)")


def codes(guides: Path) -> str:
    """A table of all codes of sites."""
    return table(("code", "what the operator is told", "what it means", "what to do"), _rows(cures(guides / TABLE)))


def _rows(found: dict[int, Cure]) -> Iterator[list[str]]:
    for code in sorted(SiteCode):
        said = [LINK.sub(_from_below, text) for text in (found[int(code)].meaning, found[int(code)].remedy)]
        yield [f"{int(code)} {anchored(code.name)}", prose(code.sentence), *said]


def _from_below(link: re.Match[str]) -> str:
    target, mark, anchor = link[1].partition("#")
    return f"]({posixpath.join('..', target or TABLE)}{mark}{anchor})"
