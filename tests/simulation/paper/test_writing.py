"""Tables and figures of single patients, of a made-up simulated run; a server's run has none of them."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from commands import normfed
from compared import difference, metrics
from rich.console import Console
from run_results import run_results

from normfed_common.foundation.errors import RunError
from normfed_common.study.config import StudyConfig
from normfed_server.results import layout
from normfed_server.results.paper_names import ours
from normfed_server.runs import folder as runs
from normfed_server.runs.folder import Run
from normfed_simulation.commands import simulating
from normfed_simulation.paper.writing import write_paper

PATIENTS = 8


def person(number: int, auroc: float) -> dict[str, Any]:
    lesions = [{"ml": 0.5 * number, "found": True}, {"ml": 0.25, "found": False}]
    found = {
        "auroc": auroc,
        "auprc": auroc / 2,
        "dice": 0.5,
        "lesion_ml": 0.5 * number + 0.25,
        "found_ml": 1.0 * number,
    }
    return {"name": f"sub-{number:02d}", "kind": "MS", **found, "lesions": lesions}


@pytest.fixture
def run(study: StudyConfig, tmp_path: Path) -> Run:
    opened = runs.begin(study, tmp_path)
    layout.write(opened.folder, run_results(**metrics(atlas=difference(0.1, 0.05, 0.15))))
    (opened.folder / "sites.json").write_text("[]")
    rng = np.random.default_rng(0)
    for arm, shift in (("federated", 0.1), ("atlas", 0.0)):
        path = opened.folder / "sites" / "a" / "people" / f"{arm}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        people = [person(number, float(rng.uniform(0.5, 0.8)) + shift) for number in range(1, PATIENTS + 1)]
        path.write_text(json.dumps(people))
    return opened


def test_a_simulated_run_has_tables_and_figures_of_its_patients(run: Run) -> None:
    names = {path.name for path in write_paper(run)}
    assert {"patients.csv", "patients.tex", "volumes.csv", "lesions.csv", "models.csv"} <= names
    drawn = {"bland-altman", "lesion-size", "patients-auroc", "patients-auprc"}
    assert {f"{name}.{kind}" for name in drawn for kind in ("svg", "png")} <= names

    volumes = pd.read_csv(run.folder / "tables" / "patients" / "volumes.csv")
    assert len(volumes) == 2 * PATIENTS
    (found,) = volumes.query("model == 'atlas' and name == 'sub-03'")["found_ml"]
    assert found == 3.0
    lesions = pd.read_csv(run.folder / "tables" / "patients" / "lesions.csv")
    assert lesions.groupby("model")["found"].sum().to_dict() == {"atlas": PATIENTS, "federated": PATIENTS}
    patients = (run.folder / "tables" / "patients" / "patients.tex").read_text()
    assert r"{}a & sub-03 & MS & 1.8 & 3.0 &" in patients
    assert patients.count("sub-") == PATIENTS
    for of in ("tables", "figures"):
        folder = run.folder / of / "patients"
        assert {path.name for path in ours(folder, of)} == {path.name for path in folder.iterdir()}


def test_a_summary_names_the_folders_for_a_paper_where_there_are_some(run: Run) -> None:
    def shown() -> str:
        console = Console(file=io.StringIO(), width=200)
        simulating._print_summary(console, run, run.folder / "report.html", False)
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue()

    assert "For a paper" not in shown()
    (run.folder / "tables").mkdir()
    assert f"For a paper: {run.folder / 'tables'}\n" in shown()


def test_a_run_from_before_volumes_were_kept_has_the_figures_of_the_scans_alone(run: Run) -> None:
    for path in run.folder.glob("sites/*/people/*.json"):
        rows = json.loads(path.read_text())
        path.write_text(
            json.dumps([{k: v for k, v in row.items() if not k.endswith("_ml") and k != "lesions"} for row in rows])
        )
    names = {path.name for path in write_paper(run)}
    assert "patients.csv" in names
    assert "patients-auroc.png" in names
    assert not names & {"volumes.csv", "lesions.csv", "bland-altman.png", "lesion-size.png"}
    assert "sub-03 & MS & -- & --" in (run.folder / "tables" / "patients" / "patients.tex").read_text()


@pytest.mark.parametrize("linked", ["tables", "tables/patients", "figures"])
def test_nothing_is_written_or_removed_through_a_link_in_a_run(run: Run, tmp_path: Path, linked: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    mine = elsewhere / "models.csv"
    mine.write_text("mine")
    link = run.folder / linked
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(elsewhere)
    with pytest.raises(RunError, match="is a link to"):
        write_paper(run)
    assert [path.name for path in elsewhere.iterdir()] == ["models.csv"]
    assert mine.read_text() == "mine"


def test_a_servers_run_is_reported_without_single_patients(run: Run) -> None:
    run.sites_file.unlink()
    shutil.rmtree(run.folder / "sites")
    assert normfed("report", run.folder).output == f"{run.folder / 'report.html'}\n"
    assert (run.folder / "report.html").exists()
    assert (run.folder / "tables" / "models.csv").exists()
    assert not (run.folder / "tables" / "patients").exists()
