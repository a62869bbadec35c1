"""What is set up for a group of tests is set up once, whatever runs beside it."""

from __future__ import annotations

import pytest


@pytest.mark.xdist_group("kept together")
def test_a_group_of_tests_goes_to_one_worker(request: pytest.FixtureRequest) -> None:
    """pytest 9.2 with pytest-xdist 3.8 loses the groups, and says nothing."""
    if not hasattr(request.config, "workerinput"):
        pytest.skip("one process has all tests")
    assert request.node.nodeid.endswith("@kept together")
