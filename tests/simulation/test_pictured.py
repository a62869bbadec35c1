"""People whom the report pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import synthetic
import torch
from run_results import run_results

from normfed_client.evaluating import served
from normfed_client.hospital.site import Case, Site
from normfed_client.imaging.mosaic import MapStrip
from normfed_common.foundation.arrays import Arrays
from normfed_common.learning.cohort import Scan
from normfed_common.learning.score import Score
from normfed_common.metrics.base import ScoredScan
from normfed_common.study.config import StudyConfig
from normfed_server.runs.folder import Run
from normfed_simulation import pictured, remade
from normfed_simulation.pictured import extremes


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

        def phases(self) -> tuple[()]:
            return ()

        def share(self) -> Arrays:
            return {}

        def load(self, arrays: Arrays) -> None:
            seen["load"] = torch.get_num_threads()

        def personalise(self, cohort: object, rng: np.random.Generator) -> None:
            seen["personalise"] = torch.get_num_threads()

        def score(self, visits: Sequence[Scan], rng: np.random.Generator) -> Score:
            seen["score"] = torch.get_num_threads()
            return Score(np.where(visits[-1].mask, np.float32(1), np.float32(0)), remarks=("Its T1w is odd.",))

    visit = SimpleNamespace(name="sub-0", participant=SimpleNamespace(subject="sub-0", age=64.4, sex="F"))
    entry = SimpleNamespace(lesion=lambda: scan.mask, evaluated=lambda: scan.mask)
    site = SimpleNamespace(
        test=[SimpleNamespace(visit=visit, entry=entry, scan=lambda: scan)],
        config=SimpleNamespace(name="a"),
        study=run.study,
        device=torch.device("cpu"),
        training_cohort=lambda **_: None,
        train=(),
        release=lambda kind, cases, what: None,
    )
    monkeypatch.setattr(remade, "served_arrays", lambda *_: {})
    monkeypatch.setattr(served, "assemble", lambda *_: Watching())
    monkeypatch.setattr(pictured, "scan_strip", lambda *_: "")
    monkeypatch.setattr(pictured, "map_strip", lambda *_: MapStrip("", 0.0, 1.0))
    monkeypatch.setattr(pictured, "projections", lambda *_: "")
    before, threads = torch.get_num_threads(), run.study.federation.threads_per_site
    torch.set_num_threads(threads + 1)
    try:
        shown = pictured._pictured(
            run,
            run_results(),
            "Best",
            cast(Site, site),
            cast(Case, site.test[0]),
            cast(list[Case], site.test),
            {"name": "sub-0", "site": "a", "kind": "MS"},
        )
        assert torch.get_num_threads() == threads + 1
        assert shown.clusters is None  # the run has no threshold
        assert not shown.detected
        assert shown.about == "MS, 64 years, F"
        assert shown.share == 1  # all of its brain is lesion
        assert [found.title for found in shown.maps] == ["federated model"]  # the run has no baseline
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
    assert pictured.detected(whole.detection.lesion_sensitivity) == said


def ordered(*names: str) -> list[dict[str, Any]]:
    """Rows in order, the best first."""
    return [{"site": "a", "name": name, "auprc": 1 - at / 10} for at, name in enumerate(names)]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((), {}),
        (("p",), {"The only patient": "p"}),
        (("p", "q"), {"Best": "p", "Worst": "q"}),
        (("p", "q", "r"), {"Best": "p", "Median": "q", "Worst": "r"}),
        (("p", "q", "r", "s"), {"Best": "p", "Median": "r", "Worst": "s"}),
        (("p_ses-1", "p_ses-2"), {"The only patient": "p_ses-1"}),
        (("p_ses-2", "q_ses-1", "p_ses-1"), {"Best": "p_ses-2", "Worst": "q_ses-1"}),
        (("p", "q", "r", "q_ses-9", "p_ses-9"), {"Best": "p", "Median": "q", "Worst": "r"}),
    ],
)
def test_best_median_and_worst_are_never_the_same_person(names: tuple[str, ...], expected: dict[str, str]) -> None:
    found = extremes(ordered(*names))
    assert {which.removesuffix(" by average precision"): row["name"] for which, row in found.items()} == expected
    assert all(which.endswith(" by average precision") for which in found if len(found) > 1)


def test_people_of_one_name_at_two_sites_are_two() -> None:
    found = extremes([{"site": site, "name": "sub-1", "auprc": 0.5} for site in "ab"])
    assert [row["site"] for row in found.values()] == ["a", "b"]
