"""Which dataset an interrupted run goes on with, and where it lies."""

from __future__ import annotations

from pathlib import Path

from normfed_common.study.config import StudyConfig
from normfed_server.runs.folder import Run, begin
from normfed_simulation import run_folder as runs
from normfed_simulation import study_data


def begun(study: StudyConfig, data: Path, tmp_path: Path) -> Run:
    run = begin(study, tmp_path / "runs")
    runs.write_site_configs(run, data, ["a", "b"], tmp_path / "cache", "cpu", {})
    return run


def test_a_dataset_below_a_folder_called_as_the_caches_is_found_again(
    study: StudyConfig, hospitals: Path, tmp_path: Path
) -> None:
    data = tmp_path / "datasets" / "phantom" / "of-the-lab"
    assert study_data.data_of(begun(study, data, tmp_path)) == data
    without = study.model_copy(update={"data": study.data.model_copy(update={"phantom": None})})
    assert study_data.data_of(begun(without, hospitals, tmp_path)) == hospitals


def test_the_phantom_of_the_study_is_made_or_found_by_its_content(
    study: StudyConfig, hospitals: Path, tmp_path: Path
) -> None:
    assert study_data.data_of(begun(study, hospitals, tmp_path)) is None


def test_a_run_that_ended_before_it_had_sites_has_no_dataset_yet(study: StudyConfig, tmp_path: Path) -> None:
    assert study_data.data_of(begin(study, tmp_path / "runs")) is None
