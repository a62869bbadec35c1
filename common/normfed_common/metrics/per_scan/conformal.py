"""How normal a person looks beside all sites' held-out normal people."""

from __future__ import annotations

import math

from normfed_common.metrics.base import Metric, ScoredScan
from normfed_common.metrics.subjects import conformal_p


def _p_value(scan: ScoredScan) -> float:
    if scan.calibration is None or not scan.calibration.counts.any() or math.isnan(scan.told_score):
        return float("nan")  # beside nobody everybody would have a p of 1
    return conformal_p(scan.told_score, scan.calibration.edges, scan.calibration.counts)


METRICS = (
    Metric(
        "conformal_p",
        "conformal p",
        _p_value,
        higher_is_better=False,
        place=140,
        cited=("vovk2005",),
        shown=frozenset(),
        about="share of all sites' held-out normal people's scans that score at least as high as the person's, which "
        "counts as one of them: small where a person is unlike them, and never below 1 / (n + 1)",
    ),
)
