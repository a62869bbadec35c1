from pathlib import Path

import numpy as np
import pytest

from normfed_common.foundation.errors import RunError
from normfed_common.study.config import StudyConfig
from normfed_server.arms.plan import make
from normfed_server.sites.description import SiteDescription
from normfed_server.steps import progress as checkpoints
from normfed_server.steps.progress import Progress


def test_every_comparison_is_planned_and_small_sites_are_left_out_aloud(study: StudyConfig) -> None:
    sites = {
        "big": SiteDescription(10, 3, 5, ("MS",)),
        "lone": SiteDescription(1, 0, 1, ("MS",)),
        "tests": SiteDescription(0, 2, 4, ("WMH",)),
        "pooled": SiteDescription(11, 5, 10, ("MS", "WMH")),
    }
    plan = make(study, sites)
    arms = {arm.name: arm for arm in plan.arms}
    assert set(arms) == {"federated", "pooled", "local-big", "flair-intensity", "atlas"}
    assert arms["federated"].train == ("big",)
    assert arms["pooled"].train == ("pooled",)
    assert arms["federated"].evaluate == {"big": "full", "tests": "full"}
    assert arms["local-big"].evaluate == {"big": "full", "tests": "ranking"}
    assert "fewer than the minimum of 2" in plan.left_out["lone"]
    assert set(plan.left_out) == {"lone"}


def test_baselines_of_one_model_are_arms_of_their_own(study: StudyConfig) -> None:
    entries = (
        {"name": "atlas", "prior_subjects": 5.0},
        {"name": "intensity"},
        {"name": "atlas", "prior_subjects": 0.0},
        {"name": "intensity", "modality": "FLAIR", "suspicious": "dark"},
        {"name": "atlas", "prior_subjects": 1.0},
    )
    compared = study.model_copy(update={"comparisons": study.comparisons.model_copy(update={"baselines": entries})})
    arms = make(compared, {"big": SiteDescription(10, 3, 5, ("MS",))}).arms
    assert len({arm.name for arm in arms}) == len(arms)
    found = {arm.name: arm.model for arm in arms if arm.model in entries}
    names = ("atlas", "flair-intensity", "atlas#2", "flair-intensity#2", "atlas#3")
    assert found == dict(zip(names, entries, strict=True))


def test_progress_comes_back_and_belongs_to_its_study(tmp_path: Path) -> None:
    path = tmp_path / "arms" / "federated" / "progress.safetensors"
    assert checkpoints.load(path, "s") is None
    history = [{"round": 1, "loss": {"a": 0.5}, "seconds": 1.0}]
    models = [{"w": np.arange(4.0)}, {"w": np.ones(4)}]
    saved = Progress(models, 2, 1, False, history, {"a": 1}, {"m/w": np.zeros(4)}, {"a": 2})
    checkpoints.save(path, saved, "s")
    found = checkpoints.load(path, "s")
    assert found is not None
    np.testing.assert_equal(vars(found), vars(saved))
    with pytest.raises(RunError, match="another study"):
        checkpoints.load(path, "other")
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(RunError, match="not readable as a model"):
        checkpoints.load(path, "s")
