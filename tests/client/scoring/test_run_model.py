"""A run's model as it scores: what is refused of a run that is none, is of another version, or was tampered with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from finished_runs import set_threshold, written

from normfed_client.imaging.template import common_grid
from normfed_client.scoring.run_model import open_run_model, study_to_score
from normfed_common.foundation.errors import DatasetError, RunError
from normfed_common.metrics.tissue import CLASSES

SHAPE = common_grid(4).shape
SUMS = {
    "sums.moments.count": np.full(SHAPE, 9.0),
    "sums.moments.sum": np.zeros((2, *SHAPE)),
    "sums.moments.squares": np.full((2, *SHAPE), 9.0),
}


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (dict.fromkeys(SUMS), r"it holds no sums\.moments\.\*"),
        ({"sums.moments.count": None}, "there is no count"),
        ({"sums.moments.sum": np.full((2, *SHAPE), np.nan)}, r"sums\.moments\.sum holds what is no finite number"),
        ({"sums.moments.count": np.ones(SHAPE, bool)}, r"sums\.moments\.count holds what is no finite number"),
        ({"sums.moments.squares": np.zeros((3, *SHAPE))}, "squares is of shape"),
        ({"sums.moments.squares": -SUMS["sums.moments.squares"]}, "below 0"),
        ({"more": np.array([np.inf])}, "more holds what is no finite number"),
    ],
)
def test_a_tampered_model_is_refused_in_words(tmp_path: Path, changed: dict[str, np.ndarray | None], why: str) -> None:
    arrays = {name: array for name, array in (SUMS | changed).items() if array is not None}
    run = written(tmp_path / "run", arrays, model={"name": "atlas"})
    with pytest.raises(RunError, match=rf"model\.safetensors: not a model of the run's study \(.*{why}"):
        open_run_model(run, study_to_score(run), "cpu", None)


@pytest.mark.parametrize(
    "figures",
    [
        pytest.param("{", id="cut short"),
        pytest.param('{"lowest_score": 0, "evaluation": {}}', id="no model"),
        pytest.param('{"lowest_score": 0, "evaluation": {"federated": null}}', id="null"),
        pytest.param("[" * 10**5, id="nested"),
    ],
)
def test_damaged_figures_are_named_where_thresholds_are_asked_of_them(tmp_path: Path, figures: str) -> None:
    run = written(tmp_path / "run", SUMS, model={"name": "atlas"})
    (run / "metrics.json").write_text(figures)
    with pytest.raises(RunError, match=r"metrics\.json: damaged \(.*\)\. Copy the run folder again"):
        open_run_model(run, study_to_score(run), "cpu", None)


def test_a_list_of_sites_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    run = written(tmp_path / "run", SUMS, model={"name": "atlas"})
    (run / "sites.json").write_text('[{"name": "../b"}]')
    with pytest.raises(DatasetError, match=r"sites\.json: not a list of sites \(0\.name: [^\n]*\)\. Copy [^\n]*$"):
        open_run_model(run, study_to_score(run), "cpu", "b")


def test_a_model_with_more_in_it_than_it_needs_is_taken(tmp_path: Path) -> None:
    run = written(tmp_path / "run", SUMS | {"more": np.zeros(3)}, model={"name": "atlas"})
    assert open_run_model(run, study_to_score(run), "cpu", None).site is None


def test_a_study_of_another_version_is_said_to_be_one(tmp_path: Path) -> None:
    run = written(tmp_path / "run")
    text = (run / "study.yaml").read_text()
    (run / "study.yaml").write_text(text.replace('"seed":', '"of_tomorrow": 1, "seed":', 1))
    with pytest.raises(RunError, match=r"cannot be read by normfed \d.*of_tomorrow.*of another version"):
        study_to_score(run)


def test_thresholds_are_told_by_class_where_they_differ(tmp_path: Path) -> None:
    run = written(tmp_path / "run")
    study = study_to_score(run)
    assert open_run_model(run, study, "cpu", None).thresholds() is None
    set_threshold(run, 0.5)
    assert open_run_model(run, study, "cpu", None).thresholds() == {"brain": 0.5}
    by_class = dict(zip(CLASSES, (0.25, 0.5, 0.75, 1.0), strict=True))
    set_threshold(run, 0.5, **by_class)
    assert open_run_model(run, study, "cpu", None).thresholds() == by_class


@pytest.mark.parametrize("what", ["study", "folder", "nothing"])
def test_what_is_no_run_is_said_with_what_is_needed_and_how_to_make_one(tmp_path: Path, what: str) -> None:
    given = {"study": tmp_path / "my.yaml", "folder": tmp_path, "nothing": tmp_path / "run"}[what]
    (tmp_path / "my.yaml").write_text("name: my")
    found = {"study": "a file", "folder": "a folder without study.yaml", "nothing": "no such folder"}[what]
    made_by = given if what == "study" else "STUDY.yaml"
    with pytest.raises(RunError) as refused:
        study_to_score(given)
    assert str(refused.value) == (
        f"{given}: {found}, where a run folder is needed, such as runs/demo-20260101-120000. "
        f"`normfed simulate {made_by}` makes one."
    )
