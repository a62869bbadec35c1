"""How much of a lesion somebody sees who looks at the most suspicious twentieth of the brain."""

from __future__ import annotations

import numpy as np

from normfed_common.metrics.base import Metric, ScoredScan

SHARE_OF_BRAIN = 0.05


def first_look(scan: ScoredScan) -> float:
    """Share of the lesion among the highest 5% of the scores; NaN without a lesion."""
    lesion = scan.lesion[scan.mask]
    if not lesion.any():
        return float("nan")
    looked_at = np.argsort(-scan.scores[scan.mask], kind="stable")[: round(SHARE_OF_BRAIN * lesion.size)]
    return float(lesion[looked_at].sum() / lesion.sum())


METRIC = Metric("first_look", "lesion in the top 5%", first_look, needs="scores", chance=SHARE_OF_BRAIN)
