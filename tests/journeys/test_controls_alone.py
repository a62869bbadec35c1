"""Healthy people alone: a run trains and calibrates on them, says nothing of lesions, and scores whoever comes then;
with patients of another site their threshold is the same."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cohorts
import nibabel
import numpy as np
import pytest
import yaml
from commands import normfed, run_folder

from normfed_client.hospital.folder import open_hospital
from normfed_client.imaging.bids import Mask, Visit
from normfed_client.imaging.cohort import assign
from normfed_client.imaging.participants import Participant
from normfed_common.foundation.errors import DatasetError, StudyError
from normfed_common.studies import load_study, resolve
from normfed_deploy.rehearsal import Rehearsal
from normfed_server.runs.folder import begin
from normfed_simulation import run_folder as runs
from normfed_simulation.engines import local

pytestmark = pytest.mark.xdist_group("journeys")

SITES = {"a": {"control": 6}, "b": {"control": 5}}
HELD_OUT = 2
STUDY: dict[str, Any] = {
    "name": "controls",
    "data": {"modalities": ["T1w", "FLAIR"], "held_out_people": HELD_OUT, "test_on": "held-out"},
    "preprocessing": {"voxel_size_mm": 4},
    "model": {"name": "atlas"},
    "federation": {"minimum_cohort": 2},
}
PATIENT = Visit(Participant("sub-1", "a", "MS"), None, {}, None, (Mask(Path("m"), "T1w", "MS"),))
HEALTHY = [Visit(Participant(f"sub-{number}", "a", "control"), None, {}) for number in range(2, 8)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cohorts.write(tmp_path_factory.mktemp("data"), SITES)


@pytest.fixture(scope="module")
def study_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "controls.yaml"
    path.write_text(yaml.safe_dump(STUDY))
    return path


@pytest.fixture(scope="module")
def run(data: Path, study_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    result = normfed("simulate", study_file, "--data", data, "--out", out, "--workers", 0)
    assert result.exit_code == 0, result.output
    assert "Nothing was tested: no patient with a lesion" in " ".join(result.output.split())
    assert "AUROC" not in result.output
    return run_folder(out)


def figures(run: Path) -> Any:
    return json.loads((run / "metrics.json").read_text())


def test_the_threshold_is_the_quantile_of_the_held_out_peoples_voxels(run: Path) -> None:
    """The scans lie on the common grid, so that the maps hold every score that was counted."""
    found = figures(run)["evaluation"]["federated"]
    assert found["threshold"]["from"] == "held-out normal people"
    maps = sorted((run / "maps").glob("*desc-anomaly_map.nii.gz"))
    assert len(maps) == len(SITES) * HELD_OUT
    scores = np.concatenate([(values := nibabel.load(path).get_fdata())[values > 0] for path in maps])
    specificity = load_study(run / "study.yaml").evaluation.specificity
    assert found["threshold"]["value"] == pytest.approx(np.quantile(scores, specificity), rel=0.02)
    assert found["calibration"]["people"] == len(SITES) * HELD_OUT


def test_patients_of_another_site_are_judged_by_the_threshold_of_those_held_out_elsewhere(
    run: Path, data: Path, study_file: Path, tmp_path: Path
) -> None:
    """The oracle is the run of the controls alone, which learnt from the same people and held the same ones out."""
    cohorts.write(tmp_path / "data", SITES | {"c": {"WMH": 3}})
    raw = yaml.safe_load(study_file.read_text())
    raw["data"] |= {"test_on": "patients"}
    raw["comparisons"] = {"local": False, "pooled": False, "baselines": []}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(raw))
    options = ("--out", tmp_path / "runs", "--workers", 0, "-q")
    result = normfed("simulate", tmp_path / "s.yaml", "--data", tmp_path / "data", *options)
    assert result.exit_code == 0, result.output
    folder = run_folder(tmp_path / "runs")
    found, alone = (figures(one)["evaluation"]["federated"] for one in (folder, run))
    assert set(found["sites"]) == {"c"}
    assert found["threshold"]["from"] == "held-out normal people"
    assert found["threshold"]["value"] == pytest.approx(alone["threshold"]["value"], rel=1e-3)
    assert set(found["calibration"]["sites"]) == set(SITES)
    assert found["calibration"]["measured"]["value"] == pytest.approx(
        alone["calibration"]["measured"]["value"], rel=0.02
    )
    assert found["all"]["conformal_p"]["n"] == 3
    assert len(list((folder / "maps").glob("sub-cWMH0*_desc-pvalue_map.nii.gz"))) == 3
    assert not list(folder.glob("sites/*/scores/**/*.safetensors"))


def test_nothing_is_said_of_lesions_and_no_other_model_is_compared(run: Path) -> None:
    found = figures(run)
    assert set(found["evaluation"]) == {"federated"}
    federated = found["evaluation"]["federated"]
    said = {name for name, figure in federated["all"].items() if figure["mean"] is not None}
    assert said == {"false_clusters"}
    assert all(bracket["value"] is None for bracket in federated["merged"].values())
    assert "Nothing was tested: no patient with a lesion" in (run / "report.html").read_text()


def test_it_scores_a_patient_with_clusters_and_p_values(run: Path, tmp_path: Path) -> None:
    patients = cohorts.write(tmp_path / "patients", {"c": {"WMH": 1}}, seed=9)
    result = normfed("score", run, patients, "--out", tmp_path / "maps", "--json")
    assert result.exit_code == 0, result.output
    row = json.loads(result.stdout)
    anomaly, p = (nibabel.load(row[name]).get_fdata() for name in ("map", "p_map"))
    lesion = nibabel.load(next(patients.rglob("*label-WMH_mask.nii.gz"))).get_fdata() > 0
    assert anomaly[lesion].mean() > 2 * anomaly[(anomaly > 0) & ~lesion].mean()
    assert np.median(p[lesion]) < 0.05
    assert row["clusters"] >= 1


def test_without_the_key_it_is_refused_with_the_key(data: Path, study_file: Path, tmp_path: Path) -> None:
    raw = yaml.safe_load(study_file.read_text())
    del raw["data"]["test_on"]
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(DatasetError, match=r"nobody of 11 people has a lesion mask .* write data\.test_on: held-out"):
        normfed("simulate", tmp_path / "s.yaml", "--data", data, "--out", tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_hospitals_with_their_own_rules_train_and_calibrate_as_well(
    data: Path, study_file: Path, tmp_path: Path
) -> None:
    """Each divides its people by its own secret; both have enough held out for a figure."""
    settings = {"minimum_people": 2, "minimum_people_per_voxel": 2, "held_out_share": 0.5, "device": "cpu"}
    made = Rehearsal(tmp_path / "hospitals", data, {name: (name,) for name in SITES}, settings=settings)
    custody = {site: open_hospital(made.folder / site).custody("run") for site in SITES}
    (tmp_path / "run").mkdir()
    run = begin(load_study(study_file), tmp_path / "run")
    runs.write_site_configs(run, data, list(SITES), tmp_path / "scans", "cpu", custody)
    before = dict(os.environ)
    try:
        local.run(run.folder, run.sites_file, len(SITES), 0, None)
    finally:
        os.environ.clear()
        os.environ.update(before)
    found = figures(run.folder)["evaluation"]["federated"]
    assert found["threshold"]["from"] == "held-out normal people"
    assert all(figure["mean"] is None for name, figure in found["all"].items() if name != "false_clusters")
    assert (run.folder / "calibration.safetensors").exists()


def test_those_held_out_test_and_patients_have_no_role() -> None:
    plain = resolve({**STUDY, "data": {**STUDY["data"], "test_on": "patients"}}, "test")
    usual, alone = (assign([PATIENT, *HEALTHY], "a", study) for study in (plain, resolve(STUDY, "test")))
    assert (alone.train, alone.held_out) == (usual.train, usual.held_out)
    assert (usual.test, alone.test) == ((PATIENT,), alone.held_out)
    assert len(alone.everybody()) == len(HEALTHY)  # nobody is prepared twice


def test_studies_without_the_key_keep_their_digests() -> None:
    plain = resolve({**STUDY, "data": {"modalities": ["T1w"]}}, "test")
    assert "test_on" not in plain.model_dump(mode="json")["data"]
    assert plain.digest == resolve({**STUDY, "data": {"modalities": ["T1w"], "test_on": "patients"}}, "test").digest


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda data: data | {"normal": "lesion-free-tissue"}, "test_on: held-out takes normal: controls"),
        (lambda data: data | {"ill_groups": ["PD"]}, "test_on: held-out and ill_groups exclude each other"),
    ],
)
def test_what_cannot_be_with_it_is_refused(change: Callable[[dict[str, Any]], dict[str, Any]], why: str) -> None:
    with pytest.raises(StudyError, match=why):
        resolve({**STUDY, "data": change(STUDY["data"])}, "test")
