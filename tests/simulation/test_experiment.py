"""What is refused before anybody is made, and what is said at the end."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from commands import normfed

from normfed_client.imaging.bids import Problem
from normfed_common.foundation.errors import DatasetError, RunError, StudyError
from normfed_common.study.config import StudyConfig
from normfed_server.runs.folder import REPORT, Run, begin
from normfed_simulation import experiment, patients
from normfed_simulation import run_folder as runs
from normfed_simulation.commands import simulating
from normfed_simulation.watcher import Silent


@pytest.mark.parametrize("made", [True, False])
def test_where_scans_lie_that_a_study_had_made_is_said_at_the_end(
    hospitals: Path, study: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: bool
) -> None:
    def simulated(run: Run, *_: object, paper: bool) -> Path:
        assert paper
        runs.write_site_configs(run, hospitals, ["a"], tmp_path / "cache", "cpu", {})
        return run.folder / "report.html"

    monkeypatch.setattr(experiment, "simulate", simulated)
    monkeypatch.setattr(simulating, "_print_summary", lambda *_: None)
    given = [] if made else ["--data", hospitals]
    (tmp_path / "s.yaml").write_text(study.model_dump_json())
    result = normfed("simulate", tmp_path / "s.yaml", *given, "--out", tmp_path / "runs")
    assert (f"Scans: {hospitals.resolve()}\n" in result.stderr) == made


@pytest.mark.parametrize("controls", [[3, 3, 1], [3, 3]])
def test_too_few_sites_for_secure_sums_are_refused_before_anybody_is_made(
    study: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, controls: list[int]
) -> None:
    """A third site has one person only."""
    monkeypatch.setenv("NORMFED_CACHE", str(tmp_path / "cache"))
    sites = [
        {"name": name, "vendor": "ge", "field_tesla": 3.0, "controls": count, "patients": {"MS": 1}}
        for name, count in zip("abc", controls, strict=False)
    ]
    text = study.model_dump(mode="json")
    text["data"] |= {"phantom": {"sites": sites, "voxel_size_mm": 4}, "held_out_people": 1}
    text["privacy"] = {"secure_aggregation": {"minimum_sites": 3}}
    (tmp_path / "s.yaml").write_text(json.dumps(text | {"federation": {"minimum_cohort": 2}}))
    said = "privacy.secure_aggregation: 2 sites can train; a secure sum is over 3 at least. "
    for command in (["simulate", "--out", tmp_path / "runs"], ["rehearse", "--folder", tmp_path / "rehearsal"]):
        with pytest.raises(StudyError, match=f"^{re.escape(said)}[^.]*\\.$"):
            normfed(command[0], tmp_path / "s.yaml", *command[1:])
    assert [path.name for path in tmp_path.iterdir()] == ["s.yaml"]


def test_a_malicious_site_that_there_is_not_is_refused_before_anybody_is_made(
    study: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NORMFED_CACHE", str(tmp_path / "cache"))
    (tmp_path / "s.yaml").write_text(study.model_dump_json())
    with pytest.raises(DatasetError, match="no site called nobody"):
        normfed("simulate", tmp_path / "s.yaml", "--attack", "nobody:nan", "--out", tmp_path / "runs")
    assert [path.name for path in tmp_path.iterdir()] == ["s.yaml"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"split": {"by": "iid", "sites": 2}}, "split divides people in a simulation; hospitals keep theirs"),
        ({"people_per_site": 4}, "people_per_site keeps a simulation small; hospitals' people all count"),
    ],
)
def test_what_a_simulation_alone_does_with_people_is_refused_by_a_rehearsal_before_anybody_is_made(
    study: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], why: str
) -> None:
    monkeypatch.setenv("NORMFED_CACHE", str(tmp_path / "cache"))
    text = study.model_dump(mode="json")
    text["data"] |= change
    (tmp_path / "s.yaml").write_text(json.dumps(text))
    with pytest.raises(StudyError, match=rf"^data\.{why}\."):
        normfed("rehearse", tmp_path / "s.yaml", "--folder", tmp_path / "rehearsal")
    assert [path.name for path in tmp_path.iterdir()] == ["s.yaml"]


def test_a_report_is_written_last_so_that_where_there_is_one_all_else_is_there(
    study: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    run = begin(study, tmp_path)
    monkeypatch.setattr(experiment, "prepared", lambda *_: (tmp_path, ["a"], [Problem("sub-1", "no FLAIR")]))
    monkeypatch.setattr(experiment, "federate", lambda *_: done.append("figures of the run"))
    monkeypatch.setattr(experiment, "write_paper", lambda _: done.append("paper"))
    monkeypatch.setattr(patients, "report", lambda _: done.append("report"))
    for paper in (True, False):
        experiment.simulate(run, None, "local", "cpu", 0, Silent(), paper=paper)
    assert done == ["figures of the run", "paper", "report", "figures of the run", "report"]
    assert json.loads((run.folder / patients.LEFT_OUT).read_text()) == [["sub-1", "no FLAIR"]]


@pytest.mark.parametrize(("whole", "command"), [(True, "report"), (False, "simulate --resume")])
def test_whoever_stops_a_run_is_told_the_command_that_goes_on_from_there(
    hospitals: Path, study: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool, command: str
) -> None:
    """Once `simulate --resume` even where the report alone was missing, which it refuses."""

    def stopped(run: Run, *_: object, paper: bool) -> Path:
        progress = run.folder / "arms" / "federated" / "progress.safetensors"
        progress.parent.mkdir(parents=True)
        progress.touch()
        if whole:
            (run.folder / "metrics.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "simulate", stopped)
    (tmp_path / "s.yaml").write_text(study.model_dump_json())
    result = normfed("simulate", tmp_path / "s.yaml", "--data", hospitals, "--out", tmp_path / "runs")
    assert result.exit_code == 130
    (folder,) = (tmp_path / "runs").iterdir()
    assert re.search(rf"normfed {command} {folder}$", result.stderr.strip())


def test_a_run_that_was_stopped_before_its_report_is_told_how_to_make_it(study: StudyConfig, tmp_path: Path) -> None:
    run = begin(study, tmp_path)
    (run.folder / "metrics.json").write_text("{}")
    with pytest.raises(RunError, match=f"Only its report is missing: normfed report {run.folder}$"):
        experiment.check_resumable(run)
    (run.folder / REPORT).touch()
    with pytest.raises(RunError, match=r"already finished\. Look at .*report\.html\.$"):
        experiment.check_resumable(run)
