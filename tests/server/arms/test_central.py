"""Rounds under central privacy: which models have noise, what a run that goes on has, what is not told."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest
import yaml
from scripted import STEP, ScriptedGrid, federation, moved, run

from normfed_common.foundation import private
from normfed_common.foundation.errors import UserError
from normfed_common.study.config import StudyConfig
from normfed_common.study.privacy import CentralConfig, PrivacyConfig
from normfed_server.coordinator import SECRET, Coordinator
from normfed_server.runs.folder import ARMS
from normfed_server.sites.participants import Simulated
from normfed_server.steps.progress import Progress, previous


def protected(study: StudyConfig, **changes: float | bool) -> StudyConfig:
    central = CentralConfig.model_validate({"epsilon": 8, **changes})
    return federation(study, rounds=2).model_copy(update={"privacy": PrivacyConfig(central=central)})


def trained(study: StudyConfig, path: Path, secret: bytes = b"one") -> Progress:
    return run(study, ScriptedGrid(lambda s, _: STEP[s]), path, secret=secret)[0]


def test_a_run_that_goes_on_ends_as_one_that_was_never_interrupted(study: StudyConfig, tmp_path: Path) -> None:
    """Adaptive, so that the norm is remembered too. The checkpoint of the last round is lost: it is trained again."""
    asked = protected(study, adaptive=True)
    whole = trained(asked, tmp_path)
    path = tmp_path / ARMS / "federated" / "progress.safetensors"
    path.unlink()
    assert previous(path).exists()
    again = trained(asked, tmp_path)
    assert again.round == 2
    for name, array in whole.models[0].items():
        np.testing.assert_array_equal(again.models[0][name], array)
    assert again.memory.keys() == whole.memory.keys()


def test_two_runs_of_one_study_differ_by_their_noise(study: StudyConfig, tmp_path: Path) -> None:
    one, other = (trained(protected(study), tmp_path / name, name.encode()) for name in ("one", "other"))
    assert any((one.models[0][name] != other.models[0][name]).any() for name in one.models[0])


def test_what_a_site_trains_alone_has_no_noise(study: StudyConfig, tmp_path: Path) -> None:
    asked = protected(study)
    progress, _ = run(asked, ScriptedGrid(lambda s, _: STEP[s]), tmp_path, sites="a", federated=False)
    assert moved(asked, progress) == pytest.approx(2 * STEP["a"], rel=1e-4)


def test_no_sites_loss_is_told(study: StudyConfig, tmp_path: Path) -> None:
    _, open_history = run(federation(study), ScriptedGrid(lambda s, _: STEP[s]), tmp_path / "open")
    assert open_history[0]["loss"] == dict.fromkeys("abcd", 1.0)
    history = trained(protected(study), tmp_path / "protected").history
    for entry in history:
        assert entry["loss"].keys() == set("abcd")
        assert np.isnan([*entry["loss"].values()]).all()
        assert set(entry["shares"].values()) == {0.25}


@pytest.fixture
def coordinator(study: StudyConfig, tmp_path: Path) -> Coordinator:
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(federation(study).model_dump(mode="json")))
    return Coordinator(ScriptedGrid(lambda s, _: None), tmp_path, Simulated(4))


def test_a_run_has_a_secret_of_its_own_that_only_its_owner_reads(coordinator: Coordinator) -> None:
    path = coordinator.folder / SECRET
    found = coordinator._secret()
    assert len(found) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert coordinator._secret() == found
    path.chmod(0o644)
    with pytest.raises(UserError, match="chmod 600"):
        coordinator._secret()


def test_a_run_whose_secret_is_lost_draws_no_other_noise(coordinator: Coordinator) -> None:
    path = coordinator.folder / ARMS / "federated" / "progress.safetensors"
    private.make_folder(path.parent)
    path.touch()
    with pytest.raises(UserError, match=r"central\.secret: missing"):
        coordinator._secret()
