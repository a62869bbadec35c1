"""TABLE.md names every entry of the registries and every check, so that it is written anew when one is added."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from contracts.entries import EVERY_MODEL, EVERY_STRATEGY, EVERY_TRANSFORM, HEADS
from contracts.table import in_words
from contracts.test_objective import strategies

from normfed_common.metrics.catalogue import BUILT_IN

FOLDER = Path(__file__).parent
TABLE = (FOLDER / "TABLE.md").read_text()
HOW = "pytest tests/contracts --contracts-table tests/contracts/TABLE.md"


def ours() -> list[str]:
    """Labels of all but those of plug-ins, which are whoever's that installs them."""
    from normfed_client.training.objectives import OBJECTIVES
    from normfed_common.algorithms.table import ALGORITHMS
    from normfed_common.models.catalogue import MODELS
    from normfed_common.scoring.catalogue import SCORERS
    from normfed_common.transforms.catalogue import TRANSFORMS

    kinds = (
        (MODELS, EVERY_MODEL),
        (TRANSFORMS, EVERY_TRANSFORM),
        (SCORERS, HEADS),
        (ALGORITHMS, EVERY_STRATEGY),
        (OBJECTIVES, strategies()),
    )
    return [metric.name for metric in BUILT_IN] + [
        entry.label
        for registry, found in kinds
        for entry in found
        if entry.name not in registry or registry.origin(entry.name) is None
    ]


def checks() -> list[str]:
    """Names of all tests that are run on every entry."""
    return [
        node.name
        for path in sorted(FOLDER.glob("test_*.py"))
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and any(ast.unparse(d) in ("EACH", "EVERY") for d in node.decorator_list)
    ]


def test_the_table_names_every_entry() -> None:
    missing = [label for label in ours() if f"\n| {label} |" not in TABLE]
    assert not missing, f"write it anew: {HOW}"


@pytest.mark.parametrize("check", checks())
def test_the_table_names_every_check(check: str) -> None:
    assert f": {in_words(check)}\n" in TABLE, f"write it anew: {HOW}"


def test_the_table_knows_of_nothing_that_is_not_kept() -> None:
    assert "✗ |" not in TABLE
