"""The table of threats names tests that are there, and leaves no kind of threat out."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "deploy" / "guides" / "threats.md").read_text()
ASSETS = dict(re.findall(r"^## (\w+): [^\n]*\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py::\w+)`", TEXT)))


@cache
def functions_in(path: Path) -> set[str]:
    """The functions of a module that pytest runs; nothing is imported."""
    found = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    return {node.name for node in found if node.name.startswith("test_")}


def rows(asset: str) -> list[list[str]]:
    lines = [line for line in ASSETS[asset].splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if not line.startswith("| | ")]


@pytest.mark.parametrize("name", NAMED)
def test_every_test_that_is_named_exists(name: str) -> None:
    path, function = name.split("::")
    assert function in functions_in(ROOT / path)


def test_no_thing_of_value_is_left_out() -> None:
    assert set(ASSETS) == {"Update", "Model", "Key", "Policy", "Audit", "Enrolment", "Release"}


@pytest.mark.parametrize("asset", ASSETS)
def test_every_kind_of_threat_has_a_row_with_a_test(asset: str) -> None:
    found = rows(asset)
    assert [row[0] for row in found] == list("STRIDE")
    assert all(
        len(row) == 5 and row[1] and row[2] and re.search(r"`tests/[\w/]+\.py::test_\w+`", row[3]) for row in found
    )
