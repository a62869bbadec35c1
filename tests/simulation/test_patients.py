"""Patients that the report pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import synthetic
import torch

from normfed_client.hospital.site import Site
from normfed_common.foundation.arrays import Arrays
from normfed_common.learning.cohort import Scan
from normfed_common.learning.score import Score
from normfed_common.metrics.base import ScoredScan
from normfed_common.study.config import StudyConfig
from normfed_server.runs.folder import Run
from normfed_simulation import patients, remade


@pytest.fixture
def run(study: StudyConfig, tmp_path: Path) -> Run:
    return Run(tmp_path, study)


def test_a_patients_map_is_made_as_a_site_computes_from_loading_the_model_on(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a model makes of its sums when it loads them depends on threads as training does."""
    seen: dict[str, int] = {}
    scan = synthetic.scan(np.random.default_rng(0))

    class Watching:
        keeps_to_site = True
        setting = synthetic.setting()

        def load(self, arrays: Arrays) -> None:
            seen["load"] = torch.get_num_threads()

        def personalise(self, cohort: object, rng: np.random.Generator) -> None:
            seen["personalise"] = torch.get_num_threads()

        def score(self, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
            seen["score"] = torch.get_num_threads()
            return Score(np.where(visits[-1].mask, np.float32(1), np.float32(0)), remarks=("Its T1w is odd.",))

    visit = SimpleNamespace(name="sub-0", participant=SimpleNamespace(subject="sub-0"))
    entry = SimpleNamespace(lesion=lambda: scan.mask, evaluated=lambda: scan.mask)
    site = SimpleNamespace(
        test=[SimpleNamespace(visit=visit, entry=entry, scan=lambda: scan)],
        config=SimpleNamespace(name="a"),
        study=run.study,
        device=torch.device("cpu"),
        model=lambda entry, seed: Watching(),
        training_cohort=lambda **_: None,
        train=(),
        release=lambda kind, cases, what: None,
    )
    monkeypatch.setattr(remade, "served_arrays", lambda *_: {})
    monkeypatch.setattr(patients, "mosaic", lambda *_: "")
    monkeypatch.setattr(patients, "projections", lambda *_: "")
    before, threads = torch.get_num_threads(), run.study.federation.threads_per_site
    torch.set_num_threads(threads + 1)
    try:
        shown = patients._case(run, "Best", {"name": "sub-0", "site": "a", "kind": "MS"}, cast(Site, site))
        assert torch.get_num_threads() == threads + 1
        assert shown.clusters is None  # the run has no threshold
        assert not shown.detected
        assert shown.remarks == ("Its T1w is odd.",)
    finally:
        torch.set_num_threads(before)
    assert seen == dict.fromkeys(("load", "personalise", "score"), threads)


@pytest.mark.parametrize(
    ("found", "lesions", "said"),
    [(0, 3, "missed"), (3, 3, "found"), (1, 4, "25 % of the lesions found"), (1, 300, "0.33 % of the lesions found")],
)
def test_a_caption_says_missed_where_no_cluster_touches_a_lesion(found: int, lesions: int, said: str) -> None:
    lesion = np.zeros((3, 3, 2 * lesions), bool)
    lesion[1, 1, ::2] = True
    scores = np.zeros(lesion.shape)
    scores[1, 1, : 2 * found : 2] = 1
    whole = ScoredScan(scores, lesion, np.ones(lesion.shape, bool), 2.0, threshold=0.5)
    assert patients.detected(whole.detection.lesion_sensitivity) == said
