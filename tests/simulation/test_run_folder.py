"""What a run that cannot begin leaves."""

from __future__ import annotations

from pathlib import Path

import cohorts
import pytest
from typer.testing import CliRunner

from normfed_common.cli import build
from normfed_common.foundation.errors import DatasetError, RunError, StudyError
from normfed_common.study.config import StudyConfig
from normfed_server.runs.folder import begin
from normfed_simulation.run_folder import discarded_if_refused


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("kind", [StudyError, DatasetError, RunError, OSError, KeyboardInterrupt, SystemExit, KeyError])
def test_whatever_goes_wrong_before_a_round_is_trained_leaves_no_folder(
    study: StudyConfig, tmp_path: Path, kind: type[BaseException], trained: bool
) -> None:
    run = begin(study, tmp_path)
    (run.folder / "arms" / "federated").mkdir(parents=True)
    (run.folder / "events.jsonl").touch()
    if trained:
        (run.folder / "arms" / "federated" / "progress.safetensors").touch()
    with pytest.raises(kind), discarded_if_refused(run):
        raise kind("no")
    assert run.folder.exists() == trained


def test_a_folder_to_which_the_error_sends_people_stays(study: StudyConfig, tmp_path: Path) -> None:
    run = begin(study, tmp_path)
    with pytest.raises(RunError), discarded_if_refused(run):
        raise RunError(f"Site a could not be read, see {run.folder}/sites/a/log.")
    assert run.folder.exists()


@pytest.mark.parametrize("command", ["simulate", "compare"])
@pytest.mark.parametrize(
    ("data", "more", "sentence"),
    [
        ("nowhere", [], "nowhere: no such folder"),
        ("empty", [], "participants.tsv: missing"),
        (None, [], "add --data DIR"),
        ("people", [], "nobody has all of T1w, FLAIR, T2w"),
        ("people", ["--attack", "zebra:nan"], "no site called zebra"),
        ("strangers", [], "2 people have T1w and FLAIR, and none is in the group control, has a lesion mask or is in"),
    ],
)
def test_what_the_data_do_not_allow_is_said_before_anything_is_shown_or_made(
    tmp_path: Path, command: str, data: str | None, more: list[str], sentence: str
) -> None:
    (tmp_path / "empty").mkdir()
    cohorts.write(tmp_path / "people", {"a": {"control": 2}})
    table = cohorts.write(tmp_path / "strangers", {"a": {"control": 2}}) / "participants.tsv"
    table.write_text(table.read_text().replace("\tcontrol", "\tvolunteer"))
    modalities = "[T1w, FLAIR]" if more or data == "strangers" else "[T1w, FLAIR, T2w]"
    (tmp_path / "s.yaml").write_text(f"{{name: s, data: {{modalities: {modalities}}}, model: {{name: siamese}}}}")
    given = ["--data", tmp_path / data] if data else []
    words = [command, tmp_path / "s.yaml", *given, *more, "--out", tmp_path / "runs", "--workers", 0]
    result = CliRunner().invoke(build(), [str(word) for word in words])
    assert isinstance(result.exception, DatasetError)
    assert sentence in str(result.exception)
    assert result.output == ""
    assert not (tmp_path / "runs").exists()
