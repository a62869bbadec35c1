"""The matrix as it is written down."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from normfed_common.foundation.errors import RunError
from normfed_deploy.faults.disturbance import until
from normfed_deploy.faults.outcomes import Seen, write
from normfed_deploy.faults.scenarios import scenarios

SEEN = Seen("kill node", "node", "training", "SIGKILL", "finishes", 3, "finished", True, 0, 0, 2, 61.4, True)


def test_every_scenario_has_a_name_of_its_own_and_kills_are_as_many_as_asked_for() -> None:
    found = scenarios(7)
    assert len({scenario.name for scenario in found}) == len(found)
    assert {s.what for s in found if s.name.startswith("kill ")} == {"SIGKILL at 7 random moments"}


def test_the_matrix_is_written_with_a_row_per_scenario_and_a_cell_per_column(tmp_path: Path) -> None:
    write([SEEN, replace(SEEN, name="cut", well=False, same_weights=False)], tmp_path / "out")
    head, rule, *rows = (tmp_path / "out" / "faults.md").read_text().splitlines()
    assert {line.count("|") for line in (head, rule, *rows)} == {14}
    assert [row.rstrip(" |")[-1] for row in rows] == ["✓", "✗"]
    assert "| 3 | finishes | finished | yes | – | – | 0 | 2 | 61 |" in rows[0]
    assert [row["name"] for row in json.loads((tmp_path / "out" / "faults.json").read_text())] == ["kill node", "cut"]


def test_what_does_not_happen_in_time_is_an_error() -> None:
    looks = iter([False, False, True])
    until(lambda: next(looks), 60)
    with pytest.raises(RunError, match="nothing happened within 0 s"):
        until(lambda: False, 0)
