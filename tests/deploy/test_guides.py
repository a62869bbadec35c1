"""The guides show code that runs, and link to pages that are there."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from normfed_client.operation.cli import site
from normfed_common.foundation.errors import SiteCode
from normfed_deploy.cli import deploy
from normfed_server.console.cli import server

ROOT = Path(__file__).parents[2]
GUIDES = ROOT / "deploy" / "guides"
PROJECT = ROOT / "tests" / "third-party" / "normfed-robust"
PAGES = [*sorted(GUIDES.glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


def test_every_block_of_code_on_how_to_write_a_model_stands_word_for_word_in_the_plug_in_of_the_tests() -> None:
    blocks = re.findall(r"^```\w*\n(.*?)^```", (GUIDES / "write-a-model.md").read_text(), re.MULTILINE | re.DOTALL)
    files = [path.read_text() for path in PROJECT.rglob("*") if path.suffix in {".py", ".toml", ".yaml", ".md"}]
    assert len(blocks) > 8
    absent = [b for b in blocks if not any(b in text or textwrap.indent(b, "    ") in text for text in files)]
    assert absent == []


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("code", SiteCode, ids=lambda code: code.name)
def test_an_operator_finds_every_code_of_a_site_in_the_table_of_what_to_do(code: SiteCode) -> None:
    rows = [line for line in (GUIDES / "ten-minutes.md").read_text().splitlines() if line.startswith("| `")]
    assert len([row for row in rows if f"{int(code)} {code.name}" in row.split(" | ")[0]]) == 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#([^)\s]+))?\)", page.read_text())
    inside = [(page.parent / target, anchor) for target, anchor in links if "://" not in target]
    assert [str(target) for target, _ in inside if not target.exists()] == []
    assert [anchor for target, anchor in inside if anchor and anchor not in anchors(target)] == []


def test_every_command_that_an_it_department_is_told_is_one() -> None:
    groups = {"site": site, "server": server, "deploy": deploy}
    known = {(name, c.name or c.callback.__name__) for name, app in groups.items() for c in app.registered_commands}  # type: ignore[union-attr]
    told = re.findall(r"\bnormfed (site|server|deploy) ([a-z-]+)", (GUIDES / "it-department.md").read_text())
    assert len(told) > 8
    assert set(told) <= known
