"""How a run's folder begins, and which folder is one."""

from __future__ import annotations

import os
import re
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import yaml

from normfed_common.foundation import arrays as named
from normfed_common.foundation import digests
from normfed_common.foundation.errors import RunError, StudyError
from normfed_common.study.config import StudyConfig
from normfed_server.runs import folder as runs


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> str:
    """A clock that stands still; returns what it shows."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return datetime(2026, 1, 2, 3, 4, 5)

    monkeypatch.setattr(runs, "datetime", Clock)
    return "20260102-030405"


def test_runs_that_begin_in_the_same_second_have_folders_of_their_own(
    study: StudyConfig, tmp_path: Path, frozen: str
) -> None:
    found = [runs.begin(study, tmp_path / "runs").folder.name for _ in range(3)]
    assert found == [f"tiny-{frozen}", f"tiny-{frozen}-1", f"tiny-{frozen}-2"]


def test_a_run_that_was_begun_opens_as_the_same_study(study: StudyConfig, tmp_path: Path) -> None:
    begun = runs.begin(study, tmp_path)
    assert runs.reopen(begun.folder) == begun
    assert runs.reopen(begun.folder).study.digest == study.digest
    assert yaml.safe_load((begun.folder / "study.yaml").read_text())["federation"]["rounds"] == 3


def test_a_run_is_finished_once_all_its_figures_are_there(study: StudyConfig, tmp_path: Path) -> None:
    run = runs.begin(study, tmp_path)
    assert not run.finished
    (run.folder / "metrics.json").touch()
    assert run.finished


def test_a_folder_without_a_study_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=rf"^{re.escape(str(tmp_path))}: a folder without study\.yaml"):
        runs.reopen(tmp_path)


@pytest.mark.parametrize("text", ["# a study\nname: mine\nmodel: {name: atlas}\n", "name: mine\nseed: 0\n"])
def test_a_folder_with_a_study_that_a_person_wrote_is_no_run(tmp_path: Path, text: str) -> None:
    """Once it was an unfinished one, to be resumed, which then asked for its data."""
    (tmp_path / "study.yaml").write_text(text)
    with pytest.raises(
        RunError, match=rf"^{re.escape(str(tmp_path))}: no run folder, .*`normfed simulate \S*study\.yaml`"
    ):
        runs.reopen(tmp_path)


def test_where_no_folder_can_be_made_another_is_asked_for(study: StudyConfig, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"cannot be made \(Not a directory\)\. Choose another folder with --out"):
        runs.begin(study, tmp_path / "file")


def test_a_folder_that_a_runs_files_cannot_name_is_refused(study: StudyConfig, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"the path is not UTF-8.* Choose another folder with --out"):
        runs.begin(study, tmp_path / os.fsdecode(b"r\xff"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("link", ["events.jsonl", "arms/federated", "tables"])
def test_a_run_whose_links_lead_elsewhere_is_not_written_to(study: StudyConfig, tmp_path: Path, link: str) -> None:
    run = runs.begin(study, tmp_path / "runs")
    (run.folder / "arms").mkdir()
    runs.refuse_links(run.folder)
    runs.refuse_links(run.folder, "tables", "figures")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (run.folder / link).symlink_to(elsewhere)
    with pytest.raises(RunError, match=rf"^{run.folder / link}: is a link to {elsewhere}, where nothing of a run"):
        runs.refuse_links(run.folder)
    if link == "tables":
        with pytest.raises(RunError, match="is a link"):
            runs.refuse_links(run.folder, "tables", "figures")
    else:
        runs.refuse_links(run.folder, "tables", "figures")


def starting_from(study: StudyConfig, path: Path) -> StudyConfig:
    return study.model_copy(update={"initial_model": str(path)})


def test_the_model_that_a_study_starts_from_is_copied_and_known_by_its_digest(
    study: StudyConfig, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    named.save(path, {"network.w": np.arange(3, dtype=np.float32)})
    run = runs.begin(starting_from(study, path), tmp_path / "runs")
    copy = run.folder / runs.INITIAL
    assert copy.read_bytes() == path.read_bytes()
    assert run.study.initial_model == f"sha256:{digests.of_file(path)}"
    assert runs.reopen(run.folder).study == run.study
    path.unlink()  # the run needs it no more
    assert runs.reopen(run.folder).study == run.study


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_no_study_starts_from_what_is_not_finite(study: StudyConfig, tmp_path: Path, value: float) -> None:
    named.save(tmp_path / "m.safetensors", {"a": np.zeros(2), "b": np.array([1.0, value])})
    with pytest.raises(StudyError, match=r"initial_model: .*m\.safetensors holds values that are not finite"):
        runs.begin(starting_from(study, tmp_path / "m.safetensors"), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_no_study_starts_from_what_is_not_there(study: StudyConfig, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"initial_model: .* is not a file\. Give a model\.safetensors\."):
        runs.begin(starting_from(study, tmp_path), tmp_path / "runs")
