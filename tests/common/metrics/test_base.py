"""A metric keeps to what it says of itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from lesions import case
from toy_metric import METRIC

from normfed_common.foundation.errors import StudyError
from normfed_common.metrics import base
from normfed_common.metrics.base import Metric, ScoredScan, figures
from normfed_common.metrics.catalogue import BUILT_IN


def scan() -> ScoredScan:
    scores, lesion, mask = case(0)
    return ScoredScan(scores, lesion, mask, 4.0, 1.0)


@pytest.mark.parametrize("value", [-1.5, 1.5, float("inf"), float("-inf")])
def test_a_figure_beyond_its_bounds_is_refused_in_words(value: float) -> None:
    metric = replace(METRIC, compute=lambda _: value)
    with pytest.raises(
        StudyError, match=r"metric 'peak' is .* lies from -1 to 1\. Leave it out of evaluation\.metrics"
    ):
        metric(scan())


@pytest.mark.parametrize("value", [-1.0, 1.0, 1.0 + 1e-9])
def test_a_figure_at_its_bounds_may_be_off_by_rounding(value: float) -> None:
    assert replace(METRIC, compute=lambda _: value)(scan()) == value


@pytest.mark.parametrize(
    ("lowest", "highest"), [(1.0, 1.0), (2.0, 1.0), (0.0, float("inf")), (float("nan"), 1.0), (float("-inf"), 0.0)]
)
def test_bounds_are_finite_and_in_order(lowest: float, highest: float) -> None:
    with pytest.raises(ValueError, match="finite bounds"):
        Metric("x", "x", lambda _: 0.0, lowest=lowest, highest=highest)


def test_what_metrics_share_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    for module, name in ((base, "curve"), (base.segmentation, "ranked_clusters")):
        function = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, f=function, n=name: (made.append(n), f(*a))[1])
    figures(BUILT_IN, scan())
    assert sorted(made) == ["curve", "ranked_clusters"]


def test_every_built_in_figure_has_a_name() -> None:
    found = figures(BUILT_IN, scan())
    assert list(found) == [metric.name for metric in BUILT_IN]
    assert np.isnan(found["conformal_p"])  # nobody to compare with
