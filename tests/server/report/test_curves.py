"""Curves of merged counts: their area and their points against scikit-learn's, voxel by voxel."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_score, roc_auc_score

from normfed_common.metrics.histograms import MergedCounts
from normfed_server.report.curves import POINTS, of_counts


@pytest.mark.parametrize("bins", [12, 900])
def test_curves_are_those_of_the_voxels(bins: int) -> None:
    rng = np.random.default_rng(0)
    lesion = rng.random(4000) < 0.1
    scores = np.clip(rng.normal(lesion * 1.5, 1.0) * bins / 12 + bins / 2, 0, bins - 1).astype(int)
    counts = [np.bincount(scores[which], minlength=bins) for which in (~lesion, lesion)]
    found = of_counts(MergedCounts(counts[0], counts[1], counts[1].astype(float)))
    assert found.lesion_share == pytest.approx(lesion.mean())
    area = np.trapezoid([0, *found.tpr], [0, *found.fpr])
    assert area == pytest.approx(roc_auc_score(lesion, scores), abs=1e-3)
    steps = np.sum(np.diff([0, *found.tpr]) * found.precision)
    assert steps == pytest.approx(average_precision_score(lesion, scores), abs=0.01)
    threshold = np.flatnonzero(np.cumsum(counts[1][::-1]) >= found.tpr[2] * lesion.sum() - 0.5)[0]
    called = scores >= bins - 1 - threshold
    assert found.precision[2] == pytest.approx(precision_score(lesion, called))
    assert len(found.fpr) <= 2 * POINTS
    assert (found.fpr[-1], found.tpr[-1]) == (1, 1)
