"""`normfed score` as a person and as a script see it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cohorts
import pytest
import typer
from commands import normfed
from finished_runs import set_threshold, written
from typer.testing import CliRunner

from normfed_client import cli
from normfed_client.scoring import scoring
from normfed_client.scoring.rows import PersonScore, Scores
from normfed_client.scoring.screen import ScoreScreen
from normfed_common.models.intensity import Intensity


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people."""
    return cohorts.write(tmp_path_factory.mktemp("cohort"), {"a": {"control": 2}})


@pytest.fixture
def run(tmp_path: Path, cache: Path) -> Path:
    made = written(tmp_path / "run")
    set_threshold(made, 0.9)
    return made


def test_the_table_says_who_was_scored_and_who_was_not_and_why(dataset: Path, run: Path, tmp_path: Path) -> None:
    (tmp_path / "p_T1w.nii.gz").touch()
    result = normfed("score", run, dataset, tmp_path / "p_T1w.nii.gz", "--out", tmp_path / "maps")
    assert result.exit_code == 3
    for person in ("sub-acontrol00", "sub-acontrol01"):
        (line,) = [line for line in result.stdout.splitlines() if person in line]
        assert "given" in line
    assert "10.0" in result.stdout or "9.9" in result.stdout  # % of the brain are at or above the rank 0.9
    assert "sub-p: the model needs T1w, FLAIR; FLAIR is missing" in result.stdout
    assert f"2 of 3 scored: {tmp_path / 'maps'}" in result.stdout
    assert result.output.count("FLAIR is missing") == 1  # once it stood on both outputs


def test_all_scored_is_0_and_nobody_is_2(dataset: Path, run: Path, tmp_path: Path) -> None:
    assert normfed("score", run, dataset / "sub-acontrol00", "--out", tmp_path / "maps").exit_code == 0
    (tmp_path / "p_T1w.nii.gz").touch()
    assert normfed("score", run, tmp_path / "p_T1w.nii.gz", "--out", tmp_path / "none").exit_code == 2


def test_scripts_get_an_object_per_person_and_nothing_else(dataset: Path, run: Path, tmp_path: Path) -> None:
    (tmp_path / "p_T1w.nii.gz").touch()
    result = normfed("score", run, tmp_path / "p_T1w.nii.gz", dataset, "--out", tmp_path / "maps", "--json")
    assert result.exit_code == 3
    rows = {row["participant_id"]: row for row in map(json.loads, result.stdout.splitlines())}
    assert list(rows) == ["sub-p", "sub-acontrol00", "sub-acontrol01"]
    assert rows["sub-p"]["status"] == "failed"
    assert "FLAIR is missing" in rows["sub-p"]["reason"]
    assert Path(rows["sub-acontrol01"]["map"]).is_file()
    assert rows["sub-acontrol01"]["abnormal_share"] == pytest.approx(0.1, abs=0.01)


def test_modalities_and_a_mask_by_option(dataset: Path, run: Path, tmp_path: Path) -> None:
    scans = {path.name.split("_")[-1].split(".")[0]: path for path in (dataset / "sub-acontrol00").rglob("*.nii.gz")}
    mask = next((dataset / "derivatives").rglob("sub-acontrol00*brain_mask.nii.gz"))
    for modality, path in scans.items():
        shutil.copy(path, tmp_path / f"{modality.lower()}.nii.gz")
    options = ["--t1w", tmp_path / "t1w.nii.gz", "--scan", f"FLAIR={tmp_path / 'flair.nii.gz'}", "--brain-mask", mask]
    assert normfed("score", run, *options, "--out", tmp_path / "maps").exit_code == 0
    (written_map,) = (tmp_path / "maps").rglob("*anomaly_map.nii.gz")
    assert written_map.name == "sub-t1w_space-T1w_desc-anomaly_map.nii.gz"
    assert normfed("score", run, "--out", tmp_path / "maps").exit_code == 2
    assert normfed("score", run, "--scan", "FLAIR", "--out", tmp_path / "maps").exit_code == 2


def test_a_remark_and_a_name_are_said_as_they_are_and_do_nothing_to_the_terminal(
    dataset: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Intensity.score

    def unlike(model: Intensity, *arguments: Any) -> Any:
        return replace(whole(model, *arguments), remarks=("T1w is unlike [all] others.\x1b[2J",))

    monkeypatch.setattr(Intensity, "score", unlike)
    for path in (dataset / "sub-acontrol00" / "anat").iterdir():
        shutil.copy(path, tmp_path / path.name.replace("sub-", "[red]\x1b[2J"))
    app = typer.Typer()
    app.command()(cli.score)
    (tmp_path / "[").mkdir()
    out = tmp_path / "[" / "]"  # a path that closes what is not open
    bad = tmp_path / "[red]\x1b[2Jx.nii.gz"
    bad.touch()
    scans = [*map(str, tmp_path.glob("*control00*.nii.gz")), str(bad)]
    result = CliRunner().invoke(app, [str(run), *scans, "--out", str(out)])
    assert result.exit_code == 3, result.output
    assert "\x1b" not in result.output
    assert "sub-red2Jacontrol00: T1w is unlike [all] others.\\x1b[2J" in result.output
    assert "[red]\\x1b[2Jx.nii.gz: the name does not say the modality" in result.output


def test_what_is_stopped_by_a_person_says_what_is_done(
    dataset: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = scoring._Scoring._one

    def stopped(self: Any, asked: Any, cases: Any) -> PersonScore:
        if asked.participant_id == "sub-acontrol01":
            raise KeyboardInterrupt
        return one(self, asked, cases)

    monkeypatch.setattr(scoring._Scoring, "_one", stopped)
    result = normfed("score", run, dataset, "--out", tmp_path / "maps")
    assert result.exit_code == 130
    assert "sub-acontrol00" in result.stdout
    assert "What is listed is whole" in result.stderr


def test_who_fails_a_check_says_nothing_of_how_long_the_others_take() -> None:
    """Forty of ninety-four damaged files in twelve seconds: once under a minute seemed left before any was scored."""
    screen = ScoreScreen(as_json=False)
    row = PersonScore("sub-1", None, "failed", "damaged")
    screen.begun(6, [row])
    for _ in range(4):
        screen.done(row)
    (task,) = screen._progress.tasks
    assert (task.completed, task.fields["before"]) == (4, 4)
    screen.done(replace(row, status="scored"))
    assert (task.completed, task.fields["before"]) == (5, 4)


def test_rows_and_totals_of_the_result() -> None:
    rows = (PersonScore("sub-1", "ses-a", "scored", subject_score=1.0), PersonScore("sub-2", None, "failed", "why"))
    scores = Scores(Path("out"), rows)
    assert (scores.scored, scores.failed) == (rows[:1], rows[1:])
    assert [row.name for row in rows] == ["sub-1_ses-a", "sub-2"]
    assert json.loads(json.dumps(rows[0].as_json()))["map"] is None


def test_what_the_columns_mean_is_said_below(dataset: Path, tmp_path: Path, cache: Path) -> None:
    run = written(tmp_path / "run")
    set_threshold(run, 0.9)
    shown = normfed("score", run, dataset / "sub-acontrol00", "--out", tmp_path / "maps").stdout
    assert "98 % quantile: of the anomaly in the brain" in shown
    assert "given: a mask that was given or lay beside the scan." in shown
    assert "template:" not in shown  # nobody's
