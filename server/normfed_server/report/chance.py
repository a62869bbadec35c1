"""Chance, which stands beside every figure that has one: what a map of noise would get.

Of average precision it is the lesions' share of the voxels that are ranked, here of all patients' together: each has a
share of their own.
"""

from __future__ import annotations

from normfed_server.report.lesions import AUROC, PRECISION
from normfed_server.report.words import number
from normfed_server.results.layout import RunResults

SHARE = "the lesions' share of the brain"


def chance(results: RunResults, metric: str, site: str | None = None) -> float | None:
    """Of a metric over all patients, or at a site; None where it is not known, or depends on more than the lesions."""
    if metric != PRECISION:
        return results.metrics[metric].chance if metric in results.metrics else None
    if results.lesion_share is None:
        return None
    return results.lesion_share.all if site is None else results.lesion_share.sites.get(site)


def beside(results: RunResults, metric: str) -> str:
    """`` (chance 0.5)``, after a figure over all patients; nothing where chance is not known."""
    found = chance(results, metric)
    if found is None:
        return f" (chance: {SHARE}, not known of this run)" if metric == PRECISION else ""
    return f" (chance {found:g})" if metric == AUROC else f" (chance {number(found)})"
