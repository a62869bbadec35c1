"""Which model of a run a site is served."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from finished_runs import written

from normfed_client.evaluating.served import served_arrays
from normfed_client.hospital.personal import PersonalStore
from normfed_common.algorithms.arms import FEDERATED
from normfed_common.foundation import arrays as named
from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import RunError
from normfed_common.studies import study_of_run

NETWORK = {"network.w": np.arange(3.0, dtype=np.float32)}
SIAMESE = {"name": "siamese", "patch_size": 9}


def served(run: Path, site: str | None, arm: str = FEDERATED) -> Arrays:
    return served_arrays(run, study_of_run(run), site, arm)


def test_a_run_without_its_model_is_not_finished(tmp_path: Path) -> None:
    run = written(tmp_path / "run")
    (run / "model.safetensors").unlink()
    with pytest.raises(RunError, match=r"holds no model\.safetensors\. Finish the run first: normfed simulate"):
        served(run, None)


def test_a_site_that_is_none_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no site is called pooled\. Its sites are a, b\."):
        served(written(tmp_path / "run"), "pooled")


def test_a_site_is_served_the_model_of_its_cluster_and_nobody_knows_which_without_one(tmp_path: Path) -> None:
    stacked = named.stacked([NETWORK, {"network.w": NETWORK["network.w"] + 10}])
    strategy = {"name": "ifca", "clusters": 2}
    run = written(tmp_path / "run", stacked, {"clusters": {"a": 1, "b": 0}}, model=SIAMESE, strategy=strategy)
    assert served(run, "a")["network.w"].tolist() == [10, 11, 12]
    assert served(run, "b")["network.w"].tolist() == [0, 1, 2]
    with pytest.raises(RunError, match=r"under ifca sites have models of their own\. Say whose with --site: a, b\."):
        served(run, None)


def test_a_site_that_did_not_train_has_no_whole_model_where_parts_stay_at_the_sites(tmp_path: Path) -> None:
    run = written(tmp_path / "run", NETWORK, model=SIAMESE, strategy={"name": "fedper"})
    with pytest.raises(RunError, match="b did not train, so under fedper it has no whole model"):
        served(run, "b")
    with pytest.raises(RunError, match="under fedper sites have models of their own"):
        served(run, None)


def test_another_model_of_a_run_is_served_with_its_own_personal_parts(tmp_path: Path) -> None:
    strategies = {"comparisons": {"strategies": [{"name": "fedper"}]}}
    run = written(tmp_path / "run", NETWORK, model=SIAMESE, strategy={"name": "fedavg"}, **strategies)
    named.save(run / "arms" / "fedper" / "model.safetensors", {"network.w": NETWORK["network.w"] + 5})
    PersonalStore(run / "sites" / "a" / "personal" / "fedper").save(1, {"network.own": np.ones(2, np.float32)}, 0)
    found = served(run, "a", "fedper")
    assert {name: array.tolist() for name, array in found.items()} == {"network.w": [5, 6, 7], "network.own": [1, 1]}
    assert served(run, "a")["network.w"].tolist() == [0, 1, 2]
    for arm in ("local-a", "krum"):  # one was never trained, the other is none of the study's
        with pytest.raises(RunError, match=rf"has no model called {arm}\. Its models are fedper\."):
            served(run, "a", arm)
