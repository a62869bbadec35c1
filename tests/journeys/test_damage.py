"""A whole run, in whose folder bits flip before it is resumed: the same weights and figures, and what was damaged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from commands import assert_same, normfed, run_folder, weights
from flips import flip

pytestmark = pytest.mark.xdist_group("journeys")


@pytest.fixture(scope="module")
def finished(study_file: Path, hospitals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with nothing beside its federated model."""
    folder = tmp_path_factory.mktemp("finished")
    raw = yaml.safe_load(study_file.read_text())
    raw["comparisons"] = {"local": False, "pooled": False, "baselines": []}
    (folder / "study.yaml").write_text(yaml.safe_dump(raw))
    result = normfed("simulate", folder / "study.yaml", "--out", folder / "runs", "--workers", 0, "--quiet")
    assert result.exit_code == 0, result.output
    return run_folder(folder / "runs")


@pytest.mark.parametrize("what", ["progress", "model", "evaluation"])
def test_a_run_whose_files_were_damaged_resumes_to_the_same_weights_and_figures(
    finished: Path, tmp_path: Path, what: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    for name in ("metrics.json", "model.safetensors"):
        (run / name).unlink()
    path = run / "arms" / "federated" / f"{what}.safetensors"
    flip(path, bits=1)  # of a value: nothing but its digest shows it
    result = normfed("simulate", "--resume", run, "--workers", 0, "--json")
    assert result.exit_code == 0, result.output
    assert_same(weights(run), weights(finished))
    found, expected = (json.loads((folder / "metrics.json").read_text()) for folder in (run, finished))
    assert found["evaluation"] == expected["evaluation"]
    assert [entry["round"] for entry in found["rounds"]] == [entry["round"] for entry in expected["rounds"]]
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    (damaged,) = [event for event in events if event["event"] == "damaged"]
    assert damaged["file"] == path.name
    assert (path.parent / damaged["kept"]).exists()
