"""Tables of single patients, from the files that sites keep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from compared import metrics
from run_results import run_results

from normfed_common.study.config import StudyConfig
from normfed_server.results import layout
from normfed_server.runs import folder as runs
from normfed_server.runs.folder import Run
from normfed_simulation.paper.tables import table
from normfed_simulation.paper.volumes import LESIONS, VOLUMES, lesions, volumes
from normfed_simulation.people import patients

TESTED = {"auroc": 0.75, "auprc": 0.25, "lesion_ml": 3.25, "found_ml": 10.0}
PEOPLE: list[dict[str, Any]] = [
    {"name": "sub-01", "kind": "MS", **TESTED, "lesions": [{"ml": 3.0, "found": True}, {"ml": 0.25, "found": False}]},
    {"name": "sub-02", "kind": "WMH", "auroc": 0.5, "auprc": 0.125},
]


@pytest.fixture
def run(study: StudyConfig, tmp_path: Path) -> Run:
    opened = runs.begin(study, tmp_path)
    layout.write(opened.folder, run_results(**metrics()))
    (opened.folder / "sites.json").write_text("[]")
    path = opened.folder / "sites" / "a" / "people" / "federated.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(PEOPLE))
    return opened


def test_volumes_and_lesions_are_those_of_people_who_were_tested_in_full(run: Run) -> None:
    expected = {"site": "a", "name": "sub-01", "kind": "MS", "model": "federated"}
    assert volumes(run).to_dict("records") == [{**expected, "lesion_ml": 3.25, "found_ml": 10.0}]
    assert list(volumes(run)) == list(VOLUMES)
    found = lesions(run)
    assert list(found) == list(LESIONS)
    assert found["ml"].sum() == pytest.approx(3.25)
    assert found["found"].tolist() == [True, False]


def test_every_patient_has_a_line_and_a_dash_for_what_nobody_worked_out(run: Run) -> None:
    everybody: pd.DataFrame = patients(run)
    rows = table(run_results(), everybody[everybody["model"] == "federated"], volumes(run)).rows
    assert [row[:5] for row in rows] == [["a", "sub-01", "MS", "3.2", "10.0"], ["a", "sub-02", "WMH", "--", "--"]]
    assert {"0.750", "0.250"} <= set(rows[0])
