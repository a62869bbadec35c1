"""What the pages tell people to type can be typed: code runs, commands and options exist, studies are ones."""

from __future__ import annotations

import ast
import contextlib
import doctest
import io
import itertools
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from normfed_common.studies import resolve
from normfed_common.study.config import StudyConfig
from normfed_deploy.documentation.command_line import root as normfed_command
from normfed_simulation import experiment

pytestmark = pytest.mark.xdist_group("documentation")  # one run serves all pages

ROOT = Path(__file__).parents[3]
GUIDES = ROOT / "deploy" / "guides"
NEW = [path for folder in ("tutorials", "how-to") for path in sorted((GUIDES / folder).glob("*.md"))]
PLUGIN = GUIDES / "write-a-model.md"  # has a test of its own: its code is that of a plug-in
PAGES = [path for path in (*sorted(GUIDES.rglob("*.md")), ROOT / "README.md") if path != PLUGIN]
FIRST = GUIDES / "tutorials" / "from-python.md"  # makes the run that other pages open
OPENED = "demo-20261128-090938"  # what they call it
NOT_RUN = 'title="Not run here: '
FENCE = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, what stands behind that, its text, and the output that the page shows below."""

    language: str
    said: str
    text: str
    output: str | None = None


def blocks(page: Path) -> list[Block]:
    markdown = page.read_text()
    found = list(FENCE.finditer(markdown))
    shown = {
        before.end(): after[3]
        for before, after in itertools.pairwise(found)
        if after[1] == "text" and not markdown[before.end() : after.start()].strip()
    }
    return [Block(match[1], match[2].strip(), match[3], shown.get(match.end())) for match in found]


def run(block: Block, names: dict[str, Any]) -> str:
    """Run a block as a notebook runs a cell: what it prints, then its last value."""
    tree = ast.parse(block.text)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(tree, "page", "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "page", "eval"), names)
            if value is not None:
                printed.write(repr(value))
    return printed.getvalue()


def runs(page: Path) -> bool:
    return any(block.language == "python" and not block.said.startswith(NOT_RUN) for block in blocks(page))


def timeless(text: str) -> str:
    return re.sub(r"\d{8}-\d{6}", "TIME", text).strip()


def as_shown(shown: str, said: str) -> bool:
    """Whether it is what the page shows; `...` there stands for anything, as in a doctest."""
    return doctest.OutputChecker().check_output(shown, said, doctest.ELLIPSIS)


@dataclass(frozen=True)
class Followed:
    """A page that was followed to its end: the names it made, and where it shows other outputs than those it has."""

    names: dict[str, Any]
    wrong: list[tuple[str, str]]


def follow(page: Path) -> Followed:
    found = Followed({}, [])
    for block in blocks(page):
        if block.language == "python" and not block.said.startswith(NOT_RUN):
            said = run(block, found.names)
            if block.output is not None and not as_shown(timeless(block.output), timeless(said)):
                found.wrong.append((said, block.output))
    return found


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Followed]:
    """The first page, followed in a folder of its own; its run stands there under the name that other pages open, and
    its people as the dataset `data`."""
    folder = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder):
        patch.setenv("NORMFED_CACHE", str(folder / "cache"))
        patch.setattr(experiment, "worker_count", lambda asked: 0)  # a process each would take longer than the work
        followed = follow(FIRST)
        (folder / "runs" / OPENED).symlink_to(followed.names["run"].folder.resolve())
        (dataset,) = (folder / "cache" / "datasets" / "phantom").glob("*/")
        (folder / "data").symlink_to(dataset)
        yield followed


def test_the_first_page_shows_what_its_code_says(first: Followed) -> None:
    assert first.wrong == []


@pytest.mark.parametrize("page", [page for page in NEW if page != FIRST and runs(page)], ids=lambda page: page.stem)
def test_the_code_of_a_page_runs_from_its_top_to_its_end(page: Path, first: Followed) -> None:
    assert follow(page).wrong == []


def test_what_is_not_run_says_why() -> None:
    titles = [block.said for page in NEW for block in blocks(page) if block.language == "python" and block.said]
    assert titles
    assert [title for title in titles if not re.fullmatch(rf'{NOT_RUN}\S.{{5,}}"', title)] == []


def commands(page: Path) -> Iterator[list[str]]:
    """Every `normfed ...` of a page's blocks of commands."""
    for block in blocks(page):
        if block.language in ("", "console", "bash", "sh"):
            for line in block.text.replace("\\\n", " ").splitlines():
                typed = re.sub(
                    r"\s#.*|[\[\]]| \.\.\.|\$\([^)]*\)", "", line.removeprefix("$ ").replace(".venv/bin/", "")
                )
                for part in re.split(r"\s*(?:;|&&|\|)\s*|\s{2,}(?=normfed )", typed):
                    if part.startswith("normfed "):
                        yield shlex.split(part)[1:]


@cache
def normfed_itself() -> click.Command:
    return normfed_command()


@cache
def within(group: click.Group, name: str) -> click.Command:
    """A sub-command; those of `normfed` are imported once."""
    _, found, _ = group.resolve_command(click.Context(group), [name])
    assert found is not None
    return found


def complaint(words: list[str]) -> str | None:
    """Why the command line would not take it, but for what stands in for names and numbers."""
    command = normfed_itself()
    context = click.Context(command, info_name="normfed")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        try:
            command = within(command, words[0])
        except click.UsageError as error:
            return error.message
        context = click.Context(command, info_name=words[0], parent=context)
        words = words[1:]
    try:
        _, left, _ = command.make_parser(context).parse_args(words)
    except click.UsageError as error:
        return error.message
    return f"{context.command_path} takes no {' '.join(left)}" if left else None


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("simulate demo --set federation.rounds=5", None),
        ("simulate --resum RUN", "No such option '--resum'"),
        ("server enroll SITE", "No such command 'enroll'"),
        ("report RUN AGAIN", "takes no AGAIN"),
    ],
)
def test_a_command_that_is_none_is_noticed(typed: str, said: str | None) -> None:
    found = complaint(typed.split())
    assert found is None if said is None else found is not None and said in found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_page_is_one(page: Path) -> None:
    wrong = {" ".join(words): why for words in commands(page) if (why := complaint(words))}
    assert wrong == {}


def test_the_pages_have_commands() -> None:
    assert sum(len(list(commands(page))) for page in PAGES) > 100


def test_every_target_of_make_is_there() -> None:
    told = {
        target for page in PAGES for target in re.findall(r"^(?:\$ )?make ([a-z]+)", page.read_text(), re.MULTILINE)
    }
    assert {"demo", "test"} <= told
    assert told <= set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def studies(page: Path) -> Iterator[dict[str, Any]]:
    """Every study of a page, or part of one; of several that begin with one key, each by itself."""
    for block in blocks(page):
        if block.language == "yaml" and (not block.said or "study.yaml" in block.said):
            keys = re.findall(r"^\w+(?=:)", block.text, re.MULTILINE)
            texts = [block.text] if len(keys) == len(set(keys)) else block.text.splitlines()
            parts = [part for part in map(yaml.safe_load, texts) if part]
            yield from (part for part in parts if page in NEW or part.keys() <= StudyConfig.model_fields.keys())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_study_of_a_page_is_one(page: Path) -> None:
    for study in studies(page):
        data = {"modalities": ["T1w", "FLAIR"], **study.get("data", {})}
        assert resolve({"name": "part", **study, "data": data}, page.name).model_dump()


def test_the_pages_have_studies() -> None:
    assert sum(len(list(studies(page))) for page in PAGES) > 8
