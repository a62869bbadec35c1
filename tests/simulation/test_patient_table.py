"""The report's table of patients, from the sites' own files and masks."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from compared import metrics, model
from run_results import run_results

from normfed_client.hospital.site import Site
from normfed_common.study.config import StudyConfig
from normfed_server.runs.folder import Run
from normfed_simulation.patient_table import PatientRow, chance_by_kind, patient_rows, touched


def case(name: str, voxels: int, age: float | None = 70.0) -> SimpleNamespace:
    """Somebody with so many voxels of lesion in a brain of 100."""
    lesion = np.zeros((10, 10, 2), bool)
    lesion[:, :, 0].flat[:voxels] = True
    mask = np.zeros_like(lesion)
    mask[:, :, 0] = True
    entry = SimpleNamespace(lesion=lambda: lesion, evaluated=lambda: mask)
    return SimpleNamespace(visit=SimpleNamespace(name=name, participant=SimpleNamespace(age=age, sex="F")), entry=entry)


@pytest.fixture
def found(study: StudyConfig, tmp_path: Path) -> list[PatientRow]:
    """Of two patients with the federated model and an atlas, and a third who is no longer in the dataset."""
    folder = tmp_path / "sites" / "a" / "people"
    folder.mkdir(parents=True)
    rows: list[dict[str, Any]] = [
        {
            "name": "sub-1",
            "kind": "MS",
            "auprc": 0.2,
            "lesion_sensitivity": 0.0,
            "lesions": [{"ml": 1, "found": False}],
        },
        {
            "name": "sub-2",
            "kind": "WMH",
            "auprc": 0.6,
            "lesion_sensitivity": 0.25,
            "cluster_rank": None,
            "lesions": [{"ml": 1, "found": at == 2} for at in range(4)],
        },
        {"name": "sub-3", "kind": "MS", "auprc": 0.9},
    ]
    (folder / "federated.json").write_text(json.dumps(rows))
    (folder / "atlas.json").write_text(json.dumps([{**rows[0], "auprc": 0.1}]))
    compared = metrics(atlas=None)
    compared["evaluation"]["atlas"] = model(0.7, 0.1)
    sites = {"a": cast(Site, SimpleNamespace(test=[case("sub-1", 4), case("sub-2", 10, age=None)]))}
    return patient_rows(Run(tmp_path, study), run_results(**compared), sites)


def test_patients_stand_with_the_best_first_and_their_own_figures(found: list[PatientRow], study: StudyConfig) -> None:
    voxel_ml = study.preprocessing.voxel_size_mm**3 / 1000
    assert [(row.name, row.figures["auprc"], row.baseline) for row in found] == [
        ("sub-2", 0.6, None),
        ("sub-1", 0.2, 0.1),
    ]
    assert [row.lesion_ml for row in found] == pytest.approx([10 * voxel_ml, 4 * voxel_ml])
    assert [row.share for row in found] == pytest.approx([0.1, 0.04])
    assert [row.detected for row in found] == ["1 of 4", "missed"]
    assert [(row.age, row.sex) for row in found] == [(None, "F"), (70.0, "F")]
    assert "cluster_rank" not in found[0].figures
    assert touched(found) == (1, 5)
    assert touched([]) is None


def test_chance_of_a_kind_is_the_mean_of_its_patients_shares(found: list[PatientRow]) -> None:
    assert chance_by_kind(found) == pytest.approx({"MS": 0.04, "WMH": 0.1})
    assert chance_by_kind([]) == {}
