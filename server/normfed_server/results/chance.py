"""Chance, which stands beside every figure that has one: what a map of noise would get.

Of average precision it is the lesions' share of the voxels that are ranked, here of all patients' together: each has a
share of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from normfed_server.results.layout import PRECISION, RunResults


def chance(results: RunResults, metric: str, site: str | None = None) -> float | None:
    """Of a metric over all patients, or at a site; None where it is not known, or depends on more than the lesions."""
    if metric != PRECISION:
        return results.metrics[metric].chance if metric in results.metrics else None
    if results.lesion_share is None:
        return None
    return results.lesion_share.all if site is None else results.lesion_share.sites.get(site)


def lesion_share(counts: Iterable[Mapping[str, np.ndarray]]) -> float:
    """Of voxels that are ranked together, those that are lesion; `counts` has histograms of ``normal`` and ``lesion``.

    Raises
    ------
    ZeroDivisionError
        If there are no voxels.
    """
    told = [(float(of["lesion"].sum()), float(of["normal"].sum())) for of in counts]
    lesion = sum(found for found, _ in told)
    return lesion / (lesion + sum(normal for _, normal in told))
