"""Made-up figures of patients at sites, as sites sum them, for tests of what the server makes of the sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from normfed_common.metrics.catalogue import BUILT_IN
from normfed_common.metrics.groups import EVERYBODY
from normfed_common.metrics.summary import Summary, summarise

Patients = Sequence[Mapping[str, float]]


PER_SCAN = tuple(metric.name for metric in BUILT_IN)


def patients(count: int, seed: int, shift: float = 0.0) -> list[dict[str, float]]:
    """Every metric of so many patients, drawn anew for each; AUPRC higher by a shift."""
    rng = np.random.default_rng(seed)
    rows = [{metric: float(rng.uniform(0.2, 0.7)) for metric in PER_SCAN} for _ in range(count)]
    return [row | {"auprc": row["auprc"] + shift} for row in rows]


def summary(rows: Patients, kinds: Sequence[str] = (), resamplings: int = 0, site: str = "a") -> Summary:
    """A site's sums, all of whose kinds may be told."""
    named = list(kinds) or ["MS"] * len(rows)
    return summarise(rows, named, (EVERYBODY, *sorted(set(named))), resamplings, 3, site)


def constant(count: int, **metrics: float) -> Summary:
    """A site all of whose patients are alike."""
    return summary([metrics] * count)
