"""What privacy cost: beside which run the figures stand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from compared import metrics, model
from guarantees import figures, guarantee
from run_results import run_results

from normfed_common.study.config import StudyConfig
from normfed_common.study.privacy import PrivacyConfig
from normfed_server.report.cost import cost, without_privacy
from normfed_server.results import layout
from normfed_server.results.layout import RunResults
from normfed_server.runs import folder as runs
from normfed_server.runs.folder import Run

CLAIMED = figures(people=guarantee()).model_dump(mode="json")


def finished(study: StudyConfig, out: Path, results: RunResults | None = None, age: float = 0.0) -> Run:
    run = runs.begin(study, out)
    layout.write(run.folder, results or run_results(**metrics()))
    os.utime(run.folder / layout.FILE, (1e9 - age, 1e9 - age))
    return run


def private(study: StudyConfig, **changes: Any) -> StudyConfig:
    return study.model_copy(update={"privacy": PrivacyConfig(epsilon=4), **changes})


def test_the_latest_finished_run_of_the_same_study_without_privacy_stands_beside(
    study: StudyConfig, tmp_path: Path
) -> None:
    ours = finished(private(study, name="with"), tmp_path)
    assert without_privacy(ours) is None
    finished(study.model_copy(update={"seed": 99}), tmp_path)  # another study
    finished(private(study), tmp_path)  # with privacy
    runs.begin(study, tmp_path)  # not finished
    damaged = finished(study, tmp_path)
    (damaged.folder / layout.FILE).write_text("{")
    assert without_privacy(ours) is None
    old = finished(study, tmp_path, age=60)
    new = finished(study, tmp_path, age=30)
    assert (found := without_privacy(ours)) is not None
    assert found.folder == new.folder != old.folder


def test_its_figures_stand_below_ours_and_those_of_the_same_run_below_both(study: StudyConfig, tmp_path: Path) -> None:
    plain = metrics()
    plain["evaluation"]["federated"] = model(0.95)
    finished(study, tmp_path, run_results(**plain))
    results = run_results(**metrics(local=None, atlas=None), privacy=CLAIMED)
    found = cost(finished(private(study), tmp_path, results), results)
    assert [(row.title, row.figures["auroc"].mean, row.ours) for row in found.rows] == [
        ("this study", 0.9, True),
        ("the same study without privacy", 0.95, False),
        ("each site alone", 0.8, False),
        ("atlas", 0.8, False),
    ]
    assert found.without is not None


def test_a_study_without_privacy_is_compared_with_nothing(study: StudyConfig, tmp_path: Path) -> None:
    finished(study, tmp_path)
    results = run_results(**metrics())
    assert cost(finished(study, tmp_path, results), results).without is None
