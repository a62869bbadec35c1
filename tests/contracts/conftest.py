"""The table of entries by checks: ``pytest tests/contracts --contracts-table tests/contracts/TABLE.md`` writes it."""

from __future__ import annotations

from pathlib import Path

import pytest
from contracts.table import CELL, Table, cell_of

OPTION = "--contracts-table"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(OPTION, type=Path, help="write which entry keeps which check, as Markdown")


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption(OPTION)
    if path is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Table(path))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every check says which cell it is, so that it is known where its report arrives."""
    for item in items:
        cell = cell_of(item)
        if cell is not None:
            item.user_properties.append((CELL, cell))
