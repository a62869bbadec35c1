"""Figures of single patients, paired across models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import wilcoxon
from statsmodels.stats.multitest import multipletests

from normfed_common.foundation.errors import DamagedError
from normfed_common.metrics.subjects import UNTESTED
from normfed_common.study.config import StudyConfig
from normfed_server.results.figures import LesionShare
from normfed_server.results.volumes import Volume, Volumes
from normfed_server.runs.folder import Run
from normfed_simulation.people import called_abnormal, lesion_share, rows, significance

PATIENTS = [("a", f"sub-{number}") for number in range(9)] + [("b", f"sub-{number}") for number in range(7)]


@pytest.fixture
def run(study: StudyConfig, tmp_path: Path) -> Run:
    return Run(tmp_path, study)


def write(run: Run, arm: str, figures: dict[tuple[str, str], float | None]) -> None:
    """Each site's people; of local models each site's own."""
    people: dict[str, list[dict[str, Any]]] = {}
    for (site, name), value in figures.items():
        people.setdefault(site, []).append({"name": name, "kind": "MS", "auprc": value})
    for site, found in people.items():
        folder = run.folder / "sites" / site / "people"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{f'local-{site}' if arm == 'local' else arm}.json").write_text(json.dumps(found))


def test_p_values_are_scipys_over_the_same_patients_with_statsmodels_correction(run: Run) -> None:
    rng = np.random.default_rng(0)
    values = {arm: rng.random(len(PATIENTS)) for arm in ("federated", "local", "atlas", "pooled")}
    values["atlas"] -= 0.4
    for number, (arm, found) in enumerate(values.items()):
        order = np.random.default_rng(number).permutation(len(PATIENTS))  # files need not agree on an order
        write(run, arm, {PATIENTS[at]: float(found[at]) for at in order})
    others = ["local", "atlas", "pooled"]
    raw = [wilcoxon(values[other], values["federated"]).pvalue for other in others]
    expected = multipletests(raw, method="holm")[1]
    found = significance(run, others, "auprc")
    np.testing.assert_allclose([found[other].p for other in others], expected)
    assert found["atlas"].p < 0.05 < found["local"].p
    assert found["atlas"].direction == 1  # the federated model is above


def test_patients_without_a_figure_under_both_models_are_left_out(run: Run) -> None:
    rng = np.random.default_rng(1)
    ours, theirs = rng.random((2, len(PATIENTS)))
    write(run, "federated", {key: None if at == 0 else float(ours[at]) for at, key in enumerate(PATIENTS)})
    write(run, "atlas", {key: None if at == 1 else float(theirs[at]) for at, key in enumerate(PATIENTS) if at != 2})
    expected = wilcoxon(theirs[3:], ours[3:]).pvalue
    assert significance(run, ["atlas"], "auprc")["atlas"].p == pytest.approx(expected)


def test_visits_of_one_patient_count_as_one_by_their_mean(run: Run) -> None:
    ours, theirs = np.random.default_rng(2).random((2, 8, 3))
    for arm, values in (("federated", ours), ("atlas", theirs)):
        visits = {("a", f"sub-{who}_ses-{at}"): float(values[who, at]) for who in range(8) for at in range(3)}
        write(run, arm, visits | {("a", "sub-0_ses-3"): None})
    expected = wilcoxon(theirs.mean(1), ours.mean(1)).pvalue
    assert significance(run, ["atlas"], "auprc")["atlas"].p == pytest.approx(expected)


def test_what_is_called_abnormal_is_the_median_of_patients_with_a_lesion(run: Run) -> None:
    """By hand: three patients at a, of whom one came twice; one at b, and a healthy person."""
    people = {
        "a": [("sub-0", 1.0, 5.0), ("sub-1", 2.0, 9.0), ("sub-2_ses-1", 4.0, 1.0), ("sub-2_ses-2", 6.0, 3.0)],
        "b": [("sub-0", 8.0, 100.0), ("sub-9", 0.0, 70.0)],
    }
    for site, found in people.items():
        folder = run.folder / "sites" / site / "people"
        folder.mkdir(parents=True)
        rows = [{"name": name, "kind": "MS", "lesion_ml": ml, "found_ml": called} for name, ml, called in found]
        (folder / "federated.json").write_text(json.dumps(rows))
    volumes = called_abnormal(run)
    assert volumes.sites == {"a": Volume(2.0, 5.0, 3, mostly_false=2), "b": Volume(8.0, 100.0, 1, mostly_false=1)}
    assert volumes.all == Volume(3.5, 7.0, 4, mostly_false=3)  # lesions of 1, 2, 5, 8; called 5, 9, 2, 100


def test_of_runs_without_volumes_nothing_is_known_to_be_called_abnormal(run: Run) -> None:
    write(run, "federated", dict.fromkeys(PATIENTS, 0.5))
    assert called_abnormal(run) == Volumes()


@pytest.mark.parametrize(("patients", "tested"), [(5, False), (6, True)])
def test_fewer_than_six_patients_are_not_tested(run: Run, patients: int, tested: bool) -> None:
    for arm, step in (("federated", 0.01), ("atlas", 0.02)):
        write(run, arm, {key: step * at for at, key in enumerate(PATIENTS[:patients], 1)})
    assert (significance(run, ["atlas"], "auprc")["atlas"] != UNTESTED) == tested


@pytest.mark.parametrize(
    "text",
    [
        *("{", "5", '["sub-0"]', pytest.param("[" * 10**5, id="nested")),
        '[{"kind": "MS", "auprc": 0.5}]',
        '[{"name": 5, "kind": "MS", "auprc": 0.5}]',
        '[{"name": "sub-0", "kind": "MS", "auprc": "high"}]',
        '[{"name": "sub-0", "kind": "MS", "auprc": 1e999}]',
        '[{"name": "sub-0", "kind": "MS", "site": "another"}]',
        '[{"name": "sub-0", "kind": "MS", "lesions": [{"ml": "large", "found": true}]}]',
    ],
)
def test_a_file_of_people_that_is_damaged_is_named(run: Run, text: str) -> None:
    write(run, "federated", dict.fromkeys(PATIENTS, 0.5))
    path = run.folder / "sites" / "b" / "people" / "federated.json"
    path.write_text(text)
    with pytest.raises(DamagedError, match=rf"^{path} cannot be read \(.*\)\. Copy the run folder again"):
        rows(run, "federated")


def test_local_figures_are_those_of_each_sites_own_model(run: Run) -> None:
    for arm in ("local", "local-b", "federated"):
        write(run, arm, {key: {"local": 0.5, "local-b": 0.9, "federated": 0.1}[arm] for key in PATIENTS[:1]})
    assert rows(run, "local") == [{"site": "a", "name": "sub-0", "kind": "MS", "auprc": 0.5}]
    assert rows(run, "local-b") == [{"site": "a", "name": "sub-0", "kind": "MS", "auprc": 0.9}]
    assert rows(run, "nobody's") == []


def test_the_mean_of_other_sites_models_is_of_each_patient_whatever_the_order_of_a_file(run: Run) -> None:
    write(run, "local-a", {("b", "sub-0"): 0.2, ("b", "sub-1"): 0.9})
    write(run, "local-c", {("b", "sub-1"): 0.7, ("b", "sub-0"): 0.4})
    found = {row["name"]: row["auprc"] for row in rows(run, "local")}
    assert found == {"sub-0": pytest.approx((0.2 + 0.4) / 2), "sub-1": pytest.approx((0.9 + 0.7) / 2)}


@pytest.mark.parametrize("names", [["sub-0"], ["sub-0", "sub-2"], ["sub-0", "sub-1", "sub-1"], []])
def test_a_file_with_other_people_than_those_beside_it_is_named(run: Run, names: list[str]) -> None:
    write(run, "local-a", {("b", "sub-0"): 0.2, ("b", "sub-1"): 0.9})
    path = run.folder / "sites" / "b" / "people" / "local-c.json"
    path.write_text(json.dumps([{"name": name, "kind": "MS", "auprc": 0.5} for name in names]))
    with pytest.raises(DamagedError, match=rf"^{path} cannot be used \(other people than in local-a\.json\)\. Copy"):
        rows(run, "local")


def test_a_person_who_is_twice_in_a_file_is_told_of(run: Run) -> None:
    write(run, "local-a", {("b", "sub-0"): 0.2})
    path = run.folder / "sites" / "b" / "people" / "local-a.json"
    path.write_text(json.dumps([{"name": "sub-0", "kind": "MS", "auprc": 0.5}] * 2))
    with pytest.raises(DamagedError, match=rf"^{path} cannot be used \(somebody is there twice\)"):
        rows(run, "local")


def test_lesions_that_several_models_found_have_no_mean_and_a_file_that_has_them_is_read(run: Run) -> None:
    """Once a traceback: a ranking holds none, but a file may."""
    for arm, value in (("local-a", 0.2), ("local-c", 0.4)):
        write(run, arm, {("b", "sub-0"): value})
        path = run.folder / "sites" / "b" / "people" / f"{arm}.json"
        path.write_text(
            json.dumps([row | {"lesions": [{"ml": 1, "found": True}]} for row in json.loads(path.read_text())])
        )
    (found,) = rows(run, "local")
    assert found == {"site": "b", "name": "sub-0", "kind": "MS", "auprc": pytest.approx(0.3)}


def test_where_a_site_trains_none_its_own_figures_are_the_mean_of_the_other_sites_models_there(run: Run) -> None:
    for arm, value in (("local-a", 0.2), ("local-c", 0.4), ("local-c~2", 9.0)):
        write(run, arm, {("b", "sub-0"): value, ("b", "sub-1"): None if arm == "local-a" else value})
    write(run, "local", {("a", "sub-5"): 0.7})
    write(run, "local-c", {("a", "sub-5"): 0.1, ("b", "sub-0"): 0.4, ("b", "sub-1"): 0.4})  # at a it has its own
    found = {(row["site"], row["name"]): row["auprc"] for row in rows(run, "local")}
    assert found == {("a", "sub-5"): 0.7, ("b", "sub-0"): pytest.approx(0.3), ("b", "sub-1"): None}


def test_chance_is_the_mean_over_patients_of_their_own_shares_and_not_of_the_voxels_of_their_sites(run: Run) -> None:
    """Of two visits the mean counts as one patient; who has no average precision is in no mean of it."""
    kept = {
        "a": [("sub-1_ses-1", 0.2, 0.02), ("sub-1_ses-2", 0.2, 0.04), ("sub-2", 0.3, 0.09), ("sub-3", None, 0.0)],
        "b": [("sub-1", 0.1, 0.003)],
    }
    for site, people in kept.items():
        folder = run.folder / "sites" / site / "people"
        folder.mkdir(parents=True)
        found = [{"name": name, "kind": "MS", "auprc": ap, "lesion_share": share} for name, ap, share in people]
        (folder / "federated.json").write_text(json.dumps(found))
    told = LesionShare(all=0.5, sites={"a": 0.5}, merged=0.06)
    found_share = lesion_share(run, told)
    assert found_share is not None
    assert found_share.all == pytest.approx((0.03 + 0.09 + 0.003) / 3)
    assert found_share.sites == {"a": pytest.approx(0.06), "b": pytest.approx(0.003)}
    assert found_share.merged == 0.06
    assert lesion_share(run, None) is None


def test_of_a_run_that_kept_no_shares_chance_stays_as_it_was_told(run: Run) -> None:
    write(run, "federated", dict.fromkeys(PATIENTS, 0.5))
    told = LesionShare(all=0.03, sites={"a": 0.02})
    assert lesion_share(run, told) == told
