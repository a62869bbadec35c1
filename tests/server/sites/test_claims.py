"""A site's sums are held against what each of the study's metrics can be, a plug-in's too."""

from __future__ import annotations

import numpy as np
import pytest
from toy_metric import METRIC

from normfed_common.foundation.errors import WireError
from normfed_common.metrics.base import Metric
from normfed_common.metrics.catalogue import BUILT_IN
from normfed_common.metrics.summary import EVERYBODY, summarise
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
