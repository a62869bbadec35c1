"""Which dataset an interrupted run goes on with, and where it lies."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import normfed

from normfed_common.study.config import StudyConfig
from normfed_server.runs.folder import Run, begin
from normfed_simulation import cli, experiment
from normfed_simulation import run_folder as runs


def begun(study: StudyConfig, data: Path, tmp_path: Path) -> Run:
    run = begin(study, tmp_path / "runs")
    runs.write_site_configs(run, data, ["a", "b"], tmp_path / "cache", "cpu", {})
    return run


def test_a_dataset_below_a_folder_called_as_the_caches_is_found_again(
    study: StudyConfig, hospitals: Path, tmp_path: Path
) -> None:
    data = tmp_path / "datasets" / "phantom" / "of-the-lab"
    assert experiment.data_of(begun(study, data, tmp_path)) == data
    without = study.model_copy(update={"data": study.data.model_copy(update={"phantom": None})})
    assert experiment.data_of(begun(without, hospitals, tmp_path)) == hospitals


def test_the_phantom_of_the_study_is_made_or_found_by_its_content(
    study: StudyConfig, hospitals: Path, tmp_path: Path
) -> None:
    assert experiment.data_of(begun(study, hospitals, tmp_path)) is None


def test_a_run_that_ended_before_it_had_sites_has_no_dataset_yet(study: StudyConfig, tmp_path: Path) -> None:
    assert experiment.data_of(begin(study, tmp_path / "runs")) is None


@pytest.mark.parametrize("made", [True, False])
def test_where_scans_lie_that_a_study_had_made_is_said_at_the_end(
    hospitals: Path, study: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: bool
) -> None:
    def simulated(run: Run, *_: object) -> Path:
        runs.write_site_configs(run, hospitals, ["a"], tmp_path / "cache", "cpu", {})
        return run.folder / "report.html"

    monkeypatch.setattr(experiment, "simulate", simulated)
    monkeypatch.setattr(cli, "_print_summary", lambda *_: None)
    given = [] if made else ["--data", hospitals]
    (tmp_path / "s.yaml").write_text(study.model_dump_json())
    result = normfed("simulate", tmp_path / "s.yaml", *given, "--out", tmp_path / "runs")
    assert (f"Scans: {hospitals.resolve()}\n" in result.stderr) == made
