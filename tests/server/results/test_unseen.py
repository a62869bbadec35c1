"""At hospitals that a model never saw: from made-up patients, whose figures are also at hand one by one."""

from __future__ import annotations

import numpy as np
import pytest
from summaries import constant, patients, summary

from normfed_common.metrics.summary import Summary, averaged
from normfed_server.results.models import BORROWED, UNSEEN, Summaries, others
from normfed_server.results.unseen import unseen

KINDS = {"a": ["MS"] * 6 + ["WMH"] * 5, "b": ["MS"] * 7}
RESAMPLINGS = 200
ROWS = {
    trainer: {site: patients(len(kinds), 10 * number + at) for at, (site, kinds) in enumerate(KINDS.items())}
    for number, trainer in enumerate(("a", "b", "c", "federation"))
}
LOCAL: dict[str, Summaries] = {
    trainer: {site: summary(rows, KINDS[site], RESAMPLINGS, site) for site, rows in found.items()}
    for trainer, found in ROWS.items()
}
FEDERATION = LOCAL.pop("federation")


def values(trainer: str, site: str) -> np.ndarray:
    return np.array([row["auprc"] for row in ROWS[trainer][site]])


def per_model() -> dict[str, Summaries]:
    return {UNSEEN: FEDERATION, BORROWED: {site: averaged(list(others(site, LOCAL).values())) for site in KINDS}}


@pytest.mark.parametrize("site", KINDS)
def test_a_site_s_figures_are_those_of_its_patients_under_all_others_models(site: str) -> None:
    found = unseen(per_model(), LOCAL, ["auprc"])
    assert found is not None
    here = found.sites[site]["auprc"]
    theirs = {trainer: values(trainer, site) for trainer in LOCAL if trainer != site}
    ours, mean = values("federation", site), np.mean(list(theirs.values()), axis=0)
    best = max(theirs, key=lambda trainer: theirs[trainer].mean())
    assert (here.n, here.best_site) == (len(KINDS[site]), best)
    assert here.unseen == pytest.approx(ours.mean())
    assert here.over_borrowed.mean == pytest.approx((ours - mean).mean())
    assert here.over_best.mean == pytest.approx((ours - theirs[best]).mean())


def test_intervals_are_of_paired_differences() -> None:
    """Patients are drawn together for both models: an interval of the same model beside itself has no width."""
    itself = {UNSEEN: LOCAL["b"], BORROWED: LOCAL["b"]}
    found = unseen(itself, LOCAL, ["auprc"])
    assert found is not None
    assert found.sites["a"]["auprc"].over_borrowed.ci95 == (0.0, 0.0)
    assert found.all["auprc"].over_borrowed.ci95 == (0.0, 0.0)


def test_over_all_patients_the_best_is_each_site_s_and_kinds_stand_apart() -> None:
    found = unseen(per_model(), LOCAL, ["auprc"])
    assert found is not None
    bests = {site: found.sites[site]["auprc"].best_site for site in KINDS}
    everybody = np.concatenate([values(str(bests[site]), site) for site in KINDS])
    assert found.all["auprc"].best == pytest.approx(everybody.mean())
    assert found.all["auprc"].best_site is None
    assert found.kinds.keys() == {"MS", "WMH"}
    assert found.kinds["WMH"]["auprc"].unseen == pytest.approx(values("federation", "a")[6:].mean())


def test_where_lower_is_better_the_best_is_the_lowest() -> None:
    made = {trainer: {"c": constant(6, cluster_rank=rank)} for trainer, rank in (("a", 2.0), ("b", 5.0))}
    ours: dict[str, dict[str, Summary]] = {name: {"c": constant(6, cluster_rank=3.0)} for name in (UNSEEN, BORROWED)}
    found = unseen(ours, made, ["cluster_rank"])
    assert found is not None
    assert (found.sites["c"]["cluster_rank"].best, found.sites["c"]["cluster_rank"].best_site) == (2.0, "a")


def test_without_a_site_that_both_were_tested_at_there_is_nothing_to_say() -> None:
    assert unseen({UNSEEN: {"a": FEDERATION["a"]}, BORROWED: {"b": FEDERATION["b"]}}, LOCAL, ["auprc"]) is None
    assert unseen({}, LOCAL, ["auprc"]) is None
