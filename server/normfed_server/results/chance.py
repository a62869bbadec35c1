"""Chance, which stands beside every figure that has one: what a map of noise would get.

Of average precision it is the lesions' share of the voxels that are ranked. Beside a mean over patients stands the mean
of their shares, beside a ranking of all sites' voxels together that of all these voxels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from normfed_server.results.figures import PRECISION
from normfed_server.results.layout import RunResults


def chance(results: RunResults, metric: str, site: str | None = None) -> float | None:
    """Of a metric over all patients, or at a site; None where it is not known, or depends on more than the lesions."""
    if metric != PRECISION:
        return results.metrics[metric].chance if metric in results.metrics else None
    if results.lesion_share is None:
        return None
    return results.lesion_share.all if site is None else results.lesion_share.sites.get(site)


def merged_chance(results: RunResults, metric: str) -> float | None:
    """Of a metric of all sites' voxels together; None where it is not known."""
    if metric != PRECISION or results.lesion_share is None:
        return chance(results, metric)
    share = results.lesion_share
    return share.all if share.merged is None else share.merged  # in older runs that over all was of all voxels


def from_chance(mean: float | None, at: float | None) -> float | None:
    """How far a mean of a metric from 0 to 1 is from chance: 0 at it, 1 where nothing is better, -1 at zero."""
    if mean is None or at is None:
        return None
    way = (1 - at) if mean > at else at
    return (mean - at) / way if way else 0.0


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
