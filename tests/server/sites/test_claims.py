"""A site's sums are held against what each of the study's metrics can be, a plug-in's too."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pytest
from contracts.entries import EVERY_MODEL, Entry, every, model_of
from synthetic import People, setting
from toy_metric import METRIC

from normfed_common.foundation.arrays import Arrays
from normfed_common.foundation.errors import WireError
from normfed_common.metrics.base import Metric
from normfed_common.metrics.catalogue import BUILT_IN
from normfed_common.metrics.summary import EVERYBODY, summarise
from normfed_common.models.mixture import Mixture, MixtureConfig
from normfed_common.wire.evaluation import summary_arrays
from normfed_server.sites import claims
from normfed_server.sites.description import SiteDescription

PEOPLE = 6
SITE = SiteDescription(9, 2, PEOPLE, ())
METRICS = (*BUILT_IN, METRIC)
GROUPS = (EVERYBODY,)


def said(metric: str, value: float, metrics: tuple[Metric, ...] = METRICS) -> dict[str, np.ndarray]:
    """Sums of people who all have this figure."""
    rows = [{"auroc": 0.5, metric: value}] * PEOPLE
    return summary_arrays(summarise(rows, ["MS"] * PEOPLE, (EVERYBODY,), 4, 1, "a", metrics=metrics))


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_figures_up_to_a_metric_s_bounds_are_believed_and_beyond_them_not(metric: Metric) -> None:
    for value in (metric.lowest, metric.highest):
        found = claims.summary(GROUPS, said(metric.name, value), 4, SITE, METRICS)
        assert found.mean(metric.name) == pytest.approx(value)
    for value in (metric.lowest - 0.01, metric.highest + 0.01):
        with pytest.raises(WireError, match="figures that no person can have"):
            claims.summary(GROUPS, said(metric.name, value), 4, SITE, METRICS)


def test_sums_of_other_metrics_than_the_study_s_are_refused() -> None:
    """A site that has a plug-in which the study does not name, or lacks one that it does."""
    for there, asked in ((METRICS, BUILT_IN), (BUILT_IN, METRICS)):
        with pytest.raises(WireError, match="a summary has shapes"):
            claims.summary(GROUPS, said("auroc", 0.5, there), 4, SITE, asked)


def test_figures_without_an_auroc_are_believed_and_those_of_nobody_are_not() -> None:
    """A hospital leaves out what is one person's: AUROCs are of which all others are 1."""
    rows = [{"auroc": 1.0, "dice": 0.1 * n} for n in range(PEOPLE)]
    rows[0]["auroc"] = 0.7
    for told in (rows, [{} for _ in rows]):
        sums = summary_arrays(summarise(told, ["MS"] * PEOPLE, GROUPS, 4, 1, "a", minimum=3, metrics=METRICS))
        if told is rows:
            assert claims.summary(GROUPS, sums, 4, SITE, METRICS).n("auroc") == 0
            continue
        with pytest.raises(WireError, match="of nobody"):
            claims.summary(GROUPS, sums, 4, SITE, METRICS)


def otherwise(array: np.ndarray) -> Iterator[np.ndarray]:
    """Of other shapes, and of the same with numbers that nobody has."""
    yield from (np.array(1.0), np.zeros(0), np.zeros((0,) * max(array.ndim, 1)), array[..., None], array[None])
    yield from (array.T, array.ravel(), array[..., :-1] if array.ndim else np.zeros(2))
    yield from (np.full_like(array, value) for value in (0.0, 5e-324, 1.0, claims.LARGEST_SUM, -1.0, np.nan))
    for place, value in ((0, claims.LARGEST_SUM), (-1, -claims.LARGEST_SUM)):
        changed = array.copy()
        changed.flat[place] = value
        yield changed


@every(EVERY_MODEL)
def test_whatever_a_site_sends_as_sums_is_taken_or_refused_in_words(entry: Entry) -> None:
    """Anything but a `WireError` would end the run of all sites."""
    people, model, server = People(4), model_of(entry), model_of(entry)
    for phase in (phase.name for phase in model.phases() if phase.kind == "summed"):
        honest = {n: np.asarray(v, float) for n, v in model.statistics(phase, people, np.random.default_rng(0)).items()}
        for name in honest:
            for array in otherwise(honest[name]):
                with suppress(WireError):
                    taken = claims.sums({**honest, name: array}, server, phase, 4)
                    copy.deepcopy(server).absorb(phase, taken)
        for one in (model, server):
            one.absorb(phase, honest)


def test_a_check_that_did_not_think_of_such_sums_costs_its_site_only() -> None:
    class Careless(Mixture):
        def check(self, phase: str, sums: Arrays) -> None:
            sums["count"][3]

    with pytest.raises(WireError, match="none that can be checked"):
        claims.sums({"count": np.ones(2)}, Careless(MixtureConfig(), setting()), "moments", 4)
