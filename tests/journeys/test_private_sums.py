"""Studies whose sums leave with noise, through the command line on tiny synthetic hospitals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from commands import normfed, run_folder, weights
from conftest import TINY

from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import StudyError
from normfed_server.report.drowned import noise_length
from normfed_server.results import layout

pytestmark = pytest.mark.xdist_group("journeys")
MISSED = '"missing"'  # the event of a site that did not take part
MODELS: tuple[dict[str, Any], ...] = (
    {"name": "atlas"},
    {"name": "matched-filter"},
    {"name": "mixture", "classes": 2, "iterations": 10},
    {"name": "location", "patch_size": 5, "latents": 3, "pairs_per_subject": 200},
)


def simulated(folder: Path, **changes: Any) -> Path:
    """The run folder of the tiny study with privacy and other changes."""
    folder.mkdir()
    comparisons = {"local": False, "pooled": False, "baselines": []}
    raw = {**TINY, "privacy": {"epsilon": 8}, "comparisons": comparisons, **changes}
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(raw))
    result = normfed("simulate", path, "--out", folder / "runs", "--workers", 0, "--quiet")
    assert result.exit_code == 0, result.output
    return run_folder(folder / "runs")


def model_of(run: Path) -> Arrays:
    """What all sites of a run have learnt."""
    return weights(run)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model["name"])
def test_a_private_study_ends_with_a_model_and_its_figures(
    model: dict[str, Any], hospitals: Path, tmp_path: Path
) -> None:
    run = simulated(tmp_path / "run", model=model)
    assert MISSED not in (run / "events.jsonl").read_text()
    assert "federated" in json.dumps(json.loads((run / "metrics.json").read_text()))
    assert (run / "report.html").exists()


@pytest.mark.parametrize(("model", "epsilon", "drowned"), [("matched-filter", 1, False), ("atlas", 0.02, True)])
def test_a_model_that_the_noise_drowned_is_told_and_one_that_it_did_not_is_not(
    model: str, epsilon: float, drowned: bool, hospitals: Path, tmp_path: Path
) -> None:
    """Noise is longer than what people added in both."""
    beside = {"local": False, "pooled": False, "baselines": [{"name": "intensity"}]}
    run = simulated(tmp_path / "run", model={"name": model}, privacy={"epsilon": epsilon}, comparisons=beside)
    for page in ("report.html", "privacy.html"):
        assert ("Noise drowns federated" in (run / page).read_text()) == drowned, page
    results = layout.read(run)
    assert results.privacy is not None
    assert results.privacy.people is not None
    length = noise_length(results.privacy.people, results.privacy.people.models["federated"], results)
    assert length is not None
    assert length > 1


def test_sums_by_site_can_be_private_too(hospitals: Path, tmp_path: Path) -> None:
    federation = {**TINY["federation"], "sums": "by-site"}
    found = model_of(simulated(tmp_path / "run", model={"name": "atlas"}, federation=federation))
    assert all(np.isfinite(array).all() for array in found.values())


def test_two_runs_of_one_study_have_other_noise(hospitals: Path, tmp_path: Path) -> None:
    one, other = (model_of(simulated(tmp_path / name, model={"name": "atlas"})) for name in ("one", "other"))
    assert one.keys() == other.keys()
    assert np.abs(one["sums.moments.sum"] - other["sums.moments.sum"]).max() > 0
    np.testing.assert_array_equal(one["sums.moments.count"], other["sums.moments.count"])


def test_a_model_that_bounds_nobody_s_part_is_refused_in_words_that_name_those_that_do(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({**TINY, "privacy": {"epsilon": 8}, "model": {"name": "atlas", "regress": ["age"]}}))
    with pytest.raises(StudyError, match=r"privacy\.epsilon: the model atlas adds up .*: location, matched-filter"):
        normfed("simulate", path, "--out", tmp_path / "runs", "--workers", 0)
