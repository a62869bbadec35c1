"""Generated tables, as Markdown's own library reads them."""

from __future__ import annotations

import re
from functools import cached_property
from html import unescape
from pathlib import Path

import click
import markdown
import pytest

from normfed_deploy.documentation import command_line, errors, frames_of_runs
from normfed_deploy.documentation.hooks import MARK, lists
from normfed_deploy.documentation.markdown import anchored, code, prose, table
from normfed_simulation.api.opened import OpenRun

GUIDES = Path(__file__).parents[3] / "deploy" / "guides"


def cells(text: str) -> list[str]:
    """Of the body of a table, without markup."""
    html = markdown.markdown(text, extensions=["tables"])
    return [unescape(re.sub(r"<[^>]+>", "", cell)) for cell in re.findall(r"<td>(.*?)</td>", html, re.DOTALL)]


@pytest.mark.parametrize(
    "text", ["adam | sgd", "a * b * c", "below <10*>", "a list [atlas]", "{name: value}", "_private_ and snake_case"]
)
def test_any_text_is_read_back_from_a_cell(text: str) -> None:
    assert cells(table(("",), [[prose(text)]])) == [text]


def test_code_stays_code() -> None:
    html = markdown.markdown(table(("",), [[prose("values of `group` and ``a|b``")]]), extensions=["tables"])
    assert "<code>group</code>" in html
    assert "<code>a|b</code>" in html
    assert code("") == ""


def test_a_name_has_an_anchor_to_which_links_lead() -> None:
    assert 'id="data.sites"' in markdown.markdown(table(("",), [[anchored("data.sites")]]), extensions=["tables"])


def test_links_of_the_codes_lead_from_the_folder_below() -> None:
    assert "(../upgrading.md#when-the-protocol-changes)" in errors.codes(GUIDES)


def test_every_frame_of_a_run_has_its_columns_explained() -> None:
    frames = {
        name
        for name, found in vars(OpenRun).items()
        if isinstance(found, cached_property) and found.func.__annotations__["return"] == "pandas.DataFrame"
    }
    assert {"patients", "league"} <= frames
    assert frames == frames_of_runs.FRAMES.keys()


def test_every_option_of_a_command_is_in_its_table() -> None:
    page = command_line.pages()
    simulate = page.split("## normfed simulate\n")[1].split("\n## ")[0]
    command = command_line.root().resolve_command(click.Context(command_line.root()), ["simulate"])[1]
    assert command is not None
    options = [option for each in command.params for option in each.opts if option.startswith("--")]
    assert "--resume" in options
    assert [option for option in options if option != "--help" and option not in simulate] == []


def test_every_list_has_a_page_and_every_page_asks_for_lists_that_there_are() -> None:
    asked = [mark[1] for page in GUIDES.rglob("*.md") for mark in MARK.finditer(page.read_text())]
    assert sorted(asked) == sorted(lists(GUIDES))
