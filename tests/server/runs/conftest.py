"""A server's list of runs with one run."""

from __future__ import annotations

import pytest

from normfed_server.state.folder import ServerHome
from normfed_server.state.ledger import Ledger


@pytest.fixture
def ledger(home: ServerHome) -> Ledger:
    found = home.ledger
    found.add("r")
    (home.runs / "r").mkdir()
    return found
