"""No interval of too few patients is in a run's results, wherever one could be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from scipy.stats import wilcoxon
from summaries import patients, summary

from normfed_server.results.enough import FEWEST_PATIENTS
from normfed_server.results.figures import Beside, Difference, Figure, Gain, Gains, LeagueFigure, Unseen
from normfed_server.results.models import BORROWED, UNSEEN
from normfed_server.results.unseen import unseen

ENDS = (0.25, 0.5)


def test_six_is_the_least_number_of_pairs_that_a_signed_rank_test_can_tell_apart() -> None:
    p = {n: wilcoxon(range(1, n + 1), method="exact").pvalue for n in (FEWEST_PATIENTS - 1, FEWEST_PATIENTS)}
    assert p[FEWEST_PATIENTS] < 0.05 < p[FEWEST_PATIENTS - 1]


@pytest.mark.parametrize(("patients", "told"), [(1, False), (5, False), (6, True), (600, True)])
def test_an_interval_is_kept_over_enough_patients(patients: int, told: bool) -> None:
    league: dict[str, Any] = {"worst_site": None, "sd_over_sites": None, "sites": {}, "trainings": ()}
    gains = {"sites": {}, "gain": (), "lose": ()}
    made = [
        Difference(mean=0.3, n=patients, ci95=ENDS),
        Gain(mean=0.3, n=patients, ci95=ENDS),
        Gains.model_validate({"mean": 0.3, "n": patients, "ci95": ENDS, **gains}),
        LeagueFigure(mean=0.3, n=patients, ci95=ENDS, **league),
    ]
    assert [found.ci95 for found in made] == [ENDS if told else (None, None)] * len(made)
    assert Figure(mean=0.3, sd=0.1, n=patients, ci95=ENDS).ci95 == (ENDS if told else None)


def test_that_no_patient_differs_is_known_of_one() -> None:
    assert Difference(mean=0.0, n=1, ci95=(0.0, 0.0)).ci95 == (0.0, 0.0)
    assert Difference(mean=0.1, n=1, ci95=(0.1, 0.1)).ci95 == (None, None)


def test_an_interval_of_an_older_run_that_counted_nobody_is_kept() -> None:
    assert Difference(mean=0.3, ci95=ENDS).ci95 == ENDS
    assert "n" not in json.loads(Difference(mean=0.3, ci95=ENDS).model_dump_json())


def test_sites_that_were_never_seen_have_no_interval_of_five_patients() -> None:
    kinds = {"few": ["MS"] * 5, "many": ["MS"] * 4 + ["WMH"] * 5}
    ours, theirs, third = (
        {site: summary(patients(len(of), seed + len(of)), of, 100, site) for site, of in kinds.items()}
        for seed in (0, 100, 200)
    )
    local = {"one": theirs, "another": third}
    found = unseen({UNSEEN: ours, BORROWED: theirs}, local, ["auprc"])
    assert found is not None
    told = {place: beside.over_borrowed.ci95 != (None, None) for place, beside in everywhere(found)}
    assert told == {"all": True, "few": False, "many": True, "MS": True, "WMH": False}
    assert all((beside.over_best.ci95 != (None, None)) == told[place] for place, beside in everywhere(found))


def everywhere(found: Unseen) -> Iterator[tuple[str, Beside]]:
    yield "all", found.all["auprc"]
    for place, figures in (*found.sites.items(), *found.kinds.items()):
        yield place, figures["auprc"]
