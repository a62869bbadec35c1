"""`normfed docs` in a source tree and without one, before and after the site is built."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import normfed

from normfed_common import documentation
from normfed_common.foundation.errors import UserError


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source tree with two pages."""
    (tmp_path / "deploy" / "guides" / "how-to").mkdir(parents=True)
    (tmp_path / "README.md").write_text("# all of it\n")
    (tmp_path / "deploy" / "guides" / "index.md").write_text("# Begin here\n")
    (tmp_path / "deploy" / "guides" / "how-to" / "paper.md").write_text("# Tables for a paper\n")
    monkeypatch.setattr(documentation, "ROOT", tmp_path)
    return tmp_path


def build(tree: Path, name: str) -> Path:
    page = tree / "deploy" / "site" / f"{name}.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("<h1>built</h1>")
    return page


def test_the_source_tree_has_every_page_with_a_title() -> None:
    found = documentation.pages()
    assert {"readme", "index", "ten-minutes", "how-to/own-scans", "reference/study"} <= found.keys()
    assert [name for name, path in found.items() if not documentation.title_of(path)] == []


def test_a_page_is_its_markdown_until_the_site_is_built(tree: Path) -> None:
    markdown = tree / "deploy" / "guides" / "how-to" / "paper.md"
    assert normfed("docs", "how-to/paper").output.strip() == str(markdown)
    page = build(tree, "how-to/paper")
    assert normfed("docs", "how-to/paper").output.strip() == str(page)


def test_the_list_says_how_the_site_is_built_and_then_where_it_is(tree: Path) -> None:
    assert "make docs" in normfed("docs").output
    page = build(tree, "index")
    said = normfed("docs").output
    assert "Tables for a paper" in said
    assert str(page) in said.replace("\n", "")


def test_a_browser_is_given_the_built_page(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []
    monkeypatch.setattr(documentation.webbrowser, "open", given.append)
    with pytest.raises(UserError, match="make docs"):
        normfed("docs", "--open")
    page = build(tree, "index")
    assert normfed("docs", "--open").exit_code == 0
    assert given == [page.as_uri()]


def test_programs_are_told_both_places(tree: Path) -> None:
    page = build(tree, "index")
    items = {item["name"]: item for item in json.loads(normfed("docs", "--json").output)["items"]}
    assert items["index"] == {
        "name": "index",
        "title": "Begin here",
        "path": str(tree / "deploy" / "guides" / "index.md"),
        "site": str(page),
    }
    assert items["readme"]["site"] is None


def test_a_page_that_is_none_is_refused_with_the_one_that_was_meant(tree: Path) -> None:
    with pytest.raises(UserError, match=r"Did you mean how-to/paper\?"):
        normfed("docs", "how-to/papers")


def test_a_page_is_found_by_its_name_alone(tree: Path) -> None:
    assert normfed("docs", "paper").output == normfed("docs", "how-to/paper").output


def test_a_word_that_names_nothing_is_found_on_the_pages_that_say_it_most(tree: Path) -> None:
    (tree / "README.md").write_text("# all of it\nBooktabs.\n")
    (tree / "deploy" / "guides" / "how-to" / "paper.md").write_text("# Tables\nbooktabs, BOOKTABS\n")
    with pytest.raises(UserError, match=r"Pages that say it: how-to/paper, readme\.$"):
        normfed("docs", "booktabs")


def test_a_wheel_alone_says_that_it_has_no_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documentation, "ROOT", tmp_path)
    assert "source tree" in normfed("docs").output
