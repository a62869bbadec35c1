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
    assert normfed("docs", "how-to/paper").output.splitlines()[0] == str(markdown)
    page = build(tree, "how-to/paper")
    assert normfed("docs", "how-to/paper").output.splitlines()[0] == str(page)


def test_a_page_is_shown_by_its_beginning_and_its_headings(tree: Path) -> None:
    markdown = tree / "deploy" / "guides" / "how-to" / "paper.md"
    markdown.write_text(
        "# Tables for a paper\n\n<!-- made: x -->\n\nEvery [table](a.md) of a run,\nand figures.\n\n"
        "## Tables\n\n```\n## no heading\n```\n\n### Small\n\n## Figures\n"
    )
    assert normfed("docs", "how-to/paper").output.splitlines() == [
        str(markdown),
        "",
        "Tables for a paper",
        "",
        "Every table of a run, and figures.",
        "",
        "On it: Tables; Figures.",
    ]


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


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("chance", "what a map of noise would get"),
        ("threshold", "the score from which on"),
        ("tie", "touches zero"),
        ("brain", "where the brain mask of a scored scan is from"),
        ("background", "all that is not zero"),
        ("Canary", "one batch at every site"),
        ("p-value", "at least as high"),
        ("held-out", "on whom nothing is trained"),
        ("held out", "on whom nothing is trained"),
        ("AP", "share of lesion among the voxels"),
    ],
)
def test_a_word_of_reports_is_explained_as_there(word: str, says: str) -> None:
    assert says in " ".join(normfed("docs", word).output.split())
    (item,) = json.loads(normfed("docs", word, "--json").output)["items"]
    assert says in item["text"]


def test_pages_that_say_a_word_are_named_below_it(tree: Path) -> None:
    (tree / "README.md").write_text("# all of it\nheld-out people, held out, heldout.\n")
    assert normfed("docs", "held out").output.splitlines()[-1] == "Pages that say it: readme."


def test_only_what_is_close_may_have_been_meant() -> None:
    for far, other in (("p-valeu", "vae"), ("false", "atlas")):
        with pytest.raises(UserError, match="No page, word") as caught:
            normfed("docs", far)
        assert f"Did you mean {other}" not in str(caught.value)


def test_other_keys_of_a_word_are_named_below_the_one_that_ends_so() -> None:
    said = normfed("docs", "controls").output
    assert said.startswith("data.phantom.sites[].controls")
    assert said.splitlines()[-1] == "See also: data.control_groups"


def test_a_key_is_offered_for_one_of_its_words() -> None:
    with pytest.raises(UserError, match=r"Did you mean data\.ill_groups or data\.control_groups\?"):
        normfed("docs", "groups")


def test_a_wheel_alone_says_that_it_has_no_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documentation, "ROOT", tmp_path)
    assert "source tree" in normfed("docs").output
