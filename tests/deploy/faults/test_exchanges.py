"""Which exchanges of secure sums a site has answered, and in which of them the matrix kills."""

from __future__ import annotations

from pathlib import Path

import pytest

from normfed_deploy.faults.exchanges import IN_A_SUM, answered
from normfed_deploy.faults.scenarios import ROLES, scenarios

LOG = """\
2026-11-27T13:36:45+00:00 query.describe federated: worked 0.8 s; study both (c7c3), model siamese
2026-11-27T13:36:51+00:00 query.keys federated: worked 0.1 s
2026-11-27T13:36:55+00:00 query.keys federated: answered from the outbox
2026-11-27T13:36:59+00:00 query.shares federated: worked 0.1 s
2026-11-27T13:37:17+00:00 train.sums federated: worked 0.4 s
2026-11-27T13:37:22+00:00 query.survivors federated: worked 0.1 s
2026-11-27T13:37:28+00:00 query.unmask federated: worked 0.1 s
2026-11-27T13:37:37+00:00 query.keys federated round 1: worked 0.1 s
2026-11-27T13:37:50+00:00 train.round BUDGET_SPENT (224): epsilon_per_year: 4 of 6 is spent
2026-11-27T13:37:57+00:00 train.round federated round 1: worked 6.6 s
2026-11-27T13:38:12+00:00 evaluate.count federated: worked 1.4 s
"""


def test_an_exchange_counts_when_it_was_worked_on_and_neither_repeats_nor_refusals_do(tmp_path: Path) -> None:
    assert answered(tmp_path / "site.log") == []
    (tmp_path / "site.log").write_text(LOG)
    assert answered(tmp_path / "site.log") == [
        *("query.keys federated", "query.shares federated", "train.sums federated"),
        *("query.survivors federated", "query.unmask federated"),
        *("query.keys federated round 1", "train.round federated round 1"),
    ]


@pytest.mark.parametrize("times", [1, 5, 10, 20])
def test_a_secure_study_is_killed_in_its_exchanges_in_every_role_and_nobody_lies(times: int) -> None:
    found = scenarios(times, secure=True)
    kills = [scenario for scenario in found if scenario.from_start]
    assert {scenario.role for scenario in kills} == {*ROLES, "server and sites"}
    assert not [scenario for scenario in found if scenario.name.startswith(("lie", "kill"))]
    assert len({scenario.name for scenario in found}) == len(found)
    rounds = {scenario.rounds for scenario in kills}
    assert rounds == {max(1, times // IN_A_SUM - 1)}
