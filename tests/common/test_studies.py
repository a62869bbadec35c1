"""What the command line changes in a study file, where its models are looked for, and whose fault an error names."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import TINY

from normfed_common.foundation.errors import StudyError
from normfed_common.models.catalogue import MODELS
from normfed_common.studies import MAXIMUM_BYTES, load_study, validate_learner, validate_strategy


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """Writes the tiny study with some keys changed; None takes a key away."""

    def write(**changes: Any) -> Path:
        raw = copy.deepcopy(TINY) | changes
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({key: value for key, value in raw.items() if value is not None}))
        return path

    return write


def test_a_named_entry_of_the_command_line_replaces_the_files_with_its_parameters(written: Any) -> None:
    """A parameter of the one means nothing to the other."""
    path = written(strategy={"name": "fedprox", "mu": 0.5}, model={"name": "atlas"})
    assert load_study(path).strategy == {"name": "fedprox", "mu": 0.5}
    changed = load_study(path, strategy={"name": "ditto"}, model={"name": "intensity"})
    assert changed.strategy == {"name": "ditto", "lambda": 0.1}
    assert changed.model["name"] == "intensity"


def test_values_without_a_name_change_the_files_entry(written: Any) -> None:
    path = written(strategy={"name": "fedprox", "mu": 0.5})
    assert load_study(path, strategy={"mu": 0.25}).strategy == {"name": "fedprox", "mu": 0.25}


def test_a_section_that_the_file_lacks_is_made(written: Any) -> None:
    path = written(evaluation=None)
    assert load_study(path, evaluation={"bins": 77}).evaluation.bins == 77
    assert load_study(path, evaluation={"bins": 77}).federation == load_study(path).federation


def test_a_change_of_the_command_line_is_checked_like_the_file(written: Any) -> None:
    with pytest.raises(StudyError, match=r"study\.yaml: federation\.rounds: .*\(got '0'\)"):
        load_study(written(), federation={"rounds": 0})


@pytest.mark.parametrize(
    ("said", "found"),
    [("old/model", "{folder}/old/model"), ("/models/m", "/models/m"), ("sha256:0f", "sha256:0f")],
)  # fmt: skip
def test_an_initial_model_is_looked_for_beside_the_study(written: Any, said: str, found: str) -> None:
    path = written(initial_model=said)
    assert load_study(path).initial_model == found.format(folder=path.parent)


@pytest.mark.parametrize(
    ("comparisons", "sentence"),
    [
        ({"baselines": [{"name": "atlas"}, {"name": "unet"}]}, "No model is called 'unet'"),
        ({"baselines": [{"name": "atlas"}, {"x": 1}]}, "comparisons.baselines[1]: name is missing. Known models: "),
        ({"baselines": [{"name": "atlas", "x": 1}]}, "comparisons.baselines[0]: x is not a key"),
        ({"strategies": ["fedavg", {"mu": 1.0}]}, "comparisons.strategies[1]: name is missing. Known strategies: cfl,"),
        ({"strategies": ["fedavg", {"name": "fedprox", "mu": -1}]}, "comparisons.strategies[1]: mu: "),
        ({"strategies": [{"name": 3}]}, "comparisons.strategies[0]: name is missing"),
    ],
)  # fmt: skip
def test_an_error_in_a_list_says_which_entry(written: Any, comparisons: dict[str, Any], sentence: str) -> None:
    path = written(comparisons=comparisons)
    with pytest.raises(StudyError) as caught:
        load_study(path)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_entries_of_comparisons_get_their_defaults_in_their_order(written: Any) -> None:
    found = load_study(written(comparisons={"baselines": [{"name": "intensity"}], "strategies": ["ditto", "fedavg"]}))
    assert found.comparisons.strategies == ({"name": "ditto", "lambda": 0.1}, {"name": "fedavg"})
    assert found.comparisons.baselines == (validate_learner(MODELS, {"name": "intensity"}, "x"),)


def test_checking_an_entry_leaves_what_was_given_alone() -> None:
    given = {"name": "fedprox"}
    assert validate_strategy(given, "x") == {"name": "fedprox", "mu": validate_strategy(given, "x")["mu"]}
    assert given == {"name": "fedprox"}


def test_a_study_file_may_be_as_large_as_a_request_takes(written: Any) -> None:
    path = written()
    path.write_text(path.read_text() + "#" * (MAXIMUM_BYTES - len(path.read_bytes())))
    assert load_study(path).name == "tiny"
    path.write_text(path.read_text() + "#")
    with pytest.raises(StudyError, match="larger than 1,000,000 bytes, so not a study file"):
        load_study(path)
