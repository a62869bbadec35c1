"""Distributed noise with real hospitals' processes: a study ends with a model, and its release is in every ledger."""

from __future__ import annotations

from pathlib import Path

import cohorts
import numpy as np
import pytest
from commands import normfed, weights
from secure_runs import RULES, small

from normfed_client.hospital.folder import open_hospital
from normfed_common.privacy.accounting import epsilon
from normfed_deploy.rehearsal import Rehearsal
from normfed_server.state.ledger import State

pytestmark = pytest.mark.xdist_group("deployment")
SITES = {name: {"control": 6 + number, "WMH": 4} for number, name in enumerate("abc")}


def test_three_hospitals_add_up_with_shares_of_one_noise_and_enter_it_in_their_ledgers(tmp_path: Path) -> None:
    data = cohorts.write(tmp_path / "data", SITES)
    secure = {"minimum_sites": 3, "noise": "distributed"}
    asked = small(model={"name": "atlas"}, privacy={"epsilon": 4.0, "secure_aggregation": secure})
    settings = RULES | {"minimum_sites_in_sum": 3, "noise_from_sites": 2, "epsilon_per_year": 4.5}
    with Rehearsal(tmp_path / "federation", data, {name: (name,) for name in SITES}, settings=settings).up() as up:
        run = up.begin(asked)
        entry = up.wait(run, 900.0)
        assert entry.state is State.FINISHED, entry.why
    found = weights(up.home.runs / run)
    assert all(np.isfinite(array).all() for array in found.values())
    for site in SITES:
        (release,) = (entry.release for entry in open_hospital(up.folder / site).ledger().entries())
        assert [mechanism.sites for mechanism in release.spent] == [2]
        assert 3.9 < epsilon(release.spent, 1e-5) <= 4
    output = " ".join(normfed("site", "ledger", "--home", up.folder / "a").output.split())
    assert "as if the noise of 2 hospitals were in each" in output
