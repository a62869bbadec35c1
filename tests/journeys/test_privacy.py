"""A study that protects people, from start to end on tiny synthetic hospitals."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from commands import normfed, run_folder, weights

pytestmark = pytest.mark.xdist_group("journeys")


def simulated(study: Path, out: Path, *more: Any) -> Path:
    result = normfed("simulate", study, "--out", out, "--workers", 0, "--quiet", *more)
    assert result.exit_code == 0, result.output
    return run_folder(out)


@pytest.fixture(scope="module")
def protected(study_file: Path, hospitals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny study with epsilon 4, as it would be for a patient of a site."""
    raw = yaml.safe_load(study_file.read_text())
    model = {"name": "siamese", "patch_size": 9, "pairs_per_subject": 50, "batch_size": 10}
    chosen = {
        "model": model,
        "privacy": {"epsilon": 4, "samples_per_patient": 10, "sampling_rate": 0.5},
        "federation": {**raw["federation"], "rounds": 2},
        "comparisons": {"pooled": False, "baselines": [], "strategies": ["scaffold", "ditto"]},
    }
    path = tmp_path_factory.mktemp("protected") / "study.yaml"
    path.write_text(yaml.safe_dump({**raw, **chosen}))
    return path


@pytest.fixture(scope="module")
def run(protected: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulated(protected, tmp_path_factory.mktemp("runs"))


def test_a_study_that_protects_people_ends_with_a_report_and_tells_no_loss(run: Path) -> None:
    assert "training loss" not in (run / "report.html").read_text()
    metrics = json.loads((run / "metrics.json").read_text())
    assert {"federated", "scaffold", "ditto", "local"} <= set(metrics["evaluation"])
    events = map(json.loads, (run / "events.jsonl").read_text().splitlines())
    losses = [event["loss"] for event in events if "loss" in event]
    assert len(losses) > 2
    assert {loss for round in losses for loss in round.values()} <= {None}


def test_the_secret_of_a_simulated_site_is_its_owner_s_alone(run: Path) -> None:
    secrets = sorted(run.rglob("noise.secret"))
    assert [path.parent.name for path in secrets] == ["a", "b", "c"]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in secrets)
    assert len({path.read_bytes() for path in secrets}) == 3


def test_two_runs_of_one_study_differ_in_their_noise(
    run: Path, protected: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = simulated(protected, tmp_path_factory.mktemp("again"))
    ours, theirs = weights(run), weights(other)
    differ = [name for name, array in ours.items() if name.startswith("network.") and (array != theirs[name]).any()]
    assert differ
    assert all(np.isfinite(array).all() for array in ours.values())


def test_private_training_starts_from_a_public_model_and_costs_no_more(
    run: Path, protected: Path, tmp_path: Path
) -> None:
    (tmp_path / "public.safetensors").write_bytes((run / "model.safetensors").read_bytes())
    raw = yaml.safe_load(protected.read_text())
    begun = {
        "initial_model": "public.safetensors",
        "federation": {**raw["federation"], "learning_rate": 1e-9},
        "comparisons": {"local": False, "pooled": False, "baselines": []},
    }
    path = tmp_path / "begun.yaml"
    path.write_text(yaml.safe_dump({**raw, **begun}))
    found = simulated(path, tmp_path / "runs")
    public = {name: array for name, array in weights(run).items() if name.startswith("network.")}
    assert public
    for name, array in public.items():
        np.testing.assert_allclose(weights(found)[name], array, atol=1e-6)
    ours, theirs = (
        json.loads((folder / "metrics.json").read_text())["privacy"]["people"]["models"] for folder in (found, run)
    )
    assert ours["federated"] == theirs["federated"]
