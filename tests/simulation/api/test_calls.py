"""What Python may say of a study, its data and its sites."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import TINY

import normfed
from normfed_common.foundation.errors import DatasetError, RunError, StudyError, UserError
from normfed_common.studies import load_study, resolve
from normfed_common.study.config import StudyConfig
from normfed_server.runs import folder as runs
from normfed_simulation.api import calls
from normfed_simulation.api.places import paths


def test_a_study_may_be_a_file_a_name_a_mapping_or_resolved(tmp_path: Path, study: StudyConfig) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    changes = {"federation.rounds": 2, "model": "atlas"}
    expected = load_study(path, **changes)
    given: list[Any] = [path, str(path), TINY, resolve(TINY, "test")]
    assert [calls.asked(each, changes) for each in given] == [expected] * 4
    assert (expected.federation.rounds, expected.model["name"]) == (2, "atlas")
    assert calls.asked("demo", {}).name == "demo"
    assert calls.asked(study, {}) is study
    assert "federation" in TINY
    assert TINY["federation"]["rounds"] == 3  # what was given is as it was


def test_a_key_that_is_none_is_said_with_what_was_meant() -> None:
    with pytest.raises(StudyError, match=r"federation\.round is not a key .*federation\.rounds"):
        normfed.simulate(TINY, **{"federation.round": 2})


def test_data_may_be_one_folder_or_several(tmp_path: Path) -> None:
    assert paths(None) == []
    assert paths(str(tmp_path)) == paths(tmp_path) == [tmp_path]
    assert paths([tmp_path, "b"]) == [tmp_path, Path("b")]


def test_an_attack_that_is_none_is_said() -> None:
    with pytest.raises(StudyError, match=r"a cannot do 'lie'\. Attacks are sign-flip"):
        normfed.simulate(TINY, attacks={"a": "lie"})


def test_a_strategy_that_is_none_is_said() -> None:
    with pytest.raises(StudyError, match=r"strategies: .* is neither a name nor an entry with a name"):
        normfed.compare(TINY, strategies=["fedavg", {"mu": 1}])


def test_a_single_name_stands_for_a_list_of_one() -> None:
    assert calls._several("all") == ["all"]
    assert calls._several({"name": "ditto"}) == [{"name": "ditto"}]
    assert calls._several(("fedavg", "ditto")) == ["fedavg", "ditto"]


def test_underscores_between_words_are_answered_with_dots() -> None:
    with pytest.raises(StudyError, match=r"federation__rounds: keys .* Write \*\*\{'federation\.rounds': \.\.\.\}"):
        normfed.simulate(TINY, federation__rounds=2)


def test_what_is_refused_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="auto, cpu"):
        normfed.simulate(TINY, out=tmp_path / "runs", device="gpu")
    with pytest.raises(StudyError):
        normfed.simulate({**TINY, "strategy": {"name": "krum", "malicious": 5}}, out=tmp_path / "runs", progress=False)
    assert not list(tmp_path.rglob("*"))


def test_a_run_that_is_none_or_unfinished_is_said_with_what_goes_on(tmp_path: Path, study: StudyConfig) -> None:
    with pytest.raises(RunError, match="no such folder, where a run folder is needed"):
        normfed.open_run(tmp_path / "run")
    with pytest.raises(RunError, match=r"not finished\. Go on with normfed\.resume\('"):
        normfed.open_run(runs.begin(study, tmp_path).folder)
    (tmp_path / "study.yaml").write_text(json.dumps(TINY))
    with pytest.raises(RunError, match="no run folder, but one that holds a study"):
        normfed.open_run(tmp_path)


def test_errors_name_parameters_and_not_options(tmp_path: Path) -> None:
    study = {"name": "s", "data": {"modalities": ["T1w"]}, "model": "intensity"}
    with pytest.raises(UserError, match=r"add data=DIR"):
        calls.simulate(study, out=tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"Choose another folder with out=\."):
        calls.simulate("demo", out=tmp_path / "file" / "runs")
    with pytest.raises(UserError, match="attacks=: no site called x"):
        calls.simulate("demo", attacks={"x": "nan"}, out=tmp_path)
