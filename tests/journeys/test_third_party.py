"""A distribution of somebody else, built and installed as a wheel, goes through a simulation and a deployment."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml
from commands import run_folder
from plugins import Plugins

from normfed_common.foundation import arrays as named
from normfed_common.foundation import plain_yaml
from normfed_common.studies import load_study, resolve
from normfed_deploy import playing
from normfed_deploy.rehearsal import COMMAND
from normfed_server.runs import steering
from normfed_server.state.ledger import State

PROJECT = Path(__file__).parents[1] / "third-party" / "normfed-robust"
STUDY = PROJECT / "study.yaml"
WITHIN_S = 240.0


@pytest.fixture
def robust(plugins: Plugins) -> Plugins:
    plugins.install_project(PROJECT)
    return plugins


@pytest.mark.xdist_group("journeys")
def test_its_model_is_the_same_federated_and_pooled_and_its_metric_stands_in_tables_and_report(
    robust: Plugins, hospitals: Path, tmp_path: Path
) -> None:
    command = (*COMMAND, "simulate", STUDY, "--out", tmp_path / "runs", "--workers", "1", "--quiet")
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    run = run_folder(tmp_path / "runs")
    federated, pooled = (named.load(run / "arms" / arm / "model.safetensors") for arm in ("federated", "pooled"))
    assert set(federated) == {f"sums.moments.{name}" for name in ("weight", "sum", "squares")}
    for name, array in pooled.items():
        np.testing.assert_allclose(federated[name], array, rtol=1e-9, atol=1e-12, err_msg=name)
    found = json.loads((run / "metrics.json").read_text())
    people = [json.loads(path.read_text()) for path in run.glob("sites/*/people/federated.json")]
    figures = [row["first_look"] for rows in people for row in rows]
    assert found["evaluation"]["federated"]["all"]["first_look"]["mean"] == pytest.approx(np.mean(figures))
    assert len(figures) == 7
    assert '<th scope="col">lesion in the top 5%</th>' in (run / "report.html").read_text()
    assert {path.name.split("desc-")[1] for path in run.glob("maps/*.nii.gz")} >= {
        f"{name}_map.nii.gz" for name in ("anomaly", "uncertainty", "expected")
    }


@pytest.mark.xdist_group("deployment")
def test_a_hospital_refuses_it_until_its_site_yaml_has_the_line_that_its_log_says(
    robust: Plugins, hospitals: Path, tmp_path: Path
) -> None:
    raw = load_study(STUDY).model_dump(mode="json")
    raw["data"]["sites"], raw["model"]["iterations"] = ["a"], 2
    raw["comparisons"] |= {"pooled": False, "baselines": []}
    study = resolve(raw, "test")
    hospital = tmp_path / "federation" / "a"
    federation = playing.rehearsal(study, hospitals, tmp_path / "federation", wired=False)
    let_in(hospital, {"normfed-robust": "0.0.9"})
    with federation.up():
        run = federation.begin(study)
        entry = federation.wait(run, WITHIN_S)
        assert entry.state is State.FAILED
        assert "code 221 PLUGIN_REFUSED). Fix that and resume" in entry.why
        log = (hospital / "log" / "site.log").read_text()
        let_in(hospital, yaml.safe_load(log.strip().rpartition("To let it in, add ")[2]))
        steering.resume(federation.home, run)
        entry = federation.wait(run, WITHIN_S)
        assert entry.state is State.FINISHED, entry.why
    found = json.loads((federation.home.runs / run / "metrics.json").read_text())
    assert found["evaluation"]["federated"]["all"]["first_look"]["n"] == 3


def let_in(hospital: Path, listed: dict[str, str]) -> None:
    """What the hospital's people write; the client reads it at the next request."""
    path = hospital / "site.yaml"
    path.write_text(plain_yaml.text({**plain_yaml.read(path, "a settings file"), "plugins": listed}))
